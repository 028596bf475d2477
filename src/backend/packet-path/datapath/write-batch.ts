import { constants } from 'node:os';
import {
  EBADFD,
  GSO_TCP4,
  IOVEC_INTS,
  MAX_MESSAGES,
  type Native,
  RECORD_INTS,
  RING_FAILED,
} from '../../../system/native.js';
import { add, IN_DROP_WRITE_ERROR, IN_WRITES, OFFLOAD_FALLBACKS } from '../tables/counters.js';
import type { SharedMemory } from '../tables/memory.js';
import { TUN_GRO_TCP, TUN_GRO_UDP } from '../tables/offloads.js';
import { PathFailure } from './path-failure.js';
import { lowerRing } from './ring.js';

/** Fields of records (native/src/rudder.h). */
const WRITE_FIRST_IOVEC = 0;
const WRITE_IOVEC_COUNT = 1;
const WRITE_VNET_FLAGS = 2;
const WRITE_GSO_TYPE = 3;
const WRITE_HEADER_LENGTH = 4;
const WRITE_GSO_SIZE = 5;
const WRITE_CSUM_START = 6;
const WRITE_CSUM_OFFSET = 7;
const IOVEC_SLAB = 0;
const IOVEC_OFFSET = 1;
const IOVEC_LENGTH = 2;

const { EINVAL } = constants.errno;
/** The last record is kept for writing the packets of a refused super-packet one by one. */
const SCRATCH = MAX_MESSAGES - 1;

/**
 * Packets and super-packets collected for the TUN device. The bytes must stay in their slabs until flush().
 * A super-packet is added piece by piece: its header, then the payloads in order.
 */
export interface WriteBatch {
  /** A plain packet in one piece. */
  queue(slab: number, offset: number, length: number): void;
  /** Adds a piece to the message under construction. */
  addPiece(slab: number, offset: number, length: number): void;
  /** Ends the message under construction: a super-packet with these vnet fields. */
  commit(flags: number, type: number, headerLength: number, size: number, start: number, field: number): void;
  /** Forgets the pieces of the message under construction. */
  discard(): void;
  /** Forgets all that is queued. */
  discardAll(): void;
  /** True if one message more would not fit. There is a piece for each packet that can be received. */
  isFull(): boolean;
  flush(): void;
}

/** @param packets and @param bytes the counters of what was written */
export function createWriteBatch(native: Native, memory: SharedMemory, packets: number, bytes: number): WriteBatch {
  const { writes, writeIovecs, counters, offloads } = memory;
  /** Pieces are those of the message under construction, behind the committed ones. */
  const batch = { messages: 0, committed: 0, pieces: 0, bytes: 0 };
  /** Of each message, all its pieces together. */
  const messageBytes = new Int32Array(MAX_MESSAGES);

  function addPiece(slab: number, offset: number, length: number): void {
    const iovec = (batch.committed + batch.pieces) * IOVEC_INTS;
    writeIovecs[iovec + IOVEC_SLAB] = slab;
    writeIovecs[iovec + IOVEC_OFFSET] = offset;
    writeIovecs[iovec + IOVEC_LENGTH] = length;
    batch.pieces++;
    batch.bytes += length;
  }

  function commit(flags: number, type: number, headerLength: number, size: number, start: number, field: number): void {
    const record = batch.messages * RECORD_INTS;
    writes[record + WRITE_FIRST_IOVEC] = batch.committed;
    writes[record + WRITE_IOVEC_COUNT] = batch.pieces;
    writes[record + WRITE_VNET_FLAGS] = flags;
    writes[record + WRITE_GSO_TYPE] = type;
    writes[record + WRITE_HEADER_LENGTH] = headerLength;
    writes[record + WRITE_GSO_SIZE] = size;
    writes[record + WRITE_CSUM_START] = start;
    writes[record + WRITE_CSUM_OFFSET] = field;
    messageBytes[batch.messages] = batch.bytes;
    batch.messages++;
    batch.committed += batch.pieces;
    discard();
  }

  function discard(): void {
    batch.pieces = 0;
    batch.bytes = 0;
  }

  function queue(slab: number, offset: number, length: number): void {
    addPiece(slab, offset, length);
    commit(0, 0, 0, 0, 0, 0);
  }

  function flush(): void {
    let first = 0;
    // What was refused stops all behind it, which would be tried in vain again and again while the device is down.
    let alone = false;
    while (first < batch.messages) {
      const asked: number = alone ? 1 : batch.messages - first;
      const written = native.writeTun(first, asked);
      alone = written < asked;
      if (written > 0) {
        for (let i = first; i < first + written; i++) count(i);
        first += written;
      } else if (written === RING_FAILED) {
        lowerRing(native, memory);
      } else {
        refused(first * RECORD_INTS, written);
        first++;
      }
    }
    clear();
  }

  function clear(): void {
    batch.messages = 0;
    batch.committed = 0;
    discard();
  }

  function count(message: number): void {
    const record = message * RECORD_INTS;
    // In a super-packet each piece behind the header is one packet's payload.
    const merged = writes[record + WRITE_GSO_TYPE] === 0 ? 1 : writes[record + WRITE_IOVEC_COUNT] - 1;
    add(counters, IN_WRITES, 1);
    add(counters, packets, merged);
    add(counters, bytes, messageBytes[message] + (merged - 1) * writes[record + WRITE_HEADER_LENGTH]);
  }

  /** EIO while the device is down, EINVAL for what the kernel takes for garbage: this message only. */
  function refused(record: number, error: number): void {
    if (error === -EBADFD) throw new PathFailure('writeTun', error);
    const type = writes[record + WRITE_GSO_TYPE];
    if (type === 0) return add(counters, IN_DROP_WRITE_ERROR, 1);
    if (error === -EINVAL) {
      // Some kernels refuse super-packets from TUN (6.10.3, 6.6.44): merge no more of that kind.
      offloads[type === GSO_TCP4 ? TUN_GRO_TCP : TUN_GRO_UDP] = 0;
      add(counters, OFFLOAD_FALLBACKS, 1);
    }
    writeOneByOne(record);
  }

  /** The packets are still whole where they were received: each payload has its own header before it. */
  function writeOneByOne(record: number): void {
    const headerLength = writes[record + WRITE_HEADER_LENGTH];
    const end = writes[record + WRITE_FIRST_IOVEC] + writes[record + WRITE_IOVEC_COUNT];
    const scratch = SCRATCH * RECORD_INTS;
    for (let i = writes[record + WRITE_FIRST_IOVEC] + 1; i < end; i++) {
      writeIovecs[i * IOVEC_INTS + IOVEC_OFFSET] -= headerLength;
      writeIovecs[i * IOVEC_INTS + IOVEC_LENGTH] += headerLength;
      writes.fill(0, scratch, scratch + RECORD_INTS);
      writes[scratch + WRITE_FIRST_IOVEC] = i;
      writes[scratch + WRITE_IOVEC_COUNT] = 1;
      const written = native.writeTun(SCRATCH, 1);
      messageBytes[SCRATCH] = writeIovecs[i * IOVEC_INTS + IOVEC_LENGTH];
      if (written === 1) count(SCRATCH);
      else if (written === -EBADFD) throw new PathFailure('writeTun', written);
      else add(counters, IN_DROP_WRITE_ERROR, 1);
    }
  }

  return {
    queue,
    addPiece,
    commit,
    discard,
    discardAll: clear,
    // The one under construction counts too.
    isFull: () => batch.messages >= SCRATCH - 1,
    flush,
  };
}
