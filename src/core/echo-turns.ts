import type { Ipv4 } from './ipv4.js';

/**
 * Whom to send an echo request next, and who has not answered. Knows neither sockets nor clocks, nor what follows from a
 * silence; times are in ms of the caller's clock:
 *
 *     soon      new ones, and those that are to be asked again at once                 before all others
 *     in turn   [ longest without a request ... asked a moment ago ]                  when their interval is over
 *     awaited   asked and not answered, for two seconds at most: then it is a miss
 *
 * However many they are, in each tick so many are asked and no more: where they are too many for the interval, in turn.
 */

/** An answer counts for so long. */
export const ANSWER_MS = 2000;
/** So many without an answer, one after the other, are silence. */
export const MISSES_FOR_SILENCE = 3;

export interface Probe {
  /** Where the echo goes. */
  readonly address: Ipv4;
  /** When the last one was sent; undefined: none yet. */
  sentAt: number | undefined;
  /** Of the last one, 0 to 65535. */
  sequence: number;
  /** Without an answer since the last one that had it, the last probe not counted while it may be answered still. */
  misses: number;
}

export const newProbe = (address: Ipv4): Probe => ({ address, sentAt: undefined, sequence: 0, misses: 0 });

export interface TurnsOptions {
  /** Between two requests to one of them, where they are few. */
  readonly intervalMs: number;
  /** How many are asked at one time at most, ... */
  readonly perTick: number;
  /** ... and how long it is from one such time to the next. Each wakes a thread here and one of the packet path. */
  readonly tickMs: number;
}

export interface Turns<T extends Probe> {
  /** One that was never asked comes before all others, another one after them. */
  add(probe: T): void;
  remove(probe: T): void;
  /** It is asked before those in turn, as soon as the rate allows it. */
  hasten(probe: T): void;
  /** The next ones to send to, if it is their time. They count as sent. */
  take(now: number): T[];
  /** Counts as sent too, whatever its turn. */
  begin(probe: T, now: number): void;
  /** Whether that is an answer to its last request; to any other it is none, since its time is not known. */
  answered(probe: T, sequence: number): boolean;
  /** Those that have missed one since this was asked last: after the answers that have come were told. */
  missed(now: number): T[];
  /** In how many ms take() or missed() has some: never sooner than the rate allows; undefined: there is nobody. */
  msUntilNext(now: number): number | undefined;
  /** How long it takes to ask all of them once, in ms. */
  roundMs(): number;
}

export function createEchoTurns<T extends Probe>({ intervalMs, perTick, tickMs }: TurnsOptions): Turns<T> {
  // Sets keep the order in which their members were added: queues that one may leave from the middle.
  const soon = new Set<T>();
  const inTurn = new Set<T>();
  const awaited = new Set<T>();
  let lastAt = Number.NEGATIVE_INFINITY;

  const isKnown = (probe: T) => soon.has(probe) || inTurn.has(probe);
  const dueAt = ({ sentAt }: T) => (sentAt === undefined ? Number.NEGATIVE_INFINITY : sentAt + intervalMs);
  const isOver = ({ sentAt }: T, now: number) => sentAt !== undefined && now - sentAt >= ANSWER_MS;

  function leave(probe: T): void {
    soon.delete(probe);
    inTurn.delete(probe);
  }

  function nextOne(now: number): T | undefined {
    const [next] = soon.size > 0 ? soon : inTurn;
    return next !== undefined && (soon.has(next) || dueAt(next) <= now) ? next : undefined;
  }

  function begin(probe: T, now: number): void {
    if (awaited.delete(probe)) probe.misses++;
    leave(probe);
    inTurn.add(probe);
    awaited.add(probe);
    lastAt = now;
    probe.sentAt = now;
    probe.sequence = (probe.sequence + 1) & 0xffff;
  }

  return {
    add: (probe) => void (probe.sentAt === undefined ? soon : inTurn).add(probe),

    remove(probe) {
      leave(probe);
      awaited.delete(probe);
    },

    hasten(probe) {
      if (!isKnown(probe)) return;
      leave(probe);
      soon.add(probe);
    },

    take(now) {
      const taken: T[] = [];
      if (now < lastAt + tickMs) return taken;
      for (let next = nextOne(now); next !== undefined && taken.length < perTick; next = nextOne(now)) {
        begin(next, now);
        taken.push(next);
      }
      return taken;
    },

    begin,

    answered(probe, sequence) {
      if (probe.sequence !== sequence || !awaited.delete(probe)) return false;
      probe.misses = 0;
      return true;
    },

    missed(now) {
      const missed: T[] = [];
      for (const probe of awaited) {
        if (!isOver(probe, now)) break;
        awaited.delete(probe);
        probe.misses++;
        missed.push(probe);
      }
      return missed;
    },

    msUntilNext(now) {
      const [first] = awaited;
      const [next] = inTurn;
      if (next === undefined && soon.size === 0) return undefined;
      const due = soon.size > 0 ? now : dueAt(next!);
      const over = first === undefined ? Number.POSITIVE_INFINITY : first.sentAt! + ANSWER_MS;
      return Math.max(0, Math.min(Math.max(due, lastAt + tickMs), over) - now);
    },

    roundMs: () => Math.max(intervalMs, Math.ceil((soon.size + inTurn.size) / perTick) * tickMs),
  };
}
