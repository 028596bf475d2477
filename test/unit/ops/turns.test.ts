import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createTurns } from '../../../src/ops/turns.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('lets the first go on at once, and the others one by one in their order', async () => {
  const turns = createTurns<string>(5);
  const gone: string[] = [];
  for (const who of ['a', 'b', 'c']) void turns.take(who).then(() => gone.push(who));
  await vi.advanceTimersByTimeAsync(0);
  expect(gone).toEqual(['a']);
  await vi.advanceTimersByTimeAsync(5);
  expect(gone).toEqual(['a', 'b']);
  await vi.advanceTimersByTimeAsync(5);
  expect(gone).toEqual(['a', 'b', 'c']);
});

it('spends no turn on those that have given up', async () => {
  const turns = createTurns<string>(5);
  await turns.take('first');
  const answers = ['a', 'b', 'c'].map((who) => turns.take(who));
  turns.giveUp('a');
  turns.giveUp('b');
  turns.giveUp('nobody');
  expect(await Promise.all(answers.slice(0, 2))).toEqual([false, false]);
  await vi.advanceTimersByTimeAsync(5);
  expect(await answers[2]).toBe(true);
});

it('makes nobody wait after a pause', async () => {
  const turns = createTurns<string>(5);
  await turns.take('a');
  await vi.advanceTimersByTimeAsync(5);
  expect(await turns.take('b')).toBe(true);
  expect(vi.getTimerCount()).toBe(1);
});
