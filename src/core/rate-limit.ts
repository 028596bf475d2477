/** How often one repeating condition is told: enough to be seen, too rare to fill a disk. */
export const REPEAT_INTERVAL_MS = 30_000;

/**
 * Limits a repeating message: the first call of each interval passes, and is told how many were kept back before it.
 * @param now milliseconds of a clock that never goes back
 */
export function createRateLimit(intervalMs: number, now: () => number): (tell: (suppressed: number) => void) => void {
  let next = Number.NEGATIVE_INFINITY;
  let suppressed = 0;
  return (tell) => {
    if (now() < next) {
      suppressed++;
      return;
    }
    next = now() + intervalMs;
    tell(suppressed);
    suppressed = 0;
  };
}
