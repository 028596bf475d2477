import { expect, it } from 'vitest';
import { inTurns, MOST_AT_ONCE } from '../../../src/core/in-turns.js';

const numbers = (length: number) => Array.from({ length }, (_, i) => i);

it('goes through all, part after part, and lets others have their turn in between', async () => {
  const [parts, turns, seen]: [number[], number[], number[]] = [[], [], []];
  let turn = 0;
  let timer = setImmediate(function other() {
    turn++;
    timer = setImmediate(other);
  });
  await inTurns(numbers(2 * MOST_AT_ONCE + 1), async (some) => {
    parts.push(some.length);
    turns.push(turn);
    // Waited for: the next part comes after it.
    await Promise.resolve();
    seen.push(...some);
  });
  clearImmediate(timer);
  expect(parts).toEqual([MOST_AT_ONCE, MOST_AT_ONCE, 1]);
  expect(new Set(turns).size).toBe(3);
  expect(seen).toEqual(numbers(2 * MOST_AT_ONCE + 1));
});

it('goes through few at once, and through none', () => {
  const seen: number[] = [];
  void inTurns(numbers(MOST_AT_ONCE), (some) => void seen.push(...some));
  void inTurns([], () => expect.unreachable());
  expect(seen).toHaveLength(MOST_AT_ONCE);
});

it('ends with what a part throws', async () => {
  const wrong = () => Promise.reject(new Error('wrong'));
  await expect(inTurns([1], wrong)).rejects.toThrow('wrong');
});
