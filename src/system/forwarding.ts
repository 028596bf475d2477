import { TABLE_COUNTERS, type TableCounter } from './nft-rules.js';

/**
 * Whether packets of containers pass this host, judged by the connections that began in the last minute: some may rightly
 * be refused, by an operator's own rule; that all are is a fault.
 */
export interface ForwardingVerdict {
  readonly out: Passage;
  readonly in: Passage;
}

/** `unknown`: too little has come. */
export type Passage = 'unknown' | 'passes' | 'dropped' | 'translated';

type Counts = Readonly<Record<TableCounter, number>>;

/** So many in a row that none passes are no accident. */
const MIN_LOST = 4;

/** What has come in this span of time and the one before is judged. Not by rule changes alone, which the kernel's older tables and sets do not tell. */
export const SPAN_MS = 30_000;

export interface ForwardingJudge {
  /**
   * @param counts as they are now
   * @param now milliseconds of a clock that never goes back
   */
  judge(counts: Counts, now: number): ForwardingVerdict;
  /**
   * Somebody has changed rules: what has passed or was translated says nothing about them. What was lost counts on until
   * something passes: among rules that change every second nothing could be told else.
   */
  forget(counts: Counts): void;
}

const WAYS = ['out', 'in'] as const;

export function createForwardingJudge(): ForwardingJudge {
  let span: { before: Counts; start: Counts; end: number } | undefined;

  function judgeWay(counts: Counts, way: 'out' | 'in'): Passage {
    const since = (counter: TableCounter) => counts[counter] - (span?.before[counter] ?? 0);
    if (since(`${way}_translated`) > 0) return 'translated';
    if (since(`${way}_left`) > 0) return 'passes';
    return since(`${way}_entered`) >= MIN_LOST ? 'dropped' : 'unknown';
  }

  return {
    judge(counts, now) {
      // The table was made anew, and counts from 0.
      if (span !== undefined && isBefore(counts, span.start)) span = undefined;
      const verdict = { out: judgeWay(counts, 'out'), in: judgeWay(counts, 'in') };
      if (span === undefined) span = { before: NOTHING, start: counts, end: now + SPAN_MS };
      else if (now >= span.end) span = { before: span.start, start: counts, end: now + SPAN_MS };
      return verdict;
    },
    forget(counts) {
      if (span === undefined || isBefore(counts, span.start)) return;
      const before = { ...span.before };
      for (const way of WAYS) {
        const verdict = judgeWay(counts, way);
        if (verdict === 'dropped' || verdict === 'unknown') continue;
        for (const kind of ['entered', 'left', 'translated'] as const)
          before[`${way}_${kind}`] = counts[`${way}_${kind}`];
      }
      span = { ...span, before };
    },
  };
}

const NOTHING = Object.fromEntries(TABLE_COUNTERS.map((name) => [name, 0])) as Record<TableCounter, number>;

function isBefore(counts: Counts, base: Counts): boolean {
  return (Object.keys(base) as TableCounter[]).some((counter) => counts[counter] < base[counter]);
}
