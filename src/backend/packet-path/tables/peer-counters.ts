import type { PeerTraffic } from '../../backend.js';
import { elapsedMs } from './clock.js';
import { add, read } from './counters.js';
import type { Allocate } from './memory.js';
import type { RouteTable } from './routes.js';

/**
 * Traffic with each peer's subnet since the start, by subnet number, on shared memory; a cache line each:
 *
 *     | out packets | out bytes | in packets | in bytes | heard at | unused |      counters of two int32, low word first
 *
 * Memory that no packet touches is never made real, so a large Network costs only what it uses.
 */
const PEER_INTS = 16;
const LINE_COUNTERS = PEER_INTS / 2;
const OUT_PACKETS = 0;
const OUT_BYTES = 1;
const IN_PACKETS = 2;
const IN_BYTES = 3;
/** In milliseconds of the packet path's clock, 0: never. */
const HEARD_AT = 8;
/** Half a second less than a whole turn of the clock: what looks older is in truth a little ahead of us. */
const LONGEST_AGE_MS = 2 ** 31 - 500;

export function createPeerCounters(table: RouteTable, allocate: Allocate): Int32Array {
  return allocate(table.nextHops.length * PEER_INTS);
}

/** Only the worker calls this and the next one. */
export function addSent(counters: Int32Array, subnetNumber: number, packets: number, bytes: number): void {
  const line = subnetNumber * LINE_COUNTERS;
  add(counters, line + OUT_PACKETS, packets);
  add(counters, line + OUT_BYTES, bytes);
}

export function addReceived(counters: Int32Array, subnetNumber: number, packets: number, bytes: number, now: number) {
  const line = subnetNumber * LINE_COUNTERS;
  add(counters, line + IN_PACKETS, packets);
  add(counters, line + IN_BYTES, bytes);
  counters[subnetNumber * PEER_INTS + HEARD_AT] = now | 1;
}

/** @param entries of the peer's subnet: one, unless it is larger than ours */
export function readPeer(
  counters: Int32Array,
  { first, count }: { first: number; count: number },
  nowMs: number,
): PeerTraffic {
  let sum = readEntry(counters, first, nowMs);
  for (let number = first + 1; number < first + count; number++) {
    const { outPackets, outBytes, inPackets, inBytes, heardSecondsAgo } = readEntry(counters, number, nowMs);
    sum = {
      outPackets: sum.outPackets + outPackets,
      outBytes: sum.outBytes + outBytes,
      inPackets: sum.inPackets + inPackets,
      inBytes: sum.inBytes + inBytes,
      heardSecondsAgo: earlier(sum.heardSecondsAgo, heardSecondsAgo),
    };
  }
  return sum;
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}

function readEntry(counters: Int32Array, subnetNumber: number, nowMs: number): PeerTraffic {
  const line = subnetNumber * LINE_COUNTERS;
  const heardAt = Atomics.load(counters, subnetNumber * PEER_INTS + HEARD_AT);
  const age = elapsedMs(heardAt, nowMs);
  return {
    outPackets: read(counters, line + OUT_PACKETS),
    outBytes: read(counters, line + OUT_BYTES),
    inPackets: read(counters, line + IN_PACKETS),
    inBytes: read(counters, line + IN_BYTES),
    // A peer not heard of for 24 days looks like a younger one: the clock wraps. One heard of just now may be a
    // millisecond ahead of us, since 0 is taken.
    heardSecondsAgo: heardAt === 0 ? undefined : age > LONGEST_AGE_MS ? 0 : age / 1000,
  };
}
