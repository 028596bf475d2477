import type { PeerView } from './summary.js';
import { nameOf, type Survey, type SurveyedNode } from './survey.js';

/**
 * Which ways between nodes work, in each direction, from what both ends have heard:
 *
 *     from A to B works   B has heard A of late, or A has had an answer from B (which went both ways)
 *     from A to B fails   A has sent, and neither is so
 *     not known           B could not be asked, and A has had no answer: it may be either way
 */
export interface Way {
  readonly from: SurveyedNode;
  readonly to: SurveyedNode;
  readonly state: 'ok' | 'failed' | 'unknown';
  /** What was seen of it; empty if it works. */
  readonly detail: string;
}

/** Probes come every two seconds where nodes are few: three are missing then, and a moment for the answer. */
const LONGEST_AGE_SECONDS = 7;
/** Of nodes that are probed in turn, twenty a second. */
const SECONDS_BY_PEER = 3 / 20;

export function waysOf({ nodes }: Pick<Survey, 'nodes'>): Way[] {
  const longest = longestAge(nodes.length);
  const views = new Map(nodes.map((node) => [node.subnet, viewsOf(node)]));
  const ways: Way[] = [];
  for (const from of nodes) {
    for (const to of nodes) {
      if (from === to) continue;
      const there = views.get(from.subnet)?.get(to.subnet);
      const back = views.get(to.subnet)?.get(from.subnet);
      // Who was not asked is known by what the other end says alone.
      if (there === undefined && back === undefined) continue;
      ways.push(judge(from, to, there, back, longest));
    }
  }
  return ways;
}

/** How old what was heard may be, in seconds. */
export const longestAge = (nodes: number) => LONGEST_AGE_SECONDS + Math.max(0, nodes - 41) * SECONDS_BY_PEER;

export const viewsOf = ({ summary }: Pick<SurveyedNode, 'summary'>) =>
  summary === null ? undefined : new Map(summary.peers.map((peer) => [peer.subnet, peer]));

/** @param there how `from` sees `to` @param back how `to` sees `from`; undefined: it could not be asked, or has no such peer */
export function judge(
  from: SurveyedNode,
  to: SurveyedNode,
  there: PeerView | undefined,
  back: PeerView | undefined,
  longest: number,
): Way {
  const isRecent = (seconds: number | null | undefined) => typeof seconds === 'number' && seconds <= longest;
  if (isRecent(back?.heardSeconds) || isRecent(there?.answeredSeconds)) return { from, to, state: 'ok', detail: '' };
  const obstacle = there?.obstacle ?? null;
  if (obstacle !== null) return { from, to, state: 'failed', detail: obstacle };
  if (back !== undefined) {
    const sent = there === undefined ? '' : `leave ${nameOf(from)}, `;
    return { from, to, state: 'failed', detail: `${sent}none arrive` };
  }
  if (to.summary !== null) return { from, to, state: 'failed', detail: `${nameOf(to)} does not know that node` };
  return { from, to, state: 'unknown', detail: `no answer comes back; ${nameOf(to)} was not asked: ${to.problem}` };
}
