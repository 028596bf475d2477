import type { SessionKey } from './key-slots.js';
import type { Activity } from './sessions.js';
import type { Timing } from './timing.js';

/** The rules of time (paper, 6), as functions of when what happened. A message count can be no limit: no key lives long enough for it. */

/** An initiation of ours that is not answered yet. */
export interface Attempt {
  readonly firstAt: number;
  readonly retryAt: number;
  /** The first retry from then on is none. */
  readonly giveUpAt: number;
}

/** Its receiver takes it no longer, nor do we. */
export const isExpired = (timing: Timing, key: SessionKey, now: number) => now - key.bornAt >= timing.rejectAfterMs;

/** Something was sent with a key that has grown old: its initiator makes a new one. */
export function isOldForSending(timing: Timing, current: SessionKey, { lastSent }: Activity): boolean {
  return current.isInitiator && lastSent - current.bornAt >= timing.rekeyAfterMs;
}

/** Something was received in the last of its time, so that who only listens has a new one before it ends. Once a key. */
export function isOldForReceiving(timing: Timing, current: SessionKey, { lastReceived }: Activity): boolean {
  const lastMinute = timing.rejectAfterMs - timing.keepaliveMs - timing.rekeyTimeoutMs;
  return current.isInitiator && lastReceived - current.bornAt >= lastMinute;
}

/**
 * Data was sent, and not even a keepalive has come back: the peer has lost its keys, or is elsewhere.
 * @param settledAt when a handshake was last heard, begun or given up: silence is counted from there
 */
export function isSilent(
  timing: Timing,
  { unansweredSince, lastSent }: Activity,
  now: number,
  settledAt: number,
): boolean {
  const silence = timing.keepaliveMs + timing.rekeyTimeoutMs;
  return unansweredSince > 0 && lastSent > settledAt && now - Math.max(unansweredSince, settledAt) >= silence;
}

/** The peer has had no sign from us since it sent data. @param spokeAt when a message of a handshake was sent last */
export function isKeepaliveOwed(
  timing: Timing,
  { owedSince, lastReceived }: Activity,
  now: number,
  spokeAt: number,
): boolean {
  return owedSince > 0 && lastReceived > spokeAt && now - Math.max(owedSince, spokeAt) >= timing.keepaliveMs;
}

/** @param everyMs 0: none is wanted. @param lastAny when anything authentic went either way */
export const isPersistentKeepaliveDue = (everyMs: number, lastAny: number, now: number) =>
  everyMs > 0 && now - lastAny >= everyMs;

export const isRetryDue = ({ retryAt }: Attempt, now: number) => now >= retryAt;

/** It has been tried for long enough: what waits is given up, and the next packet begins anew. */
export const isGivenUp = ({ giveUpAt }: Attempt, now: number) => now >= giveUpAt;
