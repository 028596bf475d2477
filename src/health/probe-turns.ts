import { createEchoTurns, MISSES_FOR_SILENCE, type Probe, type Turns, type TurnsOptions } from '../core/echo-turns.js';
import { PROBE_INTERVAL_MS } from './peer-health.js';

/** Of a backend where packets go by a session, which has to be begun, and costs both ends a hundred times what an echo does. */
export interface ProbedSessions<T> {
  /** An echo would go by one that stands, and be no reason for another handshake. */
  isFresh(peer: T): boolean;
  /** Asks for one, once. Undefined: an echo does, which is sent for that. */
  readonly begin: ((peer: T) => void) | undefined;
  /** How long one stands. */
  readonly lastsMs: number;
}

/** Whose turn it is, as Turns has it, where some are asked for a session instead. */
export interface ProbeTurns<T extends Probe> extends Omit<Turns<T>, 'hasten' | 'roundMs'> {
  /**
   * To whom an echo goes now. Others are asked for a session, and have an echo when it stands; where nothing else begins one
   * they have it at once, as seldom.
   */
  take(now: number): T[];
  /** How long it takes until all that are asked like that one had their turn. */
  roundMs(probe: T | undefined): number;
  /** In which a peer has asked all of its own at least, however many of them sleep. */
  peersRoundMs(): number;
}

/** Of all that is asked, which goes out together: an idle node pays for each time that it is awake. */
const TICK_MS = 500;
/** Forty of them have an interval each, and more than that go in turn, twenty a second. */
export const ECHOES: TurnsOptions = { intervalMs: PROBE_INTERVAL_MS, perTick: 10, tickMs: TICK_MS };
/**
 * Four a second, and as many that others begin: some 500 peers have a session all the time, more than that by turns. Between
 * two to one peer lies more than the least that WireGuard permits, with its jitter.
 */
const HANDSHAKES: TurnsOptions = { intervalMs: 6000, perTick: 2, tickMs: TICK_MS };

export function createProbeTurns<T extends Probe>(sessions: ProbedSessions<T> | undefined): ProbeTurns<T> {
  const awake = createEchoTurns<T>(ECHOES);
  if (sessions === undefined) return { ...awake, peersRoundMs: awake.roundMs };
  const { begin } = sessions;
  // However many sleep: who was last heard before its session ended is not known to be well.
  const longestRoundMs = sessions.lastsMs / MISSES_FOR_SILENCE;
  const asleep = createEchoTurns<T>(HANDSHAKES);
  const sleepers = new Set<T>();
  let count = 0;
  /** Asked for a session a moment ago. */
  const asked = new Set<T>();
  const queueOf = (probe: T | undefined) => (probe !== undefined && sleepers.has(probe) ? asleep : awake);

  function sleep(probe: T): void {
    awake.remove(probe);
    sleepers.add(probe);
    asleep.add(probe);
  }

  function wake(probe: T): void {
    asleep.remove(probe);
    sleepers.delete(probe);
    asked.delete(probe);
    awake.add(probe);
    awake.hasten(probe);
  }

  /** @returns to whom an echo goes for it */
  function ask(probe: T): T[] {
    asked.add(probe);
    begin?.(probe);
    return begin === undefined ? [probe] : [];
  }

  return {
    add(probe) {
      count++;
      if (!sessions.isFresh(probe)) sleepers.add(probe);
      queueOf(probe).add(probe);
    },
    remove(probe) {
      count--;
      queueOf(probe).remove(probe);
      sleepers.delete(probe);
      asked.delete(probe);
    },
    take(now) {
      for (const probe of asked) if (sessions.isFresh(probe)) wake(probe);
      const begun: T[] = [];
      for (const probe of asleep.take(now)) {
        if (sessions.isFresh(probe)) wake(probe);
        else begun.push(...ask(probe));
      }
      const due = awake.take(now);
      for (const probe of due) if (!sessions.isFresh(probe)) sleep(probe);
      return [...begun, ...due.filter((probe) => !sleepers.has(probe))];
    },
    begin: (probe, now) => queueOf(probe).begin(probe, now),
    answered: (probe, sequence) => queueOf(probe).answered(probe, sequence),
    missed(now) {
      const unheard = asleep.missed(now);
      for (const probe of unheard) asked.delete(probe);
      return [...awake.missed(now), ...unheard];
    },
    msUntilNext(now) {
      const waits = [awake, asleep].map((queue) => queue.msUntilNext(now) ?? Number.POSITIVE_INFINITY);
      // Whether it has answered is seen by looking.
      const wait = Math.min(...waits, asked.size > 0 ? HANDSHAKES.tickMs : Number.POSITIVE_INFINITY);
      return Number.isFinite(wait) ? wait : undefined;
    },
    roundMs: (probe) => Math.min(queueOf(probe).roundMs(), queueOf(probe) === asleep ? longestRoundMs : Infinity),
    peersRoundMs: () => Math.max(HANDSHAKES.intervalMs, Math.ceil(count / HANDSHAKES.perTick) * HANDSHAKES.tickMs),
  };
}
