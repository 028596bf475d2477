import { type KeySlots, keysIn, type SessionKey } from './key-slots.js';
import type { Identity } from './keys.js';
import type { SessionKeys } from './noise.js';
import { wipeInitiated } from './noise.js';
import type { Attempting, Peer } from './peer.js';
import type { Endpoint, Sessions } from './sessions.js';
import type { TimestampSource } from './tai64n.js';
import type { Timing } from './timing.js';

/** Why a message of a handshake has had no effect. */
export const REFUSALS = [
  'malformed',
  'bad mac1',
  'under load',
  'unknown peer',
  'forged',
  'replayed',
  'too often',
  'unexpected',
] as const;
export type Refusal = (typeof REFUSALS)[number];

export interface HandshakeOptions {
  readonly own: Identity;
  readonly sessions: Sessions;
  readonly timing: Timing;
  readonly timestamps: TimestampSource;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  readonly random: (size: number) => Buffer;
  /** The key pair of one handshake. */
  readonly ephemeral: () => Identity;
  readonly send: (message: Buffer, to: Endpoint) => void;
  readonly refused: (why: Refusal) => void;
}

/** One end of all handshakes: what it does whether it has begun one or answers. */
export function createParty(options: HandshakeOptions) {
  const { sessions, now, send } = options;
  /** By our index: of initiations without an answer, and of keys. */
  const byIndex = new Map<number, Peer>();
  /** Those that a rule of time may be due for. */
  const active = new Set<Peer>();

  /** After a new key is in force: takes from the packet path what has no slot any more, and says what does not send. */
  function setKeys(peer: Peer, slots: KeySlots): void {
    const kept = new Set(keysIn(slots));
    for (const key of keysIn(peer.keys)) {
      if (kept.has(key)) continue;
      byIndex.delete(key.index);
      sessions.release(key.index);
    }
    if (slots.previous !== undefined && slots.previous !== peer.keys.previous) {
      sessions.setRole(slots.previous.index, 'previous');
    }
    peer.keys = slots;
    for (const key of kept) byIndex.set(key.index, peer);
    active.add(peer);
  }

  return {
    ...options,
    /** Another one after a rotation. */
    own: options.own,
    active,
    ofIndex: (index: number) => byIndex.get(index),
    setKeys,
    install(key: SessionKey, remoteIndex: number, keys: SessionKeys, role: 'current' | 'next'): void {
      const { index, bornAt } = key;
      sessions.install(index, { remoteIndex, sendKey: keys.send, receiveKey: keys.receive, bornAt, role });
      keys.send.fill(0);
      keys.receive.fill(0);
    },
    beginAttempt(peer: Peer, attempt: Attempting): void {
      peer.attempt = attempt;
      byIndex.set(attempt.index, peer);
      active.add(peer);
    },
    endAttempt(peer: Peer): void {
      if (peer.attempt === undefined) return;
      wipeInitiated(peer.attempt.state);
      byIndex.delete(peer.attempt.index);
      sessions.release(peer.attempt.index);
      peer.attempt = undefined;
    },
    speak(peer: Peer, message: Buffer, to: Endpoint): void {
      peer.cookies.sign(message);
      peer.spokeAt = now();
      send(message, to);
    },
    heard(peer: Peer, from: Endpoint): void {
      peer.heardAt = now();
      sessions.setEndpoint(peer.line, from);
    },
    completed(peer: Peer): void {
      peer.completedAt = now();
      peer.lastMinuteOf = undefined;
    },
  };
}

export type Party = ReturnType<typeof createParty>;
