import { constants } from 'node:os';
import { type Ipv4, NO_ADDRESS } from '../../../core/ipv4.js';
import { CHECKSUM_INTS, type Native, RECORD_INTS } from '../../../system/native.js';
import {
  add,
  IN_BYTES,
  IN_DROP_DESTINATION,
  IN_DROP_MALFORMED,
  IN_DROP_RECEIVE_ERROR,
  IN_DROP_SEGMENTS,
  IN_DROP_SOURCE,
  IN_DROP_TRUNCATED,
  IN_PACKETS,
} from '../tables/counters.js';
import { isMember } from '../tables/members.js';
import {
  INBOUND_BATCH,
  INBOUND_TRAINS,
  MAX_SEGMENTS,
  type PathSettings,
  type SharedMemory,
  viewOf,
} from '../tables/memory.js';
import { UDP_GRO } from '../tables/offloads.js';
import { addReceived } from '../tables/peer-counters.js';
import { ipv4Of } from '../tables/peers.js';
import { isInside, nextHopOf, subnetNumberOf } from '../tables/routes.js';
import { OPENED_INTS, OPENED_LENGTH, OPENED_OFFSET, OPENED_PEER } from '../tables/session-layout.js';
import { ADDRESSES, destinationOf, isWellFormed, sourceOf, totalLengthOf } from '../wire/ipv4-packet.js';
import { createMerger } from './merge.js';
import { PathFailure } from './path-failure.js';
import { createWire } from './wire.js';
import { createWriteBatch } from './write-batch.js';

/** Fields of records (native/src/rudder.h). */
const DATAGRAM_OFFSET = 0;
const DATAGRAM_LENGTH = 1;
const DATAGRAM_SENDER = 2;
const DATAGRAM_PORT = 3;
const DATAGRAM_SEGMENT_SIZE = 4;
const DATAGRAM_TRUNCATED = 5;
const CHECKSUM_OFFSET = 0;
const CHECKSUM_LENGTH = 1;
const CHECKSUM_REST = 2;
const CHECKSUM_WRONG = 3;

const { EBADF } = constants.errno;

/**
 * UDP_MAX_SEGMENTS since Linux 6.9. The kernel makes trains of 64, but one that a container has put together with a packet
 * socket comes as it is. INBOUND_TRAINS of them are a bounded turn, and no more than MAX_SEGMENTS.
 */
const MOST_SEGMENTS = 128;

/** What a range sums up to, with the rest, if its checksum is right; alone, that of an empty range. */
const RIGHT = 0xffff;

/**
 * The way in, one bounded batch for each call:
 *
 *  1. receive datagrams into the slots of the inbound slab
 *  2. check that each comes from a node's port, and take it apart into its segments (a plain datagram is one)
 *  3. check that each is one whole IPv4 packet, that the sender owns its source, and that it is for our own subnet
 *  4. merge neighbours of a flow into super-packets, as if all checksums were right
 *  5. verify the checksums; if any is wrong, merge anew without those packets
 *  6. write all to TUN from where they were received
 */
