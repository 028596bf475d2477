import type { Ipv4 } from '../core/ipv4.js';

/**
 * Whom to send an echo request next, and who has not answered. Knows neither sockets nor clocks:
 *
 *     queue   [ longest without a probe ... probed a moment ago ]     a new one goes to the head
 *
 * Each is probed every two seconds; where they are more than forty, in turn, twenty a second.
 */
export const PROBE_INTERVAL_MS = 2000;
export const PROBE_SPACING_MS = 50;
/** So many without an answer, one after the other, are silence. */
export const MISSES_FOR_SILENCE = 3;

export interface Probe {
  /** Where the echo goes. */
  readonly address: Ipv4;
  /** When the last one was sent, in ms of the caller's clock; undefined: none yet. */
  sentAt: number | undefined;
  /** Of the last one. */
  sequence: number;
  isAnswered: boolean;
  /** Without an answer since the last one that had it, the last probe not counted while it may be answered still. */
  misses: number;
  /** Since when nothing was answered: the first probe of the silence. */
  silentSince: number | undefined;
  answeredAt: number | undefined;
  rttMs: number | undefined;
  /** Why the last one could not be sent. */
  sendError: string | undefined;
}

export interface Probes {
  add(address: Ipv4): Probe;
  remove(probe: Probe): void;
  /** The next one to send to, if it is its time. It counts as sent. */
  take(now: number): Probe | undefined;
  /** Counts as sent too, whatever its turn. */
  begin(probe: Probe, now: number): void;
  /** In how many ms that will be: never sooner than the spacing allows; undefined: there is nobody. */
  msUntilNext(now: number): number | undefined;
  /** An answer to the last probe; any other is none, since its time is not known. */
  answered(probe: Probe, sequence: number, now: number, rttMs: number): void;
  failed(probe: Probe, reason: string): void;
  /** How long a round takes for all of them, in ms. */
  roundMs(): number;
}

export function createProbes(): Probes {
  const queue: Probe[] = [];
  let lastAt = Number.NEGATIVE_INFINITY;

  function miss(probe: Probe): void {
    if (probe.sentAt === undefined || probe.isAnswered) return;
    probe.misses++;
    probe.silentSince ??= probe.sentAt;
  }

  function begin(probe: Probe, now: number): void {
    miss(probe);
    lastAt = now;
    probe.sentAt = now;
    probe.sequence = (probe.sequence + 1) & 0xffff;
    probe.isAnswered = false;
    probe.sendError = undefined;
  }

  function msUntilNext(now: number): number | undefined {
    const [next] = queue;
    if (next === undefined) return undefined;
    const due = next.sentAt === undefined ? now : next.sentAt + PROBE_INTERVAL_MS;
    return Math.max(0, due - now, lastAt + PROBE_SPACING_MS - now);
  }

  return {
    add(address) {
      const probe: Probe = {
        address,
        sentAt: undefined,
        sequence: 0,
        isAnswered: false,
        misses: 0,
        silentSince: undefined,
        answeredAt: undefined,
        rttMs: undefined,
        sendError: undefined,
      };
      queue.unshift(probe);
      return probe;
    },

    remove(probe) {
      const index = queue.indexOf(probe);
      if (index >= 0) queue.splice(index, 1);
    },

    take(now) {
      if (msUntilNext(now) !== 0) return undefined;
      const probe = queue.shift()!;
      queue.push(probe);
      begin(probe, now);
      return probe;
    },

    begin,

    msUntilNext,

    answered(probe, sequence, now, rttMs) {
      if (probe.sequence !== sequence || probe.isAnswered || probe.sentAt === undefined) return;
      probe.isAnswered = true;
      probe.misses = 0;
      probe.silentSince = undefined;
      probe.answeredAt = now;
      probe.rttMs = rttMs;
    },

    failed(probe, reason) {
      probe.sendError = reason;
    },

    roundMs: () => Math.max(PROBE_INTERVAL_MS, queue.length * PROBE_SPACING_MS),
  };
}
