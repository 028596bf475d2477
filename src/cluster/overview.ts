import type { PeerState } from '../core/peer-state.js';
import type { PeerStatus, Status } from '../ops/status.js';
import { type Answer, answerOf } from './answers.js';
import { NO_ANSWER } from './ask.js';
import type { About, PeerView, Summary } from './summary.js';
import { nameOf, type SurveyedNode } from './survey.js';
import { judge, longestAge, viewsOf } from './ways.js';

/** The cluster as the live page shows it: what this node sees, and what the others have answered. */
export interface Overview {
  readonly time: string;
  readonly network: string;
  /** Whether what flows between nodes is counted: all of it, what goes through the tunnel, or none of it by node. */
  readonly traffic: 'counted' | 'tunnel-only' | 'not-counted';
  /** False: the kernel moves the packets, and tells of none that it drops. */
  readonly countsDrops: boolean;
  /** This node is the first; then by name, those that are lost at the end. */
  readonly nodes: readonly OverviewNode[];
  /** Pairs of nodes of which there is something to show. */
  readonly links: readonly Link[];
  /** Pairs that work and are as good as quiet, where all of them would be too many; more of these were left out, or of those. */
  readonly linksLeftOut: number;
}

/**
 *     not-ready   it says itself that something is wrong
 *     no-answer   it is heard, but does not answer questions
 *     lost        its lease has gone
 *
 * and how a peer is to this node.
 */
export type NodeState = PeerState | 'not-ready' | 'no-answer' | 'lost';

export interface OverviewNode {
  readonly host: string | null;
  readonly subnet: string;
  readonly address: string;
  readonly version: string | null;
  readonly state: NodeState;
  /** What is wrong, in words; null: nothing is, or nobody knows more. */
  readonly detail: string | null;
  readonly rttMs: number | null;
  readonly heardSeconds: number | null;
  /** Between it and all others, bytes by the second; null: nobody counts them. */
  readonly out: number | null;
  readonly in: number | null;
  /** What it says of itself; null: it was not asked, or gave no answer. */
  readonly about: About | null;
  /** Why it does not; null: it does, or was not asked yet. */
  readonly notAsked: string | null;
  /** How many of the others it exchanges packets with, and with how many not. */
  readonly linksOk: number;
  readonly linksFailed: number;
  /** Since its lease went; null: it is there. */
  readonly lostSeconds: number | null;
}

/** Two nodes, by their place in the list. */
export interface Link {
  readonly a: number;
  readonly b: number;
  readonly state: 'ok' | 'failed' | 'unknown';
  readonly detail: string;
  readonly rttMs: number | null;
  /** Bytes by the second; null: nobody counts them. */
  readonly aToB: number | null;
  readonly bToA: number | null;
}

export interface OverviewInput {
  readonly status: Status;
  /** Our own view, as others would be answered, after the one before. */
  readonly own: Answer;
  readonly answerOf: (subnet: string) => Answer | undefined;
  /** Why that node is not asked; undefined: it is. */
  readonly whyNotAsked: (subnet: string) => string | undefined;
  /** Nodes that have come a moment ago: that others do not know them yet is no fault. */
  readonly isNew: (subnet: string) => boolean;
  readonly lost: readonly (Pick<PeerStatus, 'host' | 'subnet' | 'nextHop' | 'version'> & {
    readonly seconds: number;
  })[];
}

/** A cluster of so many is drawn with all its pairs. */
const FEW_NODES = 24;
const MOST_FAILED = 300;
const MOST_BUSY = 200;
/** Below that two nodes are as good as quiet: so much come from probes, and from questions as these. */
const LEAST_BUSY = 4000;

interface Entry {
  readonly peer: PeerStatus | undefined;
  readonly node: SurveyedNode;
  readonly answer: Answer | undefined;
  readonly views: Map<string, PeerView> | undefined;
}

