import type { TableCounter } from './nft-rules.js';

/**
 * Whether packets of containers pass this host, judged by the connections that began since rules last changed: some may
 * rightly be refused, by an operator's own rule; that all are is a fault.
 */
export interface ForwardingVerdict {
  readonly out: Passage;
  readonly in: Passage;
}

/** `unknown`: too little has come since the rules last changed. */
export type Passage = 'unknown' | 'passes' | 'dropped' | 'translated';

type Counts = Readonly<Record<TableCounter, number>>;

/** So many in a row that none passes are no accident. */
const MIN_LOST = 4;

export interface ForwardingJudge {
  /** @param counts as they are now */
  judge(counts: Counts): ForwardingVerdict;
  /** Somebody has changed rules: what was seen up to now says nothing about them. */
  forget(counts: Counts): void;
}

export function createForwardingJudge(): ForwardingJudge {
  let base: Counts | undefined;

  function judgeWay(counts: Counts, way: 'out' | 'in'): Passage {
    const since = (counter: TableCounter) => counts[counter] - (base?.[counter] ?? 0);
    if (since(`${way}_translated`) > 0) return 'translated';
    if (since(`${way}_left`) > 0) return 'passes';
    return since(`${way}_entered`) >= MIN_LOST ? 'dropped' : 'unknown';
  }

  return {
    judge(counts) {
      // The table was made anew, and counts from 0.
      if (base !== undefined && isBefore(counts, base)) base = undefined;
      return { out: judgeWay(counts, 'out'), in: judgeWay(counts, 'in') };
    },
    forget(counts) {
      base = counts;
    },
  };
}

function isBefore(counts: Counts, base: Counts): boolean {
  return (Object.keys(base) as TableCounter[]).some((counter) => counts[counter] < base[counter]);
}
