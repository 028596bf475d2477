import { randomInt } from 'node:crypto';
import { createEchoTurns, MISSES_FOR_SILENCE, newProbe, type Probe } from '../../../core/echo-turns.js';
import type { Ipv4 } from '../../../core/ipv4.js';
import type { Echo, EchoSocket } from '../../../system/echo.js';

/**
 * Which peers answer over the direct way, by ICMP echoes in turn (core/echo-turns.ts). One answer is enough to trust the
 * way, and so many misses in a row end that; who has just missed one is asked before all others.
 *
 *     others --answer--> in use --3 misses--> others
 */
export interface Probes {
  /** @param isKept the way of an earlier run leads there still: trusted until the first miss */
  follow(peer: string, address: Ipv4, isKept: boolean): void;
  forget(peer: string): void;
  answers(peer: string): boolean;
  /** Reads what has come, and sends what is due. @returns peers that have begun to answer, or have ceased to */
  turn(): string[];
  /** Milliseconds until there is something to do; undefined: nobody is followed. */
  restMs(): number | undefined;
}

export interface ProbesOptions {
  readonly socket: Pick<EchoSocket, 'send' | 'receive'>;
  /** Of this process: that of another one's requests is another. 0 to 65535. */
  readonly id: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** What has come cannot be read. */
  readonly onUnreadable: (error: unknown) => void;
}

const TICK_MS = 50;
/**
 * Ways in use have turns of their own, so that peers that do not answer (another rack, or a firewall) take none of their
 * time: 100 echoes a second at most to the first, and 40 to the others.
 */
const IN_USE = { intervalMs: 2000, perTick: 5, tickMs: TICK_MS };
const OTHERS = { intervalMs: 10_000, perTick: 2, tickMs: TICK_MS };

interface Way extends Probe {
  readonly peer: string;
  answers: boolean;
}

export function createProbes({ socket, id, now, onUnreadable }: ProbesOptions): Probes {
  const inUse = createEchoTurns<Way>(IN_USE);
  const others = createEchoTurns<Way>(OTHERS);
  const ways = new Map<string, Way>();
  /** A peer's overlay address is its own alone: it is that of its subnet. */
  const byAddress = new Map<Ipv4, Way>();
  /** Answers to what was just sent are there soon, and what is late can wait for the next turn. */
  let isJustSent = false;

  const turnsOf = ({ answers }: Way) => (answers ? inUse : others);

  /** @returns whether that is news */
  function judge(way: Way, answers: boolean): boolean {
    if (way.answers === answers) return false;
    turnsOf(way).remove(way);
    way.answers = answers;
    turnsOf(way).add(way);
    return true;
  }

  /** @returns whether this was one miss too many */
  function missed(way: Way): boolean {
    if (way.misses >= MISSES_FOR_SILENCE) return judge(way, false);
    turnsOf(way).hasten(way);
    return false;
  }

  /** @returns those who have begun to answer */
  function receive(): Way[] {
    return readEchoes().flatMap(({ type, source, id: of, sequence }) => {
      const way = type === 'reply' && of === id ? byAddress.get(source) : undefined;
      if (way === undefined || !turnsOf(way).answered(way, sequence)) return [];
      return judge(way, true) ? [way] : [];
    });
  }

  function readEchoes(): Echo[] {
    try {
      return socket.receive();
    } catch (error) {
      onUnreadable(error);
      return [];
    }
  }

  function ask({ address, sequence }: Way): void {
    isJustSent = true;
    try {
      socket.send(address, id, sequence);
    } catch {
      // No way there, or a firewall: nothing will come back.
    }
  }

  function forget(peer: string): void {
    const way = ways.get(peer);
    if (way === undefined) return;
    turnsOf(way).remove(way);
    ways.delete(peer);
    byAddress.delete(way.address);
  }

  return {
    follow(peer, address, isKept) {
      if (ways.get(peer)?.address === address && !isKept) return;
      forget(peer);
      const way: Way = { ...newProbe(address), peer, answers: isKept, sequence: randomInt(65536) };
      if (isKept) way.misses = MISSES_FOR_SILENCE - 1;
      ways.set(peer, way);
      byAddress.set(address, way);
      turnsOf(way).add(way);
    },
    forget,
    answers: (peer) => ways.get(peer)?.answers === true,
    turn() {
      isJustSent = false;
      const answering = receive();
      const at = now();
      const silent = [inUse, others].flatMap((turns) => turns.missed(at).filter(missed));
      for (const turns of [inUse, others]) turns.take(at).forEach(ask);
      return [...new Set([...answering, ...silent].map(({ peer }) => peer))];
    },
    restMs() {
      const at = now();
      const waits = [inUse, others].flatMap((turns) => turns.msUntilNext(at) ?? []);
      if (waits.length === 0) return undefined;
      return Math.min(...waits, isJustSent ? TICK_MS : Number.POSITIVE_INFINITY);
    },
  };
}