export function overviewOf(input: OverviewInput): Overview {
  const { status } = input;
  const entries = [ownEntry(input), ...status.peers.map((peer) => entryOf(peer, input)).sort(byName)];
  const pairs = pairsOf(entries, input);
  const shown = worthShowing(pairs.links, entries.length);
  const nodes = entries.map((entry, i) => nodeFrom(entry, input, pairs.totals[i]));
  return {
    time: new Date().toISOString(),
    network: status.node.network,
    traffic: trafficOf(status),
    countsDrops: status.packetPath !== null,
    nodes: [...nodes, ...input.lost.map(lostNode)],
    links: shown,
    linksLeftOut: pairs.links.length - shown.length,
  };
}

function trafficOf({ backend }: Status): Overview['traffic'] {
  if (!backend.countsTraffic) return 'not-counted';
  return (backend.direct ?? 0) > 0 ? 'tunnel-only' : 'counted';
}

const collator = new Intl.Collator('en', { numeric: true });
const byName = (a: Entry, b: Entry) => collator.compare(nameOf(a.node), nameOf(b.node));

function ownEntry({ status: { node }, own }: OverviewInput): Entry {
  const { summary, problem } = own;
  const self = { host: node.name, subnet: node.subnet, address: node.publicIp, summary, problem };
  return { peer: undefined, node: self, answer: own, views: viewsOf(self) };
}

function entryOf(peer: PeerStatus, { answerOf }: OverviewInput): Entry {
  const { host, subnet, nextHop } = peer;
  const answer = answerOf(subnet);
  const { summary = null, problem = null } = answer ?? {};
  const node = { host, subnet, address: nextHop, summary, problem };
  return { peer, node, answer, views: viewsOf(node) };
}

interface Totals {
  out: number | null;
  in: number | null;
  ok: number;
  failed: number;
}

/** All pairs of which at least one end says something. */
function pairsOf(entries: readonly Entry[], { isNew }: OverviewInput): { links: Link[]; totals: Totals[] } {
  const totals: Totals[] = entries.map(() => ({ out: null, in: null, ok: 0, failed: 0 }));
  const indexOf = new Map(entries.map(({ node }, i) => [node.subnet, i]));
  const isVague = ({ node, peer }: Entry) => isNew(node.subnet) || UNSURE.has(peer?.health.state);
  const longest = longestAge(entries.length);
  const links: Link[] = [];
  // By what is said, and not by all pairs there could be: of thousands of nodes a few hundred say something.
  for (const [teller, { node, views = new Map<string, PeerView>() }] of entries.entries()) {
    for (const subnet of views.keys()) {
      const other = indexOf.get(subnet);
      if (other === undefined || (other < teller && entries[other].views?.has(node.subnet))) continue;
      const [a, b] = [Math.min(teller, other), Math.max(teller, other)];
      const link = linkBetween(entries, a, b, longest, isVague);
      links.push(link);
      count(totals[a], link.state, link.aToB, link.bToA);
      count(totals[b], link.state, link.bToA, link.aToB);
    }
  }
  return { links, totals };
}

/** That nothing is heard of these is no fault. */
const UNSURE = new Set<PeerState | undefined>(['unknown', 'reserved', 'other-backend']);

function linkBetween(
  entries: readonly Entry[],
  a: number,
  b: number,
  longest: number,
  isVague: (entry: Entry) => boolean,
): Link {
  const [from, to] = [entries[a], entries[b]];
  const there = from.views?.get(to.node.subnet);
  const back = to.views?.get(from.node.subnet);
  const ways = [judge(from.node, to.node, there, back, longest), judge(to.node, from.node, back, there, longest)];
  const worst = ways.find(({ state }) => state === 'failed') ?? ways.find(({ state }) => state === 'unknown');
  const state = worst === undefined ? 'ok' : isVague(from) || isVague(to) ? 'unknown' : worst.state;
  const rttMs = there?.rttMs ?? back?.rttMs ?? null;
  const flows = { aToB: rateBetween(from, to), bToA: rateBetween(to, from) };
  return { a, b, state, detail: worst?.detail ?? '', rttMs, ...flows };
}

