import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { keepWatchdogFed } from '../../../src/daemon/watchdog.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('feeds the watchdog three times in its interval, while the packet path runs and no longer', () => {
  let ageMs = 100;
  const fed: string[] = [];
  const watchdog = keepWatchdogFed(
    '9000000',
    () => ageMs,
    (...lines) => void fed.push(...lines),
  );
  vi.advanceTimersByTime(9000);
  expect(fed).toEqual(['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1']);
  ageMs = 5001;
  vi.advanceTimersByTime(9000);
  expect(fed).toHaveLength(3);
  ageMs = 100;
  vi.advanceTimersByTime(3000);
  expect(fed).toHaveLength(4);
  watchdog.stop();
  vi.advanceTimersByTime(9000);
  expect(fed).toHaveLength(4);
});

it.each([undefined, '', 'soon', '0'])('does nothing with WATCHDOG_USEC=%s', (usec) => {
  const notify = vi.fn();
  keepWatchdogFed(usec, () => 0, notify);
  vi.advanceTimersByTime(60_000);
  expect(notify).not.toHaveBeenCalled();
});
