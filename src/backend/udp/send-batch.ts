import { constants } from 'node:os';
import type { Ipv4 } from '../../core/ipv4.js';
import { IOVEC_INTS, MAX_MESSAGES, type Native, RECORD_INTS, UDP_WRITABLE } from '../../system/native.js';
import type { ChecksumBatch } from './checksum-batch.js';
import {
  add,
  OFFLOAD_FALLBACKS,
  OUT_BYTES,
  OUT_DATAGRAMS,
  OUT_DROP_SEND_BUFFER,
  OUT_DROP_SEND_ERROR,
  OUT_DROP_TOO_LARGE,
  OUT_PACKETS,
} from './counters.js';
import { SEND_IOVECS, type SharedMemory } from './memory.js';
import { UDP_GSO } from './offloads.js';

const { EAGAIN, EINVAL, EIO, EMSGSIZE, EOPNOTSUPP } = constants.errno;
/** How long a full socket buffer may hold up the loop before packets are dropped, as a full queue does. */
const FULL_BUFFER_WAIT_MS = 5;

/** UDP_MAX_SEGMENTS of every kernel that knows UDP_SEGMENT (128 since 6.9). */
const MAX_SENT_SEGMENTS = 64;
/** A train is one datagram until the kernel cuts it, and those hold 65507 bytes. */
const MAX_TRAIN_BYTES = 65000;

/** What every path carries (RFC 791: 576 bytes) less our headers: a train of such packets is not refused for its MTU. */
const MIN_PATH_PAYLOAD = 548;

/** Fields of a send record that only we read. */
const PACKETS = 5;
const BYTES = 6;
const SEGMENT_SIZE = 4;
/** The last record is kept for sending the segments of a refused train one by one. */
const SCRATCH = MAX_MESSAGES - 1;

/**
 * Packets collected for one sendmmsg. Neighbours for one peer and of one size make a train, of whatever flows they
 * are, across super-packets too; a shorter one may end it. The bytes must stay in their slabs until flush().
 */
export interface SendBatch {
  /** One packet in one piece, or in two if `secondLength` is not 0. */
  queue(
    nextHop: Ipv4,
    slab: number,
    offset: number,
    length: number,
    secondSlab: number,
    secondOffset: number,
    secondLength: number,
  ): void;
  /** True if a packet more might not fit. */
  isFull(): boolean;
  flush(): void;
}

