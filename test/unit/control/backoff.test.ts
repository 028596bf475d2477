import { beforeEach, expect, it, vi } from 'vitest';
import { createBackoff } from '../../../src/control/backoff.js';
import { stateOf } from './etcd/cluster.js';

vi.mock('node:timers/promises', () => import('./fake-delay.js'));

const signal = new AbortController().signal;

beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

/** How long the next wait is, in milliseconds. */
async function lengthOf(wait: Promise<void>): Promise<number> {
  const start = Date.now();
  const state = stateOf(wait);
  while (!state.settled) await vi.advanceTimersByTimeAsync(1);
  return Date.now() - start;
}

it('doubles up to its longest wait', async () => {
  const backoff = createBackoff(100, 1000, () => 1);
  const waits: number[] = [];
  for (let i = 0; i < 6; i++) waits.push(await lengthOf(backoff.wait(signal)));
  expect(waits).toEqual([100, 200, 400, 800, 1000, 1000]);
});

it('waits at least half of that time, and jitter decides the rest', async () => {
  const randoms = [0, 0.5, 0.999];
  const backoff = createBackoff(1000, 1000, () => randoms.shift()!);
  expect(await lengthOf(backoff.wait(signal))).toBe(500);
  expect(await lengthOf(backoff.wait(signal))).toBe(750);
  expect(await lengthOf(backoff.wait(signal))).toBeGreaterThanOrEqual(999);
});

it('starts again with the shortest wait after a reset', async () => {
  const backoff = createBackoff(100, 1000, () => 1);
  for (let i = 0; i < 4; i++) await lengthOf(backoff.wait(signal));
  backoff.reset();
  expect(await lengthOf(backoff.wait(signal))).toBe(100);
  expect(await lengthOf(backoff.wait(signal))).toBe(200);
});

it('ends a wait when the signal is aborted, and does not begin one after', async () => {
  const stop = new AbortController();
  const backoff = createBackoff(60_000, 60_000, () => 1);
  const state = stateOf(backoff.wait(stop.signal));
  await vi.advanceTimersByTimeAsync(10);
  expect(state.settled).toBe(false);
  stop.abort();
  await vi.advanceTimersByTimeAsync(0);
  expect(state.error).toBeInstanceOf(Error);
  expect(vi.getTimerCount()).toBe(0);
  await expect(backoff.wait(stop.signal)).rejects.toBeInstanceOf(Error);
});

it("rejects with the signal's reason", async () => {
  const stop = new AbortController();
  const wait = createBackoff(100, 1000).wait(stop.signal);
  const reason = new Error('the daemon stops');
  stop.abort(reason);
  await expect(wait).rejects.toBe(reason);
});
