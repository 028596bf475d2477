import {
  CHECKSUM_INTS,
  INBOUND_SKEW_BYTES,
  IOVEC_INTS,
  MAX_DATAGRAMS,
  MAX_MESSAGES,
  OUTBOUND_SKEW_BYTES,
  PAGE_BYTES,
  type PathHandles,
  type PathMemory,
  RECORD_INTS,
  type SealedMemory,
  SLOT_BYTES,
} from '../../../system/native.js';
import { COUNTER_INTS } from './counters.js';
import type { Members } from './members.js';
import { OFFLOADS } from './offloads.js';
import type { Peers } from './peers.js';
import type { RouteTable } from './routes.js';

/** Reads of one wake-up at most. Their sum also bounds how long the other direction waits. */
export const OUTBOUND_BATCH = 64;
export const INBOUND_BATCH = MAX_DATAGRAMS;
/** Trains are up to 64 KB each: more of them at once would only push each other out of the cache. */
export const INBOUND_TRAINS = 16;

/** UDP_GRO_CNT_MAX: segments of one train that the kernel makes of what it receives, and of one that we write. */
export const MAX_TRAIN_SEGMENTS = 64;
/** Segments of one inbound batch at most, and packets of one outbound batch before it is sent in between. */
export const MAX_SEGMENTS = INBOUND_BATCH * MAX_TRAIN_SEGMENTS;

/**
 * The outbound slab: first what is read from TUN, then room for packets that have to lie elsewhere (split.ts). Each read
 * must find room for the largest, and for what spreads it: up to an eighth more for headers, as with segments of 536
 * bytes (RFC 9293's default MSS). What is not touched takes no memory.
 */
export const OUTBOUND_READ_BYTES = OUTBOUND_BATCH * (SLOT_BYTES + SLOT_BYTES / 8 + PAGE_BYTES + OUTBOUND_SKEW_BYTES);
/**
 * More super-packets at once would push each other out of the cache. They are read 4, 4 and 8 at a time, so this ends
 * with 16; only behind many small packets it can be more.
 */
export const OUTBOUND_ENOUGH_BYTES = 12 * SLOT_BYTES;
export const OUTBOUND_SPARE_BYTES = 4 * SLOT_BYTES;
/** The first slot begins at a page. */
const INBOUND_SLAB_BYTES = PAGE_BYTES + INBOUND_BATCH * (SLOT_BYTES + INBOUND_SKEW_BYTES);

/** Room for one header that we write: IPv4 and TCP with all their options are 120 bytes. */
export const HEADER_SLOT_BYTES = 128;
/** One for each super-packet written, or ICMP message. */
export const HEADER_SLOTS = MAX_MESSAGES;
export const SEND_IOVECS = 1024;
/** A piece for each packet, and a header for each super-packet. */
export const WRITE_IOVECS = MAX_SEGMENTS + MAX_MESSAGES;

/** Index into `control`: not 0 when the worker shall stop. */
export const CONTROL_STOP = 0;

/**
 * All that the two threads share. It is made once, and nothing is allocated after.
 *
 *     the way out    outboundSlab  tunPackets  sends  sendIovecs      a turn may leave packets in the first two
 *     the way in     inboundSlab   datagrams
 *     scratch        headers  checksums  writes  writeIovecs          of the direction whose turn it is
 *
 * The two directions take turns in one thread (loop.ts) and use the same scratch. What one of them puts there it has written
 * or forgotten when its turn ends, so neither may keep anything there, nor rely on what it finds.
 */
export interface SharedMemory extends PathMemory {
  readonly control: Int32Array;
  readonly counters: Int32Array;
  /** Which offloads are in use, by their numbers in offloads.ts. The worker lowers one that fails. */
  readonly offloads: Int32Array;
}

/** What the worker is given. */
export interface WorkerData {
  readonly handles: PathHandles;
  readonly memory: SharedMemory;
  readonly settings: PathSettings;
}

export interface PathSettings {
  readonly routes: RouteTable;
  readonly peers: Peers;
  readonly members: Members;
  /** Those of them whose datagrams come from any port. */
  readonly portMapped: Members;
  /** By subnet, see peer-counters.ts. */
  readonly traffic: Int32Array;
  /** Our own subnet: all that we accept packets for. */
  readonly ownAddress: number;
  readonly ownMask: number;
  /** Of the socket, and of every node that no NAT gives another one. */
  readonly port: number;
  /** Address of the socket. */
  readonly localAddress: number;
  /** Whether an outer source must own the inner source. */
  readonly checkSource: boolean;
  /** The sessions of a sealed wire; without them it is plain. */
  readonly sealed?: SealedMemory;
}

export function createSharedMemory(): SharedMemory {
  return {
    outboundSlab: bytes(OUTBOUND_READ_BYTES + OUTBOUND_SPARE_BYTES),
    inboundSlab: bytes(INBOUND_SLAB_BYTES),
    headers: bytes(HEADER_SLOTS * HEADER_SLOT_BYTES),
    tunPackets: sharedInts(OUTBOUND_BATCH * RECORD_INTS),
    datagrams: sharedInts(INBOUND_BATCH * RECORD_INTS),
    sends: sharedInts(MAX_MESSAGES * RECORD_INTS),
    sendIovecs: sharedInts(SEND_IOVECS * IOVEC_INTS),
    writes: sharedInts(MAX_MESSAGES * RECORD_INTS),
    writeIovecs: sharedInts(WRITE_IOVECS * IOVEC_INTS),
    checksums: sharedInts(MAX_SEGMENTS * CHECKSUM_INTS),
    clock: sharedInts(1),
    control: sharedInts(1),
    counters: sharedInts(COUNTER_INTS),
    offloads: sharedInts(OFFLOADS.length),
  };
}

/** The same bytes, to be read and written as the fields of packets. */
export function viewOf(slab: Uint8Array): DataView {
  return new DataView(slab.buffer, slab.byteOffset, slab.byteLength);
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length));
}

/** Where a table lies is for its maker to say: so many int32, all 0, that the two threads share. */
export type Allocate = (ints: number) => Int32Array;

export const sharedInts: Allocate = (ints) =>
  new Int32Array(new SharedArrayBuffer(ints * Int32Array.BYTES_PER_ELEMENT));
