import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createReplayWindow } from '../../../helpers/wireguard/replay-window.js';

describe('the replay window that others are compared with', () => {
  it('takes each counter once, in any order, as long as it is not too old', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 })), (counters) => {
        const accepts = createReplayWindow(16);
        const taken = new Set<number>();
        let greatest = -1;
        for (const counter of counters) {
          const expected = !taken.has(counter) && counter + 16 > greatest;
          expect(accepts(BigInt(counter))).toBe(expected);
          if (expected) taken.add(counter);
          greatest = Math.max(greatest, expected ? counter : greatest);
        }
      }),
    );
  });

  it('holds 8192 less one word', () => {
    const accepts = createReplayWindow();
    expect(accepts(8128n)).toBe(true);
    expect(accepts(1n)).toBe(true);
    expect(accepts(0n)).toBe(false);
    expect(accepts(2n ** 64n - 2n ** 13n)).toBe(true);
    expect(accepts(8127n)).toBe(false);
  });
});
