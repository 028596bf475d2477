import { constants } from 'node:os';
import { type Ipv4, NO_ADDRESS } from '../../core/ipv4.js';
import { type Native, RECORD_INTS, SLAB_INBOUND, SUM_INTS } from '../../system/native.js';
import {
  add,
  IN_BYTES,
  IN_DROP_DESTINATION,
  IN_DROP_MALFORMED,
  IN_DROP_RECEIVE_ERROR,
  IN_DROP_SOURCE,
  IN_DROP_TRUNCATED,
  IN_PACKETS,
} from './counters.js';
import { destinationOf, isWellFormed, sourceOf } from './ipv4-packet.js';
import { isMember } from './members.js';
import { INBOUND_BATCH, INBOUND_TRAINS, MAX_SEGMENTS, type PathSettings, type SharedMemory, viewOf } from './memory.js';
import { createMerger } from './merge.js';
import { UDP_GRO } from './offloads.js';
import { PathFailure } from './path-failure.js';
import { addReceived } from './peer-counters.js';
import { isInside, nextHopOf, subnetNumberOf } from './route-table.js';
import { createWriteBatch } from './write-batch.js';

const { EBADF } = constants.errno;

/** Ints for each accepted packet of a batch: offset, length, number of its sum record or NO_SUM. */
const PACKET_INTS = 3;
const NO_SUM = -1;

/**
 * The way in, one bounded batch for each call:
 *
 *  1. receive datagrams into the slots of the inbound slab
 *  2. take each apart into its segments (a plain datagram is one)
 *  3. check that each is one whole IPv4 packet, that the sender owns its source, and that it is for our own subnet
 *  4. sum up those that might be merged, to verify their checksums
 *  5. merge neighbours of a flow into super-packets
 *  6. write them all to TUN from where they were received
 */
export function createInbound(native: Native, memory: SharedMemory, settings: PathSettings): () => void {
  const { datagrams, sums, counters, offloads, clock } = memory;
  const packets = viewOf(memory.inboundSlab);
  const { routes, members, peers, ownAddress, ownMask, checkSource } = settings;
  const writes = createWriteBatch(native, memory, IN_PACKETS, IN_BYTES);
  const merger = createMerger(memory, writes, flush);
  const batch = new Int32Array(MAX_SEGMENTS * PACKET_INTS);
  let accepted = 0;
  let summed = 0;
  // Of the train at hand: what one peer sent at once is counted at once.
  let trainPackets = 0;
  let trainBytes = 0;
  let trainSource = 0;

  /** A peer may send from its own subnet, and from the address by which we know it (say, an ICMP error of its host). */
  function ownsSource(sender: Ipv4, source: Ipv4): boolean {
    if (!isInside(routes, source)) return source === sender && isMember(members, sender);
    // Where there is no owner the table holds 0, which a forged sender could be too.
    return sender !== NO_ADDRESS && nextHopOf(routes, source) === sender;
  }

  function handle(sender: Ipv4, offset: number, length: number): void {
    if (!isWellFormed(packets, offset, length)) return add(counters, IN_DROP_MALFORMED, 1);
    const source = sourceOf(packets, offset);
    if (checkSource && !ownsSource(sender, source)) return add(counters, IN_DROP_SOURCE, 1);
    if (((destinationOf(packets, offset) ^ ownAddress) & ownMask) !== 0) {
      return add(counters, IN_DROP_DESTINATION, 1);
    }
    trainPackets++;
    trainBytes += length;
    trainSource = source;
    if (accepted === MAX_SEGMENTS) deliver();
    const packet = accepted++ * PACKET_INTS;
    batch[packet] = offset;
    batch[packet + 1] = length;
    batch[packet + 2] = merger.isCandidate(offset, length) ? queueSum(offset, length) : NO_SUM;
  }

  function countTrain(): void {
    // An ICMP error of a peer's host has a source outside the Network, and belongs to none of its subnets.
    if (trainPackets > 0 && isInside(routes, trainSource)) {
      addReceived(peers, subnetNumberOf(routes, trainSource), trainPackets, trainBytes, clock[0]);
    }
    trainPackets = 0;
    trainBytes = 0;
  }

  function queueSum(offset: number, length: number): number {
    const start = merger.checksumStart(offset);
    const record = summed * SUM_INTS;
    sums[record] = SLAB_INBOUND;
    sums[record + 1] = start;
    sums[record + 2] = length - (start - offset);
    return summed++;
  }

  function deliver(): void {
    if (summed > 0) native.sums(summed);
    for (let i = 0; i < accepted; i++) {
      const offset = batch[i * PACKET_INTS];
      const length = batch[i * PACKET_INTS + 1];
      const sum = batch[i * PACKET_INTS + 2];
      if (sum !== NO_SUM && merger.checksumIsRight(offset, length, sums[sum * SUM_INTS + 3])) {
        merger.merge(offset, length);
        continue;
      }
      merger.close();
      if (writes.isFull(1)) flush();
      writes.queue(SLAB_INBOUND, offset, length);
    }
    merger.close();
    flush();
    accepted = 0;
    summed = 0;
  }

  function flush(): void {
    writes.flush();
    merger.reset();
  }

  return function inbound(): void {
    const count = native.receiveUdp(offloads[UDP_GRO] === 0 ? INBOUND_BATCH : INBOUND_TRAINS);
    if (count < 0) {
      if (count === -EBADF) throw new PathFailure('receiveUdp', count);
      // An unconnected socket reports errors of others' making (RFC 1122 4.1.3.3), such as EHOSTUNREACH.
      return add(counters, IN_DROP_RECEIVE_ERROR, 1);
    }
    for (let i = 0; i < count; i++) {
      const record = i * RECORD_INTS;
      const offset = datagrams[record];
      const length = datagrams[record + 1];
      const sender = datagrams[record + 2];
      if (datagrams[record + 5] !== 0) {
        add(counters, IN_DROP_TRUNCATED, 1);
        continue;
      }
      if (length === 0) add(counters, IN_DROP_MALFORMED, 1);
      const segment = datagrams[record + 4] || length;
      for (let done = 0; done < length; done += segment) {
        handle(sender, offset + done, Math.min(segment, length - done));
      }
      countTrain();
    }
    deliver();
  };
}
