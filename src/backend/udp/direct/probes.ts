import type { Ipv4 } from '../../../core/ipv4.js';
import type { EchoSocket } from '../../../system/echo.js';

/**
 * Which peers answer over the direct way: an ICMP echo to each of them, every two seconds. One answer is enough to trust
 * the way, and so many misses in a row end that.
 *
 *     unknown --answer--> answers --3 misses--> unknown
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
}

const INTERVAL_MS = 2000;
/** Who has not answered for long is asked more rarely: another rack, or a firewall. */
const MAX_INTERVAL_MS = 10_000;
/** An answer is late by then, on one link. */
const ANSWER_MS = 1000;
const MISSES = 3;
/** While answers are awaited. */
const LOOK_MS = 50;
/** At one time, so that the answers find room in the socket's buffer, as the requests of others do. */
const MAX_SENDS = 100;

interface Probed {
  readonly address: Ipv4;
  answers: boolean;
  misses: number;
  sequence: number;
  /** When the request under way is lost; undefined: there is none. */
  lostAt: number | undefined;
  nextAt: number;
  intervalMs: number;
}

export function createProbes({ socket, id, now }: ProbesOptions): Probes {
  const probed = new Map<string, Probed>();
  /** A peer's overlay address is its own alone: it is that of its subnet. */
  const byAddress = new Map<Ipv4, string>();

  function missed(one: Probed): boolean {
    one.lostAt = undefined;
    one.misses++;
    if (one.misses < MISSES) return false;
    const answered = one.answers;
    one.answers = false;
    one.intervalMs = answered ? INTERVAL_MS : Math.min(MAX_INTERVAL_MS, 2 * one.intervalMs);
    return answered;
  }

  function answered(one: Probed): boolean {
    const isNew = !one.answers;
    Object.assign(one, { answers: true, misses: 0, lostAt: undefined, intervalMs: INTERVAL_MS });
    if (isNew) one.nextAt = Math.min(one.nextAt, now() + INTERVAL_MS);
    return isNew;
  }

  /** @returns whether it was refused, and this was one miss too many */
  function ask(one: Probed, at: number): boolean {
    one.sequence = (one.sequence + 1) & 0xffff;
    one.nextAt = at + one.intervalMs;
    one.lostAt = at + ANSWER_MS;
    try {
      socket.send(one.address, id, one.sequence);
      return false;
    } catch {
      // No way there, or a firewall.
      return missed(one);
    }
  }

  function receive(changed: Set<string>): void {
    for (const { type, source, id: of, sequence } of socket.receive()) {
      const peer = type === 'reply' && of === id ? byAddress.get(source) : undefined;
      const one = peer === undefined ? undefined : probed.get(peer);
      if (one === undefined || one.lostAt === undefined || one.sequence !== sequence) continue;
      if (answered(one)) changed.add(peer!);
    }
  }

  return {
    follow(peer, address, isKept) {
      const before = probed.get(peer);
      if (before?.address === address && !isKept) return;
      const at = now();
      probed.set(peer, {
        address,
        answers: isKept,
        misses: isKept ? MISSES - 1 : 0,
        sequence: Math.trunc(Math.random() * 65536),
        lostAt: undefined,
        nextAt: at,
        intervalMs: INTERVAL_MS,
      });
      byAddress.set(address, peer);
    },
    forget(peer) {
      const one = probed.get(peer);
      if (one === undefined) return;
      probed.delete(peer);
      byAddress.delete(one.address);
    },
    answers: (peer) => probed.get(peer)?.answers === true,
    turn() {
      const changed = new Set<string>();
      receive(changed);
      const at = now();
      let sends = 0;
      for (const [peer, one] of probed) {
        if (one.lostAt !== undefined && at >= one.lostAt && missed(one)) changed.add(peer);
        if (at < one.nextAt || sends === MAX_SENDS) continue;
        sends++;
        if (ask(one, at)) changed.add(peer);
      }
      return [...changed];
    },
    restMs() {
      if (probed.size === 0) return undefined;
      let next = Number.POSITIVE_INFINITY;
      for (const { lostAt, nextAt } of probed.values()) {
        if (lostAt !== undefined) return LOOK_MS;
        next = Math.min(next, nextAt);
      }
      return Math.max(LOOK_MS, next - now());
    },
  };
}
