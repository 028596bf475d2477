import { describe, expect, it } from 'vitest';
import { ratioOf } from '../../../src/bench/report.js';

describe('the mean ratio of what was measured by turns', () => {
  it('is 1 for two that are equal, however far they spread, whichever is divided by the other', () => {
    // A mean of 0.5 and 2 would be 1.25.
    expect(
      ratioOf([
        [0.5, 2],
        [2, 0.5],
      ]),
    ).toBe('1.000 ± 0.000');
  });

  it('has the standard error of its groups, not of all their rounds', () => {
    const groups = (ratio: number) => [
      [1, 1, 1],
      [ratio, ratio, ratio],
    ];
    expect(ratioOf(groups(1.21))).toBe('1.100 ± 0.105');
    expect(ratioOf(groups(1 / 1.21))).toBe('0.909 ± 0.087');
  });
});
