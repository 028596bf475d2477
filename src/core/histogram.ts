/** How often something took how long, since the process began. */
export interface HistogramCounts {
  /** In seconds, ascending; what took longer than the last one is counted too. */
  readonly bounds: readonly number[];
  /** One more than bounds: what took no longer than each of them and longer than the one before; and the rest. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface Histogram {
  add(seconds: number): void;
  counts(): HistogramCounts;
}

export function createHistogram(bounds: readonly number[]): Histogram {
  const counts = new Array<number>(bounds.length + 1).fill(0);
  let sum = 0;
  return {
    add(seconds) {
      const bucket = bounds.findIndex((bound) => seconds <= bound);
      counts[bucket === -1 ? bounds.length : bucket]++;
      sum += seconds;
    },
    counts: () => ({ bounds, counts: [...counts], sum }),
  };
}
