import fc from 'fast-check';
import { expect, it } from 'vitest';
import { sharedInts } from '../../../../../src/backend/packet-path/tables/memory.js';
import {
  createPeerSet,
  createPeers,
  ipv4Of,
  NO_PEER,
  portOf,
} from '../../../../../src/backend/packet-path/tables/peers.js';

it('has an endpoint for each number that is taken, one number for each endpoint, and none for "no peer"', () => {
  const step = fc.record({
    address: fc.integer({ min: 1, max: 6 }),
    port: fc.constantFrom(8285, 8286),
    takes: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const peers = createPeers(12, sharedInts);
      const set = createPeerSet(peers);
      const taken = new Map<string, number[]>();
      for (const { address, port, takes } of steps) {
        const key = `${address}:${port}`;
        const numbers = taken.get(key) ?? [];
        taken.set(key, numbers);
        if (takes) numbers.push(set.take(address, port));
        else if (numbers.length > 0) set.release(numbers.pop()!);
        const used = [...taken].filter(([, held]) => held.length > 0);
        for (const [name, held] of used) {
          expect(new Set(held).size).toBe(1);
          expect(`${ipv4Of(peers, held[0])}:${portOf(peers, held[0])}`).toBe(name);
        }
        expect(new Set(used.map(([, held]) => held[0])).size).toBe(used.length);
        expect([ipv4Of(peers, NO_PEER), portOf(peers, NO_PEER)]).toEqual([0, 0]);
      }
    }),
  );
});

it('gives a number again as late as it can, and counts who has had it', () => {
  const peers = createPeers(3, sharedInts);
  const set = createPeerSet(peers);
  const numbers: number[] = [];
  for (let address = 1; address <= 7; address++) {
    const number = set.take(address, 8285);
    numbers.push(number);
    set.release(number);
    // Until then it means what it meant.
    expect(ipv4Of(peers, number)).toBe(address);
  }
  expect(numbers).toEqual([1, 2, 3, 1, 2, 3, 1]);
  const GENERATION = 3;
  expect([1, 2, 3].map((number) => peers[number * 8 + GENERATION])).toEqual([3, 2, 2]);
});

it('says so when it is full, and forgets nobody', () => {
  const peers = createPeers(2, sharedInts);
  const set = createPeerSet(peers);
  set.take(1, 8285);
  const second = set.take(2, 8285);
  expect(() => set.take(3, 8285)).toThrow('no room for more than 2 peers');
  set.release(second);
  expect(set.take(3, 8285)).toBe(second);
});