export function createSendBatch(
  native: Native,
  memory: SharedMemory,
  port: number,
  checksums: Pick<ChecksumBatch, 'finish'>,
): SendBatch {
  const { sends, sendIovecs, counters, offloads } = memory;
  let messages = 0;
  let iovecs = 0;
  /** The open train: -1 if none may be joined. */
  let open = -1;
  let openHop = 0;

  function addPiece(slab: number, offset: number, length: number): void {
    const iovec = iovecs * IOVEC_INTS;
    sendIovecs[iovec] = slab;
    sendIovecs[iovec + 1] = offset;
    sendIovecs[iovec + 2] = length;
    iovecs++;
  }

  function queue(
    nextHop: Ipv4,
    slab: number,
    offset: number,
    length: number,
    secondSlab: number,
    secondOffset: number,
    secondLength: number,
  ): void {
    const pieces = secondLength === 0 ? 1 : 2;
    const bytes = length + secondLength;
    if (!joinTrain(nextHop, bytes, pieces)) startMessage(nextHop, bytes, pieces);
    addPiece(slab, offset, length);
    if (pieces === 2) addPiece(secondSlab, secondOffset, secondLength);
  }

  function joinTrain(nextHop: Ipv4, bytes: number, pieces: number): boolean {
    if (open < 0 || nextHop !== openHop) return false;
    // The size of a message's first packet: its segment size once a second one joins.
    const size = sends[open + PACKETS] === 1 ? sends[open + BYTES] : sends[open + SEGMENT_SIZE];
    if (bytes > size || sends[open + BYTES] + bytes > MAX_TRAIN_BYTES) return false;
    sends[open + 1] += pieces;
    sends[open + SEGMENT_SIZE] = size;
    sends[open + PACKETS]++;
    sends[open + BYTES] += bytes;
    if (bytes < size || sends[open + PACKETS] === MAX_SENT_SEGMENTS) open = -1;
    return true;
  }

  function startMessage(nextHop: Ipv4, bytes: number, pieces: number): void {
    const record = messages * RECORD_INTS;
    sends[record] = iovecs;
    sends[record + 1] = pieces;
    sends[record + 2] = nextHop;
    sends[record + 3] = port;
    sends[record + SEGMENT_SIZE] = 0;
    sends[record + PACKETS] = 1;
    sends[record + BYTES] = bytes;
    messages++;
    open = offloads[UDP_GSO] === 0 ? -1 : record;
    openHop = nextHop;
  }

  function flush(): void {
    checksums.finish();
    let first = 0;
    let waited = false;
    while (first < messages) {
      const sent = native.sendUdp(first, messages - first);
      if (sent > 0) {
        for (let i = first; i < first + sent; i++) count(i * RECORD_INTS);
        first += sent;
      } else if (sent !== -EAGAIN) {
        refused(first * RECORD_INTS, sent);
        first++;
      } else if (!waited) {
        waited = true;
        native.wait(UDP_WRITABLE, FULL_BUFFER_WAIT_MS, 0);
      } else {
        for (; first < messages; first++) add(counters, OUT_DROP_SEND_BUFFER, sends[first * RECORD_INTS + PACKETS]);
      }
    }
    messages = 0;
    iovecs = 0;
    open = -1;
  }

  function count(record: number): void {
    add(counters, OUT_DATAGRAMS, 1);
    add(counters, OUT_PACKETS, sends[record + PACKETS]);
    add(counters, OUT_BYTES, sends[record + BYTES]);
  }

  /** The message cannot go as it is (no route to the peer, larger than the path allows, no trains): others may. */
  function refused(record: number, error: number): void {
    if (sends[record + PACKETS] === 1) {
      return add(counters, error === -EMSGSIZE ? OUT_DROP_TOO_LARGE : OUT_DROP_SEND_ERROR, 1);
    }
    // The path's MTU has shrunk: EMSGSIZE, before Linux 6.14 EINVAL. A train is never fragmented, a single datagram is.
    const isTooLarge = error === -EMSGSIZE || (error === -EINVAL && sends[record + SEGMENT_SIZE] > MIN_PATH_PAYLOAD);
    const noTrains = error === -EIO || error === -EINVAL || error === -EOPNOTSUPP;
    if (!noTrains && !isTooLarge) return add(counters, OUT_DROP_SEND_ERROR, sends[record + PACKETS]);
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
    let done = 0;
    const scratch = SCRATCH * RECORD_INTS;
    const segmentSize = sends[train + SEGMENT_SIZE];
    const end = sends[train] + sends[train + 1];
    for (let first = sends[train]; first < end; ) {
      let next = first;
      let bytes = 0;
      while (next < end && bytes < segmentSize && bytes + sendIovecs[next * IOVEC_INTS + 2] <= segmentSize) {
        bytes += sendIovecs[next * IOVEC_INTS + 2];
        next++;
      }
      sends[scratch] = first;
      sends[scratch + 1] = next - first;
      sends[scratch + 2] = sends[train + 2];
      sends[scratch + 3] = port;
      sends[scratch + SEGMENT_SIZE] = 0;
      sends[scratch + PACKETS] = 1;
      sends[scratch + BYTES] = bytes;
      const sent = native.sendUdp(SCRATCH, 1);
      if (sent === 1) {
        count(scratch);
        done++;
      } else if (sent === -EAGAIN) add(counters, OUT_DROP_SEND_BUFFER, 1);
      else add(counters, sent === -EMSGSIZE ? OUT_DROP_TOO_LARGE : OUT_DROP_SEND_ERROR, 1);
      first = next;
    }
    return done;
  }

  return { queue, isFull: () => messages >= SCRATCH || iovecs + 2 > SEND_IOVECS, flush };
}
