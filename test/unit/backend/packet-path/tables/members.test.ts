import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createMemberSet, createMembers, isMember } from '../../../../../src/backend/packet-path/tables/members.js';
import { sharedInts } from '../../../../../src/backend/packet-path/tables/memory.js';
import { NO_ADDRESS } from '../../../../../src/core/ipv4.js';

it('knows the addresses by which subnets hold a place, and no others, through any changes', () => {
  const address = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
  const step = fc.record({ subnet: fc.nat(9), which: fc.nat(12) });
  fc.assert(
    fc.property(
      fc.uniqueArray(address, { minLength: 10, maxLength: 10 }),
      fc.array(step, { maxLength: 300 }),
      (all, steps) => {
        const usable = all.filter((one) => one !== 0);
        const members = createMembers(10, sharedInts);
        const set = createMemberSet(members);
        const held = new Map<number, number>();
        for (const { subnet, which } of steps) {
          const one = usable[which] ?? NO_ADDRESS;
          set.hold(subnet, one);
          held.set(subnet, one);
          const there = [...held.values()];
          for (const other of usable) expect(isMember(members, other)).toBe(there.includes(other));
        }
        expect(isMember(members, 0)).toBe(false);
      },
    ),
  );
});

it('ends every search, also after many have come and gone', () => {
  const members = createMembers(4, sharedInts);
  const set = createMemberSet(members);
  for (let i = 1; i < 100_000; i++) set.hold(i % 4, i);
  expect([99_995, 99_996, 99_999, 5].map((one) => isMember(members, one))).toEqual([false, true, true, false]);
  expect(members.includes(0)).toBe(true);
});
