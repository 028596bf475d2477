import type { Summary } from './summary.js';
import { type Member, MOST_ASKED, type SurveyedNode } from './survey.js';

/** What a node has last said of itself and the others, and what has flowed since it said so before. */
export interface Answer extends Pick<SurveyedNode, 'summary' | 'problem'> {
  /** When it came, in ms of our clock. */
  readonly at: number;
  /** By the subnet of its peer; nothing after a first answer. */
  readonly rates: ReadonlyMap<string, Rate>;
}

/** Bytes by the second; null: nobody counts them. */
export interface Rate {
  readonly out: number | null;
  readonly in: number | null;
}

export interface Answers {
  /** Somebody looks: nodes are asked from now on for a while. */
  want(): void;
  of(subnet: string): Answer | undefined;
  stop(): void;
}

export interface AnswersOptions {
  /** Our own subnet: what others say of us is kept too. */
  readonly own: string;
  /** Who may be asked. */
  readonly members: () => readonly Member[];
  readonly ask: (member: Member) => Promise<Pick<SurveyedNode, 'summary' | 'problem'>>;
}

/** Between two questions to one node... */
const INTERVAL_MS = 2000;
/** ... while all of them together are asked twenty times a second at most, as they are probed. */
const TICK_MS = 250;
const PER_TICK = 5;
const MOST_AT_ONCE = 32;
/** A page asks every few seconds. When nobody does any more, nobody is asked, and what was said is forgotten. */
const WANTED_MS = 10_000;

/** Asks members in turn, while somebody looks and no longer. */
export function keepAnswers({ own, members, ask }: AnswersOptions): Answers {
  const answers = new Map<string, Answer>();
  const begunAt = new Map<string, number>();
  const underWay = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let wantedUntil = Number.NEGATIVE_INFINITY;

  function tick(): void {
    const now = performance.now();
    if (now > wantedUntil) return forget();
    const asked = members().slice(0, MOST_ASKED);
    const current = new Set([own, ...asked.map(({ subnet }) => subnet)]);
    for (const subnet of answers.keys()) if (!current.has(subnet)) answers.delete(subnet);
    for (const subnet of begunAt.keys()) if (!current.has(subnet)) begunAt.delete(subnet);
    const lastAsked = ({ subnet }: Member) => begunAt.get(subnet) ?? Number.NEGATIVE_INFINITY;
    const due = asked.filter((member) => !underWay.has(member.subnet) && lastAsked(member) + INTERVAL_MS <= now);
    due.sort((a, b) => lastAsked(a) - lastAsked(b));
    for (const member of due.slice(0, Math.min(PER_TICK, MOST_AT_ONCE - underWay.size))) void question(member, current);
  }

  async function question(member: Member, among: ReadonlySet<string>): Promise<void> {
    const { subnet } = member;
    underWay.add(subnet);
    begunAt.set(subnet, performance.now());
    const { summary, problem } = await ask(member);
    underWay.delete(subnet);
    if (!begunAt.has(subnet)) return; // gone meanwhile, or nobody looks any more
    const kept = summary && { ...summary, peers: summary.peers.filter((peer) => among.has(peer.subnet)) };
    answers.set(subnet, answerOf(kept, problem, answers.get(subnet)));
  }

  function forget(): void {
    clearInterval(timer);
    timer = undefined;
    answers.clear();
    begunAt.clear();
  }

  return {
    want() {
      wantedUntil = performance.now() + WANTED_MS;
      if (timer !== undefined) return;
      timer = setInterval(tick, TICK_MS).unref();
      tick();
    },
    of: (subnet) => answers.get(subnet),
    stop: forget,
  };
}

/** Of a shorter time nothing can be said: several who ask at once get the same answer. */
const LEAST_SECONDS = 0.3;

/** @param before what the same node has said before */
export function answerOf(summary: Summary | null, problem: string | null, before: Answer | undefined): Answer {
  const at = performance.now();
  const earlier = before?.summary;
  // By the node's own clock: an answer may have waited.
  const seconds = (summary?.about?.uptimeSeconds ?? 0) - (earlier?.about?.uptimeSeconds ?? Number.POSITIVE_INFINITY);
  if (summary === null || !earlier || seconds < 0) return { summary, problem, at, rates: new Map() };
  if (seconds < LEAST_SECONDS) return { summary: earlier, problem, at, rates: before.rates };
  const known = new Map(earlier.peers.map((peer) => [peer.subnet, peer]));
  const rates = new Map<string, Rate>();
  for (const { subnet, outBytes, inBytes } of summary.peers) {
    const then = known.get(subnet);
    const rate = (now?: number | null, last?: number | null) =>
      typeof now !== 'number' || typeof last !== 'number' ? null : Math.max(0, now - last) / seconds;
    rates.set(subnet, { out: rate(outBytes, then?.outBytes), in: rate(inBytes, then?.inBytes) });
  }
  return { summary, problem, at, rates };
}
