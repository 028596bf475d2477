import type { WireguardPeer } from '../../../system/netlink.js';
import type { SessionReport } from '../../backend.js';
import { STANDARD_TIMING } from '../protocol/timing.js';

/** What can be told of a peer by looking at the kernel's counts from time to time: it says neither when nor why they grew. */
export interface Observed {
  readonly counts: Pick<WireguardPeer, 'handshakeAt' | 'inBytes' | 'outBytes' | 'endpoint'>;
  /** What was counted since this process looks at it, also where the peer was made anew meanwhile. */
  readonly total: Bytes;
  /** Milliseconds of a clock that is never set; undefined: never, or nobody has looked. */
  readonly heardAt: number | undefined;
  readonly sentAt: number | undefined;
  /** Since when it was sent to and not heard. */
  readonly unansweredSince: number | undefined;
}

export type Bytes = Pick<WireguardPeer, 'inBytes' | 'outBytes'>;
export const NO_BYTES: Bytes = { inBytes: 0, outBytes: 0 };

export const plus = (a: Bytes, b: Bytes): Bytes => ({
  inBytes: a.inBytes + b.inBytes,
  outBytes: a.outBytes + b.outBytes,
});
const minus = (a: Bytes, b: Bytes): Bytes => ({ inBytes: a.inBytes - b.inBytes, outBytes: a.outBytes - b.outBytes });

/** The same moment by both clocks: one that is never set, and that of the day. */
export interface Moment {
  readonly now: number;
  readonly today: number;
}

/** An initiation is sent again after 5 s: who was not seen to send for so long, beside the time from look to look, has given up, or has nothing to send. */
const SENDS_WITHIN_MS = 10_000;
/** Who has a session and hears nothing begins a handshake after so long: before, it is no fault. */
const ANSWERS_WITHIN_MS = 15_000;

/** Of a peer that was just made. */
export const neverHeard = (endpoint: WireguardPeer['endpoint']): Observed => ({
  counts: { handshakeAt: undefined, ...NO_BYTES, endpoint },
  total: NO_BYTES,
  heardAt: undefined,
  sentAt: undefined,
  unansweredSince: undefined,
});

export function observe(before: Observed | undefined, peer: WireguardPeer, { now, today }: Moment): Observed {
  const { handshakeAt, inBytes, outBytes, endpoint } = peer;
  const counts = { handshakeAt, inBytes, outBytes, endpoint };
  // A peer that was made anew counts from the beginning.
  if (before === undefined || inBytes < before.counts.inBytes || outBytes < before.counts.outBytes) {
    const heardAt = handshakeAt === undefined ? undefined : now - Math.max(0, today - handshakeAt);
    // What it has of an earlier run is none of this one.
    const total = before === undefined ? NO_BYTES : plus(before.total, counts);
    return { counts, total, heardAt, sentAt: undefined, unansweredSince: undefined };
  }
  const isHeard = inBytes > before.counts.inBytes;
  const isSent = outBytes > before.counts.outBytes;
  const unanswered = before.unansweredSince ?? (isSent ? now : undefined);
  return {
    counts,
    total: plus(before.total, minus(counts, before.counts)),
    heardAt: isHeard ? now : before.heardAt,
    sentAt: isSent ? now : before.sentAt,
    unansweredSince: isHeard ? undefined : unanswered,
  };
}

/** @param lookMs how long it is from one look to the next */
export function sessionOf(
  { counts, sentAt, unansweredSince }: Observed,
  { now, today }: Moment,
  lookMs: number,
): SessionReport {
  const { handshakeAt, endpoint } = counts;
  const handshakeAgeMs = handshakeAt === undefined ? undefined : Math.max(0, today - handshakeAt);
  const hasSession = handshakeAgeMs !== undefined && handshakeAgeMs < STANDARD_TIMING.rejectAfterMs;
  const isSending = sentAt !== undefined && now - sentAt < SENDS_WITHIN_MS + lookMs;
  const unansweredMs = unansweredSince === undefined || !isSending ? undefined : now - unansweredSince;
  const isTrying = unansweredMs !== undefined && (!hasSession || unansweredMs > ANSWERS_WITHIN_MS);
  return { handshakeAgeMs, hasSession, tryingForMs: isTrying ? unansweredMs : undefined, endpoint };
}
