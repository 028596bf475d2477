import { type CookieHolder, type CookieSources, createCookieHolder } from './cookie.js';
import { type KeySlots, NO_KEYS } from './key-slots.js';
import type { Identity } from './keys.js';
import type { Initiated, Remote } from './noise.js';
import { dh } from './primitives.js';
import type { Endpoint } from './sessions.js';
import type { Attempt } from './timers.js';

export type Attempting = Attempt & { readonly index: number; readonly state: Initiated };

/** What the protocol remembers of a peer; whoever moves packets knows its line. */
export interface Peer {
  /** Another one when we have another key. */
  remote: Remote;
  readonly line: number;
  readonly keepaliveMs: number;
  readonly cookies: CookieHolder;
  keys: KeySlots;
  /** A handshake of ours under way; undefined state: it waits for its first initiation. */
  attempt: Attempting | undefined;
  /** When the last of each was; -Infinity: never. */
  initiatedAt: number;
  givenUpAt: number;
  /** A message of a handshake, sent or received. */
  spokeAt: number;
  heardAt: number;
  /** When a keepalive was last asked for: what was asked for is not there at once. */
  keepaliveAt: number;
  /** The greatest timestamp of its initiations, and when the last one came. */
  timestamp: Buffer | undefined;
  askedAt: number;
  /** The key for which the last minute has led to a handshake. */
  lastMinuteOf: number | undefined;
  /** When the last handshake was completed; undefined: none was. */
  completedAt: number | undefined;
}

export interface PeerOptions {
  /** Raw, 32 bytes. */
  readonly publicKey: Buffer;
  readonly presharedKey: Buffer;
  readonly endpoint: Endpoint | undefined;
  /** 0: off. */
  readonly keepaliveMs: number;
}

const NEVER = Number.NEGATIVE_INFINITY;

export function remoteOf(
  own: Identity,
  { publicKey, presharedKey }: Pick<Remote, 'publicKey' | 'presharedKey'>,
): Remote {
  let secret: Buffer | undefined;
  const staticSecret = () => {
    secret ??= dh(own.privateKey, publicKey);
    return secret;
  };
  return { publicKey, presharedKey, staticSecret };
}

export function createPeer(own: Identity, options: PeerOptions, line: number, sources: CookieSources): Peer {
  const { publicKey, keepaliveMs } = options;
  return {
    remote: remoteOf(own, options),
    line,
    keepaliveMs,
    cookies: createCookieHolder(publicKey, sources),
    keys: NO_KEYS,
    attempt: undefined,
    initiatedAt: NEVER,
    givenUpAt: NEVER,
    spokeAt: NEVER,
    heardAt: NEVER,
    keepaliveAt: NEVER,
    timestamp: undefined,
    askedAt: NEVER,
    lastMinuteOf: undefined,
    completedAt: undefined,
  };
}
