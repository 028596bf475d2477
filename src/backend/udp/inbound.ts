import { constants } from 'node:os';
import type { Ipv4 } from '../../core/ipv4.js';
import { type Native, RECORD_INTS, SLAB_INBOUND } from '../../system/native.js';
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
import { INBOUND_BATCH, type PathSettings, type SharedMemory } from './memory.js';
import { PathFailure } from './path-failure.js';
import { nextHopOf } from './route-table.js';
import { createWriteBatch } from './write-batch.js';

const { EBADF } = constants.errno;

/**
 * The way in, one bounded batch for each call:
 *
 *  1. receive datagrams into the slots of the inbound slab
 *  2. take each apart into its segments (a plain datagram is one)
 *  3. check that each is one whole IPv4 packet, that the sender owns its source, and that it is for our own subnet
 *  4. write them to TUN from where they were received
 */
export function createInbound(native: Native, memory: SharedMemory, settings: PathSettings): () => void {
  const { inboundSlab, datagrams, counters } = memory;
  const { routes, ownAddress, ownMask, checkSource } = settings;
  const writes = createWriteBatch(native, memory, IN_PACKETS, IN_BYTES);

  /** A peer may send from its own subnet, and from the address by which we know it (say, an ICMP error of its host). */
  function ownsSource(sender: Ipv4, source: Ipv4): boolean {
    if (((source ^ routes.network) & routes.mask) !== 0) return source === sender;
    return nextHopOf(routes, source) === sender;
  }

  function handle(sender: Ipv4, offset: number, length: number): void {
    if (!isWellFormed(inboundSlab, offset, length)) return add(counters, IN_DROP_MALFORMED, 1);
    if (checkSource && !ownsSource(sender, sourceOf(inboundSlab, offset))) return add(counters, IN_DROP_SOURCE, 1);
    if (((destinationOf(inboundSlab, offset) ^ ownAddress) & ownMask) !== 0) {
      return add(counters, IN_DROP_DESTINATION, 1);
    }
    writes.queue(SLAB_INBOUND, offset, length);
  }

  return function inbound(): void {
    const count = native.receiveUdp(INBOUND_BATCH);
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
    }
    writes.flush();
  };
}
