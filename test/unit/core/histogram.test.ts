import { expect, it } from 'vitest';
import { createHistogram } from '../../../src/core/histogram.js';

it('counts each value in the first bucket that holds it, and what no bucket holds', () => {
  const histogram = createHistogram([0.001, 0.01]);
  for (const seconds of [0, 0.001, 0.0011, 0.01, 0.5, 7]) histogram.add(seconds);
  const { bounds, counts, sum } = histogram.counts();
  expect(bounds).toEqual([0.001, 0.01]);
  expect(counts).toEqual([2, 2, 2]);
  expect(sum).toBeCloseTo(7.5121);
});

it('what was told once does not change', () => {
  const histogram = createHistogram([1]);
  const before = histogram.counts();
  histogram.add(0.5);
  expect(before.counts).toEqual([0, 0]);
});
