import type { Logger } from '../core/logger.js';
import { dropOf } from '../ops/status.js';

const INTERVAL_MS = 60_000;
/** Hosts send multicast and broadcasts by themselves all the time: that these go nowhere is no news. */
const NO_NEWS = 'out_drop_multicast';

/** Says once a minute which packets were dropped since the last time, and why; says nothing if none were. */
export function reportDrops(counters: () => Record<string, number>, log: Logger): { stop(): void } {
  let before = counters();
  const timer = setInterval(() => {
    const now = counters();
    const drops = Object.entries(now)
      .filter(([name]) => dropOf(name) !== undefined && name !== NO_NEWS)
      .map(([name, value]) => [name, value - before[name]] as const)
      .filter(([, difference]) => difference > 0);
    before = now;
    if (drops.length > 0) log.info(Object.fromEntries(drops), 'packets dropped in the last minute');
  }, INTERVAL_MS);
  return { stop: () => clearInterval(timer) };
}