/** As its sender counts it, or as its receiver does. */
function rateBetween(from: Entry, to: Entry): number | null {
  return from.answer?.rates.get(to.node.subnet)?.out ?? to.answer?.rates.get(from.node.subnet)?.in ?? null;
}

function count(totals: Totals, state: Link['state'], out: number | null, inward: number | null): void {
  if (state === 'ok') totals.ok++;
  if (state === 'failed') totals.failed++;
  if (out !== null) totals.out = (totals.out ?? 0) + out;
  if (inward !== null) totals.in = (totals.in ?? 0) + inward;
}

const traffic = ({ aToB, bToA }: Link) => (aToB ?? 0) + (bToA ?? 0);

/** Those that fail, then by traffic; of few nodes all. */
function worthShowing(links: readonly Link[], nodes: number): Link[] {
  if (nodes <= FEW_NODES) return [...links];
  const broken = links.filter(({ state }) => state !== 'ok');
  broken.sort((x, y) => Number(y.state === 'failed') - Number(x.state === 'failed'));
  const busy = links.filter((link) => link.state === 'ok' && traffic(link) >= LEAST_BUSY);
  busy.sort((x, y) => traffic(y) - traffic(x));
  return [...broken.slice(0, MOST_FAILED), ...busy.slice(0, MOST_BUSY)];
}

function nodeFrom({ peer, node, answer }: Entry, input: OverviewInput, totals: Totals): OverviewNode {
  const { status } = input;
  const { host, subnet, address, summary } = node;
  return {
    host,
    subnet,
    address,
    version: peer === undefined ? status.version : peer.version,
    ...(peer === undefined ? ownState(status) : stateOf(peer, answer, totals)),
    rttMs: peer?.health.rttMs ?? null,
    heardSeconds: peer?.health.lastHeardSeconds ?? null,
    out: totals.out,
    in: totals.in,
    about: summary?.about ?? null,
    notAsked: peer === undefined ? null : (input.whyNotAsked(subnet) ?? answer?.problem ?? null),
    linksOk: totals.ok,
    linksFailed: totals.failed,
    lostSeconds: null,
  };
}

type Stated = Pick<OverviewNode, 'state' | 'detail'>;

const ownState = ({ problems }: Status): Stated =>
  problems.length === 0 ? { state: 'ok', detail: null } : { state: 'not-ready', detail: problems.join('; ') };

function stateOf({ health }: PeerStatus, answer: Answer | undefined, { ok }: Totals): Stated {
  const { state, reason } = health;
  if (state === 'silent' || state === 'unreachable') {
    const seen = ok > 0 ? `${ok} of the other nodes ${ok === 1 ? 'reaches' : 'reach'} it` : undefined;
    return { state, detail: [reason, seen].filter(Boolean).join('; ') || null };
  }
  const summary = answer?.summary;
  if (summary?.ready === false) {
    return { state: 'not-ready', detail: summary.about?.problems.join('; ') || 'it says that it is not ready' };
  }
  if (answer !== undefined && !summary && (state === 'ok' || state === 'unknown')) {
    // That word says the state.
    const detail =
      answer.problem === NO_ANSWER ? 'does its daemon run, and its firewall let questions in?' : answer.problem;
    return { state: 'no-answer', detail };
  }
  return { state, detail: reason };
}

function lostNode({ host, subnet, nextHop, version, seconds }: OverviewInput['lost'][number]): OverviewNode {
  return {
    host,
    subnet,
    address: nextHop,
    version,
    state: 'lost',
    detail: 'its lease is gone: it was stopped for good, or did not renew it',
    rttMs: null,
    heardSeconds: null,
    out: null,
    in: null,
    about: null,
    notAsked: null,
    linksOk: 0,
    linksFailed: 0,
    lostSeconds: seconds,
  };
}

/** What we say ourselves, made of a status that is known already. */
export const ownAnswer = (summary: Summary, before: Answer | undefined): Answer => answerOf(summary, null, before);
