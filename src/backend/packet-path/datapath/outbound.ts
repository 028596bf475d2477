import { constants } from 'node:os';
import type { Ipv4 } from '../../../core/ipv4.js';
import {
  EBADFD,
  GSO_NONE,
  type Native,
  RECORD_INTS,
  SLAB_HEADERS,
  VNET_NEEDS_CHECKSUM,
} from '../../../system/native.js';
import {
  add,
  OUT_DROP_LOOP,
  OUT_DROP_MALFORMED,
  OUT_DROP_MULTICAST,
  OUT_DROP_NO_ROUTE,
  OUT_DROP_READ_ERROR,
  OUT_DROP_SEGMENTS,
  OUT_DROP_TTL,
  OUT_ICMP_BYTES,
  OUT_ICMP_PACKETS,
  OUT_ICMP_SUPPRESSED,
} from '../tables/counters.js';
import { HEADER_SLOT_BYTES, type PathSettings, type SharedMemory, viewOf } from '../tables/memory.js';
import { addSent } from '../tables/peer-counters.js';
import { NO_PEER } from '../tables/peers.js';
import { nextHopOf, subnetNumberOf } from '../tables/routes.js';
import { ICMP_NET_UNREACHABLE, ICMP_TIME_EXCEEDED, mayAnswer, writeIcmpError } from '../wire/icmp.js';
import {
  decrementTtl,
  destinationOf,
  headerLengthOf,
  isLaterFragment,
  isWellFormed,
  PROTOCOL_UDP,
  portsOf,
  protocolOf,
  sourceOf,
  UDP_HEADER_BYTES,
} from '../wire/ipv4-packet.js';
import { createChecksumBatch } from './checksum-batch.js';
import { createIcmpLimit } from './icmp-limit.js';
import { PathFailure } from './path-failure.js';
import { createSendBatch } from './send-batch.js';
import { createSplitter } from './split.js';
import { createSpread } from './spread.js';
import { createWire } from './wire.js';
import { createWriteBatch } from './write-batch.js';

/** Fields of records (native/src/rudder.h). */
const PACKET_OFFSET = 0;
const PACKET_LENGTH = 1;
const PACKET_VNET_FLAGS = 2;
const PACKET_GSO_TYPE = 3;

const { EBADF } = constants.errno;
/** A turn's full super-packets of 536 bytes (RFC 9293's default MSS) are half as many. */
const TURN_SEGMENTS = 4096;
/** 255.255.255.255 */
const LIMITED_BROADCAST = -1;

/**
 * The way out, one bounded turn for each call:
 *
 *  1. read packets and super-packets from TUN into the outbound slab
 *  2. check that each is one whole IPv4 packet, and none of our own datagrams
 *  3. destination -> route table -> peer number; none: ICMP net unreachable to the sender
 *  4. take one hop off the TTL; used up: ICMP time exceeded to the sender
 *  5. split super-packets into packets, put unfinished checksums on a list
 *  6. finish the checksums, and send all with one system call, from where they were read
 *
 * @param budget segments of super-packets in one turn: what is left of the batch then waits for the next one
 * @returns a turn, which returns true if it has left something
 */
