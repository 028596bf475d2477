import type { Source } from './cookie.js';

/** Where a peer is reached: what roams. */
export type Endpoint = Source;

/** A session's keys, as they are put where packets are sealed and opened. The bytes are copied. */
export interface NewKey {
  readonly remoteIndex: number;
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
  readonly bornAt: number;
  /** `next`: receives, and does not send until the peer has shown that it has the key too. */
  readonly role: 'current' | 'next';
}

/** Milliseconds of the clock that the protocol is given; 0: never, or nothing. */
export interface Activity {
  /** Authentic messages of data, empty ones too. */
  readonly lastSent: number;
  readonly lastReceived: number;
  /** The first data sent since anything was received. */
  readonly unansweredSince: number;
  /** The first data received since anything was sent. */
  readonly owedSince: number;
}

/**
 * What the protocol needs of whatever carries the packets: a line for each peer, with its endpoint, its keys and when they
 * were used last. A nonce has one writer, so nothing is sealed by a session's key but on the other side of this.
 */
export interface Sessions {
  /** @returns its line */
  addPeer(): number;
  /** All its keys are wiped. */
  removePeer(line: number): void;
  endpoint(line: number): Endpoint | undefined;
  setEndpoint(line: number, endpoint: Endpoint): void;
  /** An index for a handshake, by which the peer will name our end; unique on this node. */
  reserve(line: number): number;
  /** The index means nothing any more, and its key, if it has one, is wiped. */
  release(index: number): void;
  install(index: number, key: NewKey): void;
  /** What is current sends, and what waits goes out; all receive. */
  setRole(index: number, role: 'current' | 'previous'): void;
  activity(line: number): Activity;
  /** What waits is sent, and if nothing does, an empty message. */
  sendKeepalive(line: number): void;
  /** What waits for a session is given up. */
  dropStaged(line: number): void;
}
