/** How often one repeating condition is told: enough to be seen, too rare to fill a disk. */
const REPEAT_INTERVAL_MS = 30_000;

/** For log lines that may repeat. @param burst how many lines of an interval are told */
export const createRepeatLimit = (burst = 1) => createRateLimit(REPEAT_INTERVAL_MS, () => performance.now(), burst);

/**
 * Limits a repeating message: the first calls of each interval pass, and are told how many were kept back before them.
 * @param now milliseconds of a clock that never goes back
 * @param burst how many pass in an interval
 */
export function createRateLimit(
  intervalMs: number,
  now: () => number,
  burst = 1,
): (tell: (suppressed: number) => void) => void {
  let next = Number.NEGATIVE_INFINITY;
  let left = 0;
  let suppressed = 0;
  return (tell) => {
    if (now() >= next) {
      next = now() + intervalMs;
      left = burst;
    }
    if (left === 0) {
      suppressed++;
      return;
    }
    left--;
    tell(suppressed);
    suppressed = 0;
  };
}
