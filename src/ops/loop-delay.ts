import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { HistogramCounts } from '../core/histogram.js';

/** A sample this often: whoever is held up for longer than that is seen for certain. */
const RESOLUTION_MS = 20;
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const STEPS = 30;

/**
 * How late the event loop of the main thread is, which has etcd, timers and all who ask. What the kernel's timer measures
 * allocates nothing; but it tells percentiles alone, so the counts are found by them.
 */
export function watchLoopDelay(): () => HistogramCounts {
  const measured = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  measured.enable();
  const lateSeconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000);
  /** As they were told before: a counter never falls, also where it is found anew. */
  const told = new Array<number>(BOUNDS.length).fill(0);

  function countUpTo(bound: number): number {
    let [low, high] = [0, 100];
    for (let step = 0; step < STEPS; step++) {
      const percent = (low + high) / 2;
      if (percent > 0 && lateSeconds(measured.percentile(percent)) <= bound) low = percent;
      else high = percent;
    }
    return Math.round((measured.count * low) / 100);
  }

  return () => {
    const total = measured.count;
    for (const [i, bound] of BOUNDS.entries()) {
      told[i] = total === 0 ? 0 : Math.max(told[i], told[i - 1] ?? 0, countUpTo(bound));
    }
    const counts = [...told, Math.max(total, told.at(-1)!)].map((upTo, i) => upTo - (told[i - 1] ?? 0));
    const mean = total === 0 ? 0 : lateSeconds(measured.mean);
    return { bounds: BOUNDS, counts, sum: mean * total };
  };
}
