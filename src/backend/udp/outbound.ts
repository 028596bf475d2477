import { constants } from 'node:os';
import { NO_ADDRESS } from '../../core/ipv4.js';
import { EBADFD, GSO_NONE, type Native, RECORD_INTS, SLAB_HEADERS, VNET_NEEDS_CHECKSUM } from '../../system/native.js';
import { createChecksumBatch } from './checksum-batch.js';
import {
  add,
  OUT_DROP_MALFORMED,
  OUT_DROP_NO_ROUTE,
  OUT_DROP_READ_ERROR,
  OUT_DROP_TTL,
  OUT_ICMP_BYTES,
  OUT_ICMP_PACKETS,
  OUT_ICMP_SUPPRESSED,
} from './counters.js';
import { createIcmpLimit, ICMP_NET_UNREACHABLE, ICMP_TIME_EXCEEDED, mayAnswer, writeIcmpError } from './icmp.js';
import { decrementTtl, destinationOf, isWellFormed, sourceOf } from './ipv4-packet.js';
import { HEADER_SLOT_BYTES, type PathSettings, type SharedMemory, viewOf } from './memory.js';
import { PathFailure } from './path-failure.js';
import { addSent } from './peer-counters.js';
import { nextHopOf, subnetNumberOf } from './route-table.js';
import { createSendBatch } from './send-batch.js';
import { createSplitter } from './split.js';
import { createSpread } from './spread.js';
import { createWriteBatch } from './write-batch.js';

const { EBADF } = constants.errno;

/**
 * The way out, one bounded batch for each call:
 *
 *  1. read packets and super-packets from TUN into the outbound slab
 *  2. check that each is one whole IPv4 packet
 *  3. destination -> route table -> next hop; none: ICMP net unreachable to the sender
 *  4. take one hop off the TTL; used up: ICMP time exceeded to the sender
 *  5. split super-packets into packets, put unfinished checksums on a list
 *  6. finish the checksums, and send all with one system call, from where they were read
 */
export function createOutbound(native: Native, memory: SharedMemory, settings: PathSettings): () => void {
  const { tunPackets, clock, counters } = memory;
  const packets = viewOf(memory.outboundSlab);
  const headers = viewOf(memory.headers);
  const { routes, peers, ownAddress, ownMask, port } = settings;
  const networkBroadcast = routes.network | ~routes.mask;
  const checksums = createChecksumBatch(native, memory);
  const sends = createSendBatch(native, memory, port, checksums);
  const answers = createWriteBatch(native, memory, OUT_ICMP_PACKETS, OUT_ICMP_BYTES);
  const spread = createSpread(native, memory);
  const splitter = createSplitter(memory, spread, sends, checksums);
  const limit = createIcmpLimit();
  /** ICMP messages of this batch: one for each packet read at most, so their room lasts. */
  let answered = 0;

  function handle(record: number): void {
    const offset = tunPackets[record];
    const length = tunPackets[record + 1];
    if (!isWellFormed(packets, offset, length)) return add(counters, OUT_DROP_MALFORMED, 1);
    const destination = destinationOf(packets, offset);
    const nextHop = nextHopOf(routes, destination);
    if (nextHop === NO_ADDRESS) {
      add(counters, OUT_DROP_NO_ROUTE, 1);
      return answer(ICMP_NET_UNREACHABLE, offset, length);
    }
    if (!decrementTtl(packets, offset)) {
      add(counters, OUT_DROP_TTL, 1);
      return answer(ICMP_TIME_EXCEEDED, offset, length);
    }
    const subnet = subnetNumberOf(routes, destination);
    if (tunPackets[record + 3] !== GSO_NONE) {
      if (!splitter.isValid(record)) return add(counters, OUT_DROP_MALFORMED, 1);
      // Counted by the split and not by a division: until code is compiled, a quotient is an object on the heap.
      const segments = splitter.split(record, nextHop);
      return addSent(peers, subnet, segments, length + (segments - 1) * splitter.headerLength(record));
    }
    spread.gather(offset, length);
    if ((tunPackets[record + 2] & VNET_NEEDS_CHECKSUM) !== 0 && !splitter.finishChecksum(record)) {
      return add(counters, OUT_DROP_MALFORMED, 1);
    }
    sends.queue(nextHop, offset, length, length);
    addSent(peers, subnet, 1, length);
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

  return function outbound(): void {
    const count = spread.read();
    if (count < 0) {
      if (count === -EBADFD || count === -EBADF) throw new PathFailure('readTun', count);
      return add(counters, OUT_DROP_READ_ERROR, 1);
    }
    for (let i = 0; i < count; i++) handle(i * RECORD_INTS);
    sends.flush();
    answers.flush();
    splitter.reset();
    answered = 0;
  };
}
