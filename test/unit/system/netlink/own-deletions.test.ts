import { beforeEach, expect, it } from 'vitest';
import { createOwnDeletions, type OwnDeletions } from '../../../../src/system/netlink/neighbours.js';

/** struct ndmsg of link 7, with NDA_DST. */
const neighbour = (last: number) => Buffer.from([2, 0, 0, 0, 7, 0, 0, 0, 128, 0, 0, 1, 8, 0, 1, 0, 10, 240, last, 0]);

let own: OwnDeletions;
beforeEach(() => {
  own = createOwnDeletions();
  own.begin();
});

it('are known as often as there were some, and those of others are not', () => {
  own.add(neighbour(7));
  own.add(neighbour(7));
  own.add(neighbour(8));
  expect([7, 7, 7, 8, 8, 9].map((last) => own.take(neighbour(last)))).toEqual([true, true, false, true, false, false]);
});

it('that the kernel has not told by its answer are not taken for the next one of somebody else', () => {
  own.add(neighbour(7));
  own.heardAll();
  expect(own.take(neighbour(7))).toBe(true);
  own.add(neighbour(7));
  own.answered();
  own.answered();
  own.heardAll();
  expect(own.take(neighbour(7))).toBe(false);
});

it('are not remembered while nobody listens', () => {
  const unheard = createOwnDeletions();
  unheard.add(neighbour(7));
  expect(unheard.take(neighbour(7))).toBe(false);
});
