import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createMemberSet, createMembers, isMember } from '../../../../src/backend/udp/members.js';

it('knows the members there are, and no others, through any joins and leaves', () => {
  const address = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
  const step = fc.record({ joins: fc.boolean(), which: fc.nat(9) });
  fc.assert(
    fc.property(
      fc.uniqueArray(address, { minLength: 10, maxLength: 10 }),
      fc.array(step, { maxLength: 300 }),
      (all, steps) => {
        const usable = all.filter((one) => one !== 0);
        const members = createMembers(10);
        const set = createMemberSet(members);
        const leases = new Map<number, number>();
        for (const { joins, which } of steps) {
          const one = usable[which % usable.length];
          const count = leases.get(one) ?? 0;
          if (joins && count < 3) {
            set.add(one);
            leases.set(one, count + 1);
          } else if (!joins) {
            set.remove(one);
            leases.set(one, Math.max(0, count - 1));
          }
          for (const other of usable) expect(isMember(members, other)).toBe((leases.get(other) ?? 0) > 0);
        }
        expect(isMember(members, 0)).toBe(false);
      },
    ),
  );
});

it('ends every search, also after many have come and gone', () => {
  const members = createMembers(4);
  const set = createMemberSet(members);
  for (let i = 1; i < 100_000; i++) {
    set.add(i);
    if (i > 4) set.remove(i - 4);
  }
  expect([99_995, 99_996, 99_999, 5].map((one) => isMember(members, one))).toEqual([false, true, true, false]);
  expect(members.includes(0)).toBe(true);
});