export function createOutbound(
  native: Native,
  memory: SharedMemory,
  settings: PathSettings,
  budget = TURN_SEGMENTS,
  wire = createWire(native, memory, settings),
): () => boolean {
  const { tunPackets, clock, counters } = memory;
  const packets = viewOf(memory.outboundSlab);
  const headers = viewOf(memory.headers);
  const { routes, peers, traffic, ownAddress, ownMask, port, localAddress } = settings;
  const ownPorts = (port << 16) | port;
  const networkBroadcast = routes.network | ~routes.mask;
  const checksums = createChecksumBatch(native, memory);
  const sends = createSendBatch(native, memory, peers, wire, checksums);
  const answers = createWriteBatch(native, memory, OUT_ICMP_PACKETS, OUT_ICMP_BYTES);
  const spread = createSpread(native, memory);
  const splitter = createSplitter(memory, spread, sends, checksums);
  const limit = createIcmpLimit();
  /** ICMP messages of this turn: one for each packet read at most, so their room lasts. */
  let answered = 0;
  /** Records read and not handled yet, from `next` on, and the segments that this turn has made. */
  const batch = { next: 0, count: 0, segments: 0 };

  function handle(record: number): void {
    const offset = tunPackets[record + PACKET_OFFSET];
    const length = tunPackets[record + PACKET_LENGTH];
    if (!isWellFormed(packets, offset, length)) return add(counters, OUT_DROP_MALFORMED, 1);
    if (sourceOf(packets, offset) === localAddress && isOwnDatagram(offset, length)) {
      return add(counters, OUT_DROP_LOOP, 1);
    }
    const destination = destinationOf(packets, offset);
    const peer = nextHopOf(routes, destination);
    if (peer === NO_PEER) {
      if (isForMany(destination)) return add(counters, OUT_DROP_MULTICAST, 1);
      add(counters, OUT_DROP_NO_ROUTE, 1);
      return answer(ICMP_NET_UNREACHABLE, offset, length);
    }
    if (!decrementTtl(packets, offset)) {
      add(counters, OUT_DROP_TTL, 1);
      return answer(ICMP_TIME_EXCEEDED, offset, length);
    }
    const subnet = subnetNumberOf(routes, destination);
    if (tunPackets[record + PACKET_GSO_TYPE] !== GSO_NONE) {
      if (!splitter.isValid(record)) return add(counters, OUT_DROP_MALFORMED, 1);
      if (splitter.isTooMany(record)) return add(counters, OUT_DROP_SEGMENTS, 1);
      // Counted by the split and not by a division: until code is compiled, a quotient is an object on the heap.
      const segments = splitter.split(record, peer);
      batch.segments += segments;
      return addSent(traffic, subnet, segments, length + (segments - 1) * splitter.headerLength(record));
    }
    spread.gather(offset, length);
    if ((tunPackets[record + PACKET_VNET_FLAGS] & VNET_NEEDS_CHECKSUM) !== 0 && !splitter.finishChecksum(record)) {
      return add(counters, OUT_DROP_MALFORMED, 1);
    }
    sends.queue(peer, offset, length, length);
    addSent(traffic, subnet, 1, length);
  }

  /**
   * One that the kernel has routed back into the device: wrapped again, it would come back for ever, larger by 28 bytes
   * each time. Its later fragments have no ports. Such a one makes another lap, as the payload of a datagram of its own
   * that is recognised here, or whose first fragment is: what is left of it then is too small to be cut once more.
   */
  function isOwnDatagram(offset: number, length: number): boolean {
    if (protocolOf(packets, offset) !== PROTOCOL_UDP || isLaterFragment(packets, offset)) return false;
    return length >= headerLengthOf(packets, offset) + UDP_HEADER_BYTES && portsOf(packets, offset) === ownPorts;
  }

  /** Multicast (224/4), and the two broadcasts: hosts send these all the time, and there is nobody to route them to. */
  function isForMany(destination: Ipv4): boolean {
    return destination >>> 28 === 14 || destination === LIMITED_BROADCAST || destination === networkBroadcast;
  }

  function answer(typeAndCode: number, offset: number, length: number): void {
    // To those behind this node only: a forged source would make us send errors to whoever it names.
    if (((sourceOf(packets, offset) ^ ownAddress) & ownMask) !== 0) return;
    if (!mayAnswer(packets, offset, length, networkBroadcast)) return;
    if (!limit.take(clock[0])) return add(counters, OUT_ICMP_SUPPRESSED, 1);
    const at = answered++ * HEADER_SLOT_BYTES;
    const size = writeIcmpError(headers, at, typeAndCode, ownAddress, packets, offset, length);
    answers.queue(SLAB_HEADERS, at, size);
  }

  return function outbound(): boolean {
    if (batch.next === batch.count) readBatch();
    batch.segments = 0;
    answered = 0;
    while (batch.next < batch.count && batch.segments < budget) handle(batch.next++ * RECORD_INTS);
    sends.endTurn();
    answers.flush();
    splitter.reset();
    return batch.next < batch.count;
  };

  function readBatch(): void {
    batch.next = 0;
    batch.count = spread.read();
    if (batch.count >= 0) return;
    const error = batch.count;
    batch.count = 0;
    if (error === -EBADFD || error === -EBADF) throw new PathFailure('readTun', error);
    add(counters, OUT_DROP_READ_ERROR, 1);
  }
}
