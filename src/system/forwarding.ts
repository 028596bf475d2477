import type { TableCounter } from './nft-rules.js';

/**
 * Whether packets of containers pass this host, judged by what entered the overlay's way and what left it. A single
 * packet may rightly be dropped, by an operator's own rule or for its TTL; that all are is a fault.
 */
export interface ForwardingVerdict {
  readonly out: Passage;
  readonly in: Passage;
}

/** `unknown`: too little has come since the rules last changed. */
export type Passage = 'unknown' | 'passes' | 'dropped' | 'translated';

type Counts = Readonly<Record<TableCounter, number>>;

/** So many in a row that none passes do not come of a traceroute. */
const MIN_LOST = 4;

export interface ForwardingJudge {
  /** @param counts as they are now */
  judge(counts: Counts): ForwardingVerdict;
  /** Somebody has changed rules: what was seen up to now says nothing about them. */
  forget(counts: Counts): void;
}

export function createForwardingJudge(): ForwardingJudge {
  let base: Counts | undefined;
  let verdict: ForwardingVerdict = { out: 'unknown', in: 'unknown' };

  function judgeWay(counts: Counts, way: 'out' | 'in', before: Passage): { passage: Passage; isSettled: boolean } {
    const since = (counter: TableCounter) => counts[counter] - (base?.[counter] ?? 0);
    const translated = since(`${way}_translated`);
    const left = since(`${way}_left`);
    if (translated > 0) return { passage: 'translated', isSettled: true };
    if (left > 0) return { passage: 'passes', isSettled: true };
    if (since(`${way}_entered`) >= MIN_LOST) return { passage: 'dropped', isSettled: true };
    return { passage: before, isSettled: false };
  }

  return {
    judge(counts) {
      // The table was made anew, and counts from 0.
      if (base !== undefined && counts.out_entered + counts.in_entered < base.out_entered + base.in_entered) {
        base = undefined;
      }
      const out = judgeWay(counts, 'out', verdict.out);
      const inward = judgeWay(counts, 'in', verdict.in);
      verdict = { out: out.passage, in: inward.passage };
      // What is not settled goes on being counted from where it began.
      base = {
        ...counts,
        ...(out.isSettled ? {} : { out_entered: base?.out_entered ?? 0 }),
        ...(inward.isSettled ? {} : { in_entered: base?.in_entered ?? 0 }),
      };
      return verdict;
    },
    forget(counts) {
      base = counts;
      verdict = { out: 'unknown', in: 'unknown' };
    },
  };
}
