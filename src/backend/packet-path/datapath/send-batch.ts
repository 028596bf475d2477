import { constants } from 'node:os';
import {
  ENOKEY,
  IOVEC_INTS,
  MAX_MESSAGES,
  type Native,
  RECORD_INTS,
  SLAB_OUTBOUND,
  UDP_WRITABLE,
} from '../../../system/native.js';
import {
  add,
  OFFLOAD_FALLBACKS,
  OUT_BYTES,
  OUT_DATAGRAMS,
  OUT_DROP_SEND_BUFFER,
  OUT_DROP_SEND_ERROR,
  OUT_DROP_TOO_LARGE,
  OUT_PACKETS,
} from '../tables/counters.js';
import { SEND_IOVECS, type SharedMemory } from '../tables/memory.js';
import { UDP_GSO } from '../tables/offloads.js';
import { ipv4Of, type Peers, portOf } from '../tables/peers.js';
import type { ChecksumBatch } from './checksum-batch.js';
import { MAX_SENT_SEGMENTS, type Wire } from './wire.js';

/** Fields of records (native/src/rudder.h). */
const SEND_FIRST_IOVEC = 0;
const SEND_IOVEC_COUNT = 1;
const SEND_ADDRESS = 2;
const SEND_PORT = 3;
const SEND_SEGMENT_SIZE = 4;
const SEND_PEER = 7;
const IOVEC_SLAB = 0;
const IOVEC_OFFSET = 1;
const IOVEC_LENGTH = 2;
/** Of a send record, and ours alone. */
const SEND_PACKETS = 5;
const SEND_BYTES = 6;

const { EAGAIN, EINVAL, EIO, EMSGSIZE, EOPNOTSUPP } = constants.errno;
/** How long a full socket buffer may hold up the loop before packets are dropped, as a full queue does. */
const FULL_BUFFER_WAIT_MS = 5;

/** What every interface in use carries (RFC 791: 576 bytes) less our headers: a train of such packets is not too large. */
const MIN_MTU_PAYLOAD = 548;

/** The last record and the last iovec are kept for sending the packets of a refused train one by one. */
const SCRATCH = MAX_MESSAGES - 1;
const SCRATCH_IOVEC = SEND_IOVECS - 1;

/**
 * Packets collected for one sendmmsg. Neighbours for one peer and of one size make a train, of whatever flows they
 * are, across super-packets too; a shorter one may end it. The bytes must stay in the outbound slab until flush().
 */
export interface SendBatch {
  /** Packets of `size` bytes that lie one behind the other, `bytes` in all: only the last one may be shorter. */
  queue(peer: number, offset: number, size: number, bytes: number): void;
  /** Sends all that is queued, as often in a turn as the room for it is used up. */
  flush(): void;
  /** Sends all that is queued: the turn is over. */
  endTurn(): void;
}

