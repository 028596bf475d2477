import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { inParallel } from '../../../src/core/in-parallel.js';

it('does so many at once and no more, and gives the results in order', async () => {
  let [running, most] = [0, 0];
  const work = async (item: number) => {
    most = Math.max(most, ++running);
    for (let i = 0; i < 10 - item; i++) await turn();
    running--;
    return item * 2;
  };
  expect(await inParallel([0, 1, 2, 3, 4, 5, 6], 3, work)).toEqual([0, 2, 4, 6, 8, 10, 12]);
  expect(most).toBe(3);
});

it('rejects with the first failure, and has nothing to do for nobody', async () => {
  await expect(inParallel([1, 2], 8, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await inParallel([], 8, async () => 1)).toEqual([]);
});
