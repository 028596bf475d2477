import type { Native, SealedMemory } from '../../../system/native.js';
import {
  add,
  IN_DROP_BAD_MAC,
  IN_DROP_BAD_TAG,
  IN_DROP_MAILBOX_FULL,
  IN_DROP_MALFORMED,
  IN_DROP_NO_SESSION,
  IN_DROP_REPLAY,
  IN_DROP_SEGMENTS,
  IN_DROP_TRUNCATED,
  IN_HANDSHAKES,
  IN_KEEPALIVES,
  OUT_BYTES,
  OUT_DATAGRAMS,
  OUT_DROP_SEND_ERROR,
  OUT_DROP_STAGED,
  OUT_KEEPALIVES,
  OUT_PACKETS,
} from '../tables/counters.js';
import type { PathSettings, SharedMemory } from '../tables/memory.js';
import {
  HEADER_BELL,
  HEADER_TALLY,
  TALLY_BAD_MAC,
  TALLY_BAD_TAG,
  TALLY_HANDSHAKES_IN,
  TALLY_KEEPALIVES_IN,
  TALLY_KEEPALIVES_OUT,
  TALLY_MAILBOX_FULL,
  TALLY_MALFORMED,
  TALLY_NEWS,
  TALLY_NO_SESSION,
  TALLY_REPLAY,
  TALLY_SEGMENTS,
  TALLY_STAGED_BYTES,
  TALLY_STAGED_DROPPED,
  TALLY_STAGED_FAILED,
  TALLY_STAGED_SENT,
  TALLY_TRUNCATED,
} from '../tables/session-layout.js';

/** UDP_MAX_SEGMENTS of every kernel that knows UDP_SEGMENT (128 since 6.9). */
export const MAX_SENT_SEGMENTS = 64;
/** A train is one datagram until the kernel cuts it, and those hold 65507 bytes. */
const MAX_TRAIN_BYTES = 65000;
/** Header, padding and tag of each segment go off that. */
const MAX_SEALED_TRAIN_BYTES = 65507 - MAX_SENT_SEGMENTS * (16 + 15 + 16);

/** What carries messages between nodes. It is chosen when the path starts, and no packet asks which one it is. */
export interface Wire {
  /** Of a train's packets, as they are before that. */
  readonly mostTrainBytes: number;
  /** Readies messages for send(), the first one at least; returns how many. */
  seal(first: number, count: number): number;
  /** Returns how many the kernel has taken, or -errno if it refused the first one. */
  send(first: number, count: number): number;
  /** Packets opened, in the records of `opened`, or -errno; of a plain wire none, it is read otherwise. */
  receive(max: number): number;
  /** The event was signalled, and not to stop. */
  attend(): void;
}

export function createWire(native: Native, memory: SharedMemory, { sealed }: Pick<PathSettings, 'sealed'>): Wire {
  return sealed === undefined ? plainWire(native) : sealedWire(native, memory, sealed);
}

function plainWire(native: Native): Wire {
  return {
    mostTrainBytes: MAX_TRAIN_BYTES,
    seal: (_, count) => count,
    send: (first, count) => native.sendUdp(first, count),
    receive: () => 0,
    attend: () => undefined,
  };
}

/** What C has counted in a call, and which counter of ours that is. */
const TALLIED: readonly (readonly [tally: number, counter: number])[] = [
  [TALLY_NO_SESSION, IN_DROP_NO_SESSION],
  [TALLY_BAD_TAG, IN_DROP_BAD_TAG],
  [TALLY_REPLAY, IN_DROP_REPLAY],
  [TALLY_BAD_MAC, IN_DROP_BAD_MAC],
  [TALLY_MAILBOX_FULL, IN_DROP_MAILBOX_FULL],
  [TALLY_MALFORMED, IN_DROP_MALFORMED],
  [TALLY_TRUNCATED, IN_DROP_TRUNCATED],
  [TALLY_SEGMENTS, IN_DROP_SEGMENTS],
  [TALLY_KEEPALIVES_IN, IN_KEEPALIVES],
  [TALLY_HANDSHAKES_IN, IN_HANDSHAKES],
  [TALLY_STAGED_DROPPED, OUT_DROP_STAGED],
  [TALLY_KEEPALIVES_OUT, OUT_KEEPALIVES],
  [TALLY_STAGED_SENT, OUT_PACKETS],
  [TALLY_STAGED_SENT, OUT_DATAGRAMS],
  [TALLY_STAGED_BYTES, OUT_BYTES],
  [TALLY_STAGED_FAILED, OUT_DROP_SEND_ERROR],
];
const TALLIES = Int32Array.from(TALLIED, ([tally]) => HEADER_TALLY + tally);
const COUNTERS = Int32Array.from(TALLIED, ([, counter]) => counter);

function sealedWire(native: Native, { counters }: SharedMemory, { sessions }: SealedMemory): Wire {
  /** After each call that counts: once for a batch. */
  function tally(): void {
    for (let i = 0; i < TALLIES.length; i++) {
      const amount = sessions[TALLIES[i]];
      if (amount !== 0) add(counters, COUNTERS[i], amount);
    }
    if (sessions[HEADER_TALLY + TALLY_NEWS] === 0) return;
    Atomics.add(sessions, HEADER_BELL, 1);
    Atomics.notify(sessions, HEADER_BELL);
  }

  return {
    mostTrainBytes: MAX_SEALED_TRAIN_BYTES,
    seal(first, count) {
      const sealed = native.sealUdp(first, count);
      tally();
      return sealed;
    },
    send: (first, count) => native.sendSealed(first, count),
    receive(max) {
      const opened = native.receiveSealed(max);
      tally();
      return opened;
    },
    attend() {
      native.attend();
      tally();
    },
  };
}