export function createSendBatch(
  native: Native,
  memory: SharedMemory,
  peers: Peers,
  wire: Wire,
  checksums: Pick<ChecksumBatch, 'finish'>,
): SendBatch {
  const { sends, sendIovecs, counters, offloads } = memory;
  /** `waited`: for room in the socket's buffer, once in each turn, however often it sends. */
  const batch = { messages: 0, iovecs: 0, waited: false, mostTrainBytes: wire.mostTrainBytes };
  /** The train that others may join: its record, -1 if there is none; its peer; its first packet's size. */
  const open = { record: -1, peer: 0, size: 0 };

  function queue(peer: number, offset: number, size: number, bytes: number): void {
    const end = offset + bytes;
    for (let from = offset; from < end; ) {
      if (batch.messages >= SCRATCH || batch.iovecs >= SCRATCH_IOVEC) flush();
      const next = Math.min(size, end - from);
      if (!joinsTrain(peer, next)) startMessage(peer, next);
      from = fill(from, size, end);
    }
  }

  function joinsTrain(peer: number, bytes: number): boolean {
    if (open.record < 0 || peer !== open.peer || bytes > open.size) return false;
    return sends[open.record + SEND_BYTES] + bytes <= batch.mostTrainBytes;
  }

  function startMessage(peer: number, size: number): void {
    const record = batch.messages++ * RECORD_INTS;
    sends[record + SEND_FIRST_IOVEC] = batch.iovecs;
    sends[record + SEND_IOVEC_COUNT] = 0;
    sends[record + SEND_ADDRESS] = ipv4Of(peers, peer);
    sends[record + SEND_PORT] = portOf(peers, peer);
    sends[record + SEND_PACKETS] = 0;
    sends[record + SEND_BYTES] = 0;
    sends[record + SEND_PEER] = peer;
    open.record = record;
    open.peer = peer;
    open.size = size;
  }

  /** Adds as many packets as the open message can take, one at least; returns where they end. */
  function fill(from: number, size: number, end: number): number {
    const most = offloads[UDP_GSO] === 0 ? 1 : MAX_SENT_SEGMENTS;
    const { record } = open;
    const { mostTrainBytes } = batch;
    const bytes = sends[record + SEND_BYTES];
    let packets = sends[record + SEND_PACKETS];
    let to = from;
    let next = Math.min(size, end - from);
    do {
      to += next;
      packets++;
      if (next < open.size || packets === most) break;
      next = Math.min(size, end - to);
    } while (to < end && bytes + to - from + next <= mostTrainBytes);

    addPiece(from, to - from);
    sends[record + SEND_IOVEC_COUNT]++;
    sends[record + SEND_SEGMENT_SIZE] = packets === 1 ? 0 : open.size;
    sends[record + SEND_PACKETS] = packets;
    sends[record + SEND_BYTES] = bytes + to - from;
    // A shorter packet is the last one.
    if (sends[record + SEND_BYTES] < packets * open.size || packets === most) open.record = -1;
    return to;
  }

  function addPiece(offset: number, length: number): void {
    const iovec = batch.iovecs++ * IOVEC_INTS;
    sendIovecs[iovec + IOVEC_SLAB] = SLAB_OUTBOUND;
    sendIovecs[iovec + IOVEC_OFFSET] = offset;
    sendIovecs[iovec + IOVEC_LENGTH] = length;
  }

  function flush(): void {
    checksums.finish();
    const { messages } = batch;
    let first = 0;
    let sealed = 0;
    while (first < messages) {
      if (first === sealed) sealed += wire.seal(first, messages - first);
      const sent = wire.send(first, sealed - first);
      if (sent > 0) {
        for (let i = first; i < first + sent; i++) count(i * RECORD_INTS);
        first += sent;
      } else if (sent !== -EAGAIN) {
        refused(first * RECORD_INTS, sent);
        first++;
      } else if (!waitForRoom()) {
        for (; first < messages; first++)
          add(counters, OUT_DROP_SEND_BUFFER, sends[first * RECORD_INTS + SEND_PACKETS]);
      }
    }
    batch.messages = 0;
    batch.iovecs = 0;
    open.record = -1;
  }

  function endTurn(): void {
    flush();
    batch.waited = false;
  }

  /** False: has waited already, it is time to drop. */
  function waitForRoom(): boolean {
    if (batch.waited) return false;
    batch.waited = true;
    native.wait(UDP_WRITABLE, FULL_BUFFER_WAIT_MS, 0);
    return true;
  }

  function count(record: number): void {
    add(counters, OUT_DATAGRAMS, 1);
    add(counters, OUT_PACKETS, sends[record + SEND_PACKETS]);
    add(counters, OUT_BYTES, sends[record + SEND_BYTES]);
  }

  /** The message cannot go as it is (no route to the peer, larger than the interface's MTU, no trains): others may. */
  function refused(record: number, error: number): void {
    // There is no session with that peer yet: its packets wait, and are counted when they go.
    if (error === -ENOKEY) return;
    if (sends[record + SEND_PACKETS] === 1) {
      return add(counters, error === -EMSGSIZE ? OUT_DROP_TOO_LARGE : OUT_DROP_SEND_ERROR, 1);
    }
    // Larger than the interface's MTU: EMSGSIZE, before Linux 6.14 EINVAL. A train is never fragmented, a single datagram is.
    const isTooLarge =
      error === -EMSGSIZE || (error === -EINVAL && sends[record + SEND_SEGMENT_SIZE] > MIN_MTU_PAYLOAD);
    const noTrains = error === -EIO || error === -EINVAL || error === -EOPNOTSUPP;
    if (!noTrains && !isTooLarge) return add(counters, OUT_DROP_SEND_ERROR, sends[record + SEND_PACKETS]);
    const sent = sendOneByOne(record);
    // EIO: the device cannot finish checksums (before Linux 6.11). EINVAL: trains are not known, or not this long. But a
    // blackhole route answers EINVAL too: what refuses single packets as well says nothing about trains.
    if (noTrains && !isTooLarge && sent > 0) {
      offloads[UDP_GSO] = 0;
      add(counters, OFFLOAD_FALLBACKS, 1);
    }
  }

  /** Returns how many could be sent. */
  function sendOneByOne(train: number): number {
    const size = sends[train + SEND_SEGMENT_SIZE];
    let done = 0;
    const first = sends[train + SEND_FIRST_IOVEC];
    const behind = first + sends[train + SEND_IOVEC_COUNT];
    for (let i = first; i < behind; i++) {
      // A piece holds whole packets.
      const end = sendIovecs[i * IOVEC_INTS + IOVEC_OFFSET] + sendIovecs[i * IOVEC_INTS + IOVEC_LENGTH];
      for (let at = sendIovecs[i * IOVEC_INTS + IOVEC_OFFSET]; at < end; at += size) {
        if (sendOne(train, at, Math.min(size, end - at))) done++;
      }
    }
    return done;
  }

  /** @param train from which it is, and so for the same peer */
  function sendOne(train: number, offset: number, length: number): boolean {
    const scratch = SCRATCH * RECORD_INTS;
    sendIovecs[SCRATCH_IOVEC * IOVEC_INTS + IOVEC_SLAB] = SLAB_OUTBOUND;
    sendIovecs[SCRATCH_IOVEC * IOVEC_INTS + IOVEC_OFFSET] = offset;
    sendIovecs[SCRATCH_IOVEC * IOVEC_INTS + IOVEC_LENGTH] = length;
    sends[scratch + SEND_FIRST_IOVEC] = SCRATCH_IOVEC;
    sends[scratch + SEND_IOVEC_COUNT] = 1;
    sends[scratch + SEND_ADDRESS] = sends[train + SEND_ADDRESS];
    sends[scratch + SEND_PORT] = sends[train + SEND_PORT];
    sends[scratch + SEND_SEGMENT_SIZE] = 0;
    sends[scratch + SEND_PACKETS] = 1;
    sends[scratch + SEND_BYTES] = length;
    sends[scratch + SEND_PEER] = sends[train + SEND_PEER];
    wire.seal(SCRATCH, 1);
    let sent = wire.send(SCRATCH, 1);
    if (sent === -EAGAIN && waitForRoom()) sent = wire.send(SCRATCH, 1);
    if (sent === 1) count(scratch);
    else if (sent === -ENOKEY) return false;
    else if (sent === -EAGAIN) add(counters, OUT_DROP_SEND_BUFFER, 1);
    else add(counters, sent === -EMSGSIZE ? OUT_DROP_TOO_LARGE : OUT_DROP_SEND_ERROR, 1);
    return sent === 1;
  }

  return { queue, flush, endTurn };
}