export function createInbound(
  native: Native,
  memory: SharedMemory,
  settings: PathSettings,
  wire = createWire(native, memory, settings),
): () => void {
  const { datagrams, checksums, counters, offloads, clock } = memory;
  const packets = viewOf(memory.inboundSlab);
  const { routes, members, portMapped, peers, traffic, ownAddress, ownMask, checkSource, port } = settings;
  const writes = createWriteBatch(native, memory, IN_PACKETS, IN_BYTES);
  const merger = createMerger(memory, writes);
  /**
   * Packets accepted of this batch; each has a checksum record, though not all have one to verify. `sender` is who sent the
   * last one of them, and so all of the open chain.
   */
  const accepted = { packets: 0, sender: NO_ADDRESS };
  /** What one peer sent at once is counted at once. */
  const train = { packets: 0, bytes: 0, source: 0 };

  function handle(sender: Ipv4, offset: number, length: number): void {
    if (accepted.packets === MAX_SEGMENTS || writes.isFull()) deliver();
    // Has the addresses of the packet before it, and of the same sender: all else has been checked.
    if (sender === accepted.sender && merger.joins(offset, length)) {
      accept(offset, length, true);
      return merger.join(offset, length);
    }
    if (!isWellFormed(packets, offset, length)) return add(counters, IN_DROP_MALFORMED, 1);
    const source = sourceOf(packets, offset);
    if (checkSource && !ownsSource(sender, source)) return add(counters, IN_DROP_SOURCE, 1);
    if (((destinationOf(packets, offset) ^ ownAddress) & ownMask) !== 0) {
      return add(counters, IN_DROP_DESTINATION, 1);
    }
    train.source = source;
    accepted.sender = sender;
    const isCandidate = merger.isCandidate(offset, length);
    accept(offset, length, isCandidate);
    if (isCandidate) merger.open(offset, length);
    else merger.pass(offset, length);
  }

  /** A peer may send from its own subnet, and from the address by which we know it (say, an ICMP error of its host). */
  function ownsSource(sender: Ipv4, source: Ipv4): boolean {
    if (!isInside(routes, source)) return source === sender && isMember(members, sender);
    // Where there is no owner the address is 0, which a forged sender could be too.
    return sender !== NO_ADDRESS && ipv4Of(peers, nextHopOf(routes, source)) === sender;
  }

  /** Counts the packet, and puts what its transport checksum covers on the list; nothing if it is not to be verified. */
  function accept(offset: number, length: number, isCandidate: boolean): void {
    train.packets++;
    train.bytes += length;
    const record = accepted.packets++ * CHECKSUM_INTS;
    checksums[record + CHECKSUM_OFFSET] = offset + ADDRESSES;
    checksums[record + CHECKSUM_LENGTH] = isCandidate ? length - ADDRESSES : 0;
    checksums[record + CHECKSUM_REST] = isCandidate ? merger.restOfChecksum(offset, length) : RIGHT;
  }

  function countTrain(): void {
    // An ICMP error of a peer's host has a source outside the Network, and belongs to none of its subnets.
    if (train.packets > 0 && isInside(routes, train.source)) {
      addReceived(traffic, subnetNumberOf(routes, train.source), train.packets, train.bytes, clock[0]);
    }
    train.packets = 0;
    train.bytes = 0;
  }

  function deliver(): void {
    if (accepted.packets > 0 && native.verifyChecksums(accepted.packets) > 0) mergeAnew();
    write();
    accepted.packets = 0;
    accepted.sender = NO_ADDRESS;
  }

  function write(): void {
    merger.close();
    writes.flush();
    merger.reset();
  }

  /** Nothing has been written yet: the packets with a wrong checksum go alone, and arrive as wrong as they came. */
  function mergeAnew(): void {
    writes.discardAll();
    merger.reset();
    for (let i = 0; i < accepted.packets; i++) {
      const record = i * CHECKSUM_INTS;
      const offset = checksums[record + CHECKSUM_OFFSET] - ADDRESSES;
      const length = totalLengthOf(packets, offset);
      const isMergeable = checksums[record + CHECKSUM_LENGTH] !== 0 && checksums[record + CHECKSUM_WRONG] === 0;
      if (writes.isFull()) write();
      if (!isMergeable) merger.pass(offset, length);
      else if (merger.joins(offset, length)) merger.join(offset, length);
      else merger.open(offset, length);
    }
  }

  const sealed = settings.sealed;
  return sealed === undefined ? inbound : () => inboundSealed(sealed.opened);

  function inbound(): void {
    const count = native.receiveUdp(offloads[UDP_GRO] === 0 ? INBOUND_BATCH : INBOUND_TRAINS);
    if (count < 0) return failed(count);
    for (let i = 0; i < count; i++) {
      takeApart(i * RECORD_INTS);
      countTrain();
    }
    deliver();
  }

  /** Each packet is known to be of that peer, wherever it came from; what is none was counted where it was opened. */
  function inboundSealed(opened: Int32Array): void {
    const count = wire.receive(offloads[UDP_GRO] === 0 ? INBOUND_BATCH : INBOUND_TRAINS);
    if (count < 0) return failed(count);
    for (let i = 0; i < count; i++) {
      const record = i * OPENED_INTS;
      const peer = opened[record + OPENED_PEER];
      handle(peer, opened[record + OPENED_OFFSET], opened[record + OPENED_LENGTH]);
      if (i + 1 === count || opened[record + OPENED_INTS + OPENED_PEER] !== peer) countTrain();
    }
    deliver();
  }

  function failed(error: number): void {
    if (error === -EBADF) throw new PathFailure('receiveUdp', error);
    // An unconnected socket reports errors of others' making (RFC 1122 4.1.3.3), such as EHOSTUNREACH.
    add(counters, IN_DROP_RECEIVE_ERROR, 1);
  }

  function takeApart(record: number): void {
    const offset = datagrams[record + DATAGRAM_OFFSET];
    const length = datagrams[record + DATAGRAM_LENGTH];
    const sender = datagrams[record + DATAGRAM_SENDER];
    if (datagrams[record + DATAGRAM_TRUNCATED] !== 0) return add(counters, IN_DROP_TRUNCATED, 1);
    if (length === 0) return add(counters, IN_DROP_MALFORMED, 1);
    const segment = datagrams[record + DATAGRAM_SEGMENT_SIZE] || length;
    if (length > segment * MOST_SEGMENTS) return add(counters, IN_DROP_SEGMENTS, 1);
    if (datagrams[record + DATAGRAM_PORT] !== port && !mayUseAnyPort(sender)) return dropAll(length, segment);
    for (let done = 0; done < length; done += segment) {
      handle(sender, offset + done, Math.min(segment, length - done));
    }
  }

  /**
   * Nodes send from their port. What else comes from a node's address may come from its containers, masqueraded, or from
   * any user of that host; only where a NAT changes the ports of its datagrams this cannot be told.
   */
  function mayUseAnyPort(sender: Ipv4): boolean {
    return !checkSource || isMember(portMapped, sender);
  }

  /** All segments of a datagram; without a division, as a quotient is an object on the heap until code is compiled. */
  function dropAll(length: number, segment: number): void {
    for (let done = 0; done < length; done += segment) add(counters, IN_DROP_SOURCE, 1);
  }
}
