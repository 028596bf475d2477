import {
  IOVEC_INTS,
  MAX_DATAGRAMS,
  MAX_MESSAGES,
  type PathHandles,
  type PathMemory,
  RECORD_INTS,
  SLOT_BYTES,
} from '../../system/native.js';
import { COUNTER_INTS } from './counters.js';
import type { RouteTable } from './route-table.js';

/** Reads of one wake-up at most. Their sum also bounds how long the other direction waits. */
export const OUTBOUND_BATCH = 64;
export const INBOUND_BATCH = MAX_DATAGRAMS;

/** Small packets lie close together, so a batch of them needs little; each read must find room for the largest. */
const OUTBOUND_SLAB_BYTES = 16 * SLOT_BYTES;
/** See receive_udp() in native/src/batch.c for the 1536. */
const INBOUND_SLAB_BYTES = INBOUND_BATCH * (SLOT_BYTES + 1536);
/** Room for the headers of one batch. */
const HEADER_BYTES = MAX_MESSAGES * 128;
const IOVECS = MAX_MESSAGES * 16;

/** Index into `control`: not 0 when the worker shall stop. */
export const CONTROL_STOP = 0;

/** All that the two threads share. It is made once, and nothing is allocated after. */
export interface SharedMemory extends PathMemory {
  readonly control: Int32Array;
  readonly counters: Int32Array;
}

/** What the worker is given. */
export interface WorkerData {
  readonly handles: PathHandles;
  readonly memory: SharedMemory;
  readonly settings: PathSettings;
}

export interface PathSettings {
  readonly routes: RouteTable;
  /** Our own subnet: all that we accept packets for. */
  readonly ownAddress: number;
  readonly ownMask: number;
  /** Port of every node. */
  readonly port: number;
  /** Whether an outer source must own the inner source. */
  readonly checkSource: boolean;
}

export function createSharedMemory(): SharedMemory {
  return {
    outboundSlab: bytes(OUTBOUND_SLAB_BYTES),
    inboundSlab: bytes(INBOUND_SLAB_BYTES),
    headers: bytes(HEADER_BYTES),
    tunPackets: ints(MAX_MESSAGES * RECORD_INTS),
    datagrams: ints(MAX_DATAGRAMS * RECORD_INTS),
    sends: ints(MAX_MESSAGES * RECORD_INTS),
    sendIovecs: ints(IOVECS * IOVEC_INTS),
    writes: ints(MAX_MESSAGES * RECORD_INTS),
    writeIovecs: ints(IOVECS * IOVEC_INTS),
    clock: ints(1),
    control: ints(1),
    counters: ints(COUNTER_INTS),
  };
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length));
}

function ints(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT));
}
