import { constants } from 'node:os';
import { NO_ADDRESS } from '../../core/ipv4.js';
import { EBADFD, type Native, RECORD_INTS, SLAB_HEADERS, SLAB_OUTBOUND } from '../../system/native.js';
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
import {
  createIcmpLimit,
  ICMP_NET_UNREACHABLE,
  ICMP_TIME_EXCEEDED,
  MAX_ICMP_BYTES,
  mayAnswer,
  writeIcmpError,
} from './icmp.js';
import { decrementTtl, destinationOf, isWellFormed } from './ipv4-packet.js';
import { OUTBOUND_BATCH, type PathSettings, type SharedMemory } from './memory.js';
import { PathFailure } from './path-failure.js';
import { nextHopOf } from './route-table.js';
import { createSendBatch } from './send-batch.js';
import { createWriteBatch } from './write-batch.js';

const { EBADF } = constants.errno;

/**
 * The way out, one bounded batch for each call:
 *
 *  1. read packets from TUN into the outbound slab
 *  2. check that each is one whole IPv4 packet
 *  3. destination -> route table -> next hop; none: ICMP net unreachable to the sender
 *  4. take one hop off the TTL; used up: ICMP time exceeded to the sender
 *  5. send them all with one system call, from where they were read
 */
export function createOutbound(native: Native, memory: SharedMemory, settings: PathSettings): () => void {
  const { outboundSlab, tunPackets, headers, clock, counters } = memory;
  const { routes, ownAddress, port } = settings;
  const networkBroadcast = routes.network | ~routes.mask;
  const sends = createSendBatch(native, memory, port);
  const answers = createWriteBatch(native, memory, OUT_ICMP_PACKETS, OUT_ICMP_BYTES);
  const limit = createIcmpLimit();
  let answered = 0;

  function handle(offset: number, length: number): void {
    if (!isWellFormed(outboundSlab, offset, length)) return add(counters, OUT_DROP_MALFORMED, 1);
    const nextHop = nextHopOf(routes, destinationOf(outboundSlab, offset));
    if (nextHop === NO_ADDRESS) {
      add(counters, OUT_DROP_NO_ROUTE, 1);
      return answer(ICMP_NET_UNREACHABLE, offset, length);
    }
    if (!decrementTtl(outboundSlab, offset)) {
      add(counters, OUT_DROP_TTL, 1);
      return answer(ICMP_TIME_EXCEEDED, offset, length);
    }
    sends.queue(nextHop, SLAB_OUTBOUND, offset, length);
  }

  function answer(typeAndCode: number, offset: number, length: number): void {
    if (!mayAnswer(outboundSlab, offset, length, networkBroadcast)) return;
    if (!limit.take(clock[0])) return add(counters, OUT_ICMP_SUPPRESSED, 1);
    const at = answered * MAX_ICMP_BYTES;
    const size = writeIcmpError(headers, at, typeAndCode, ownAddress, outboundSlab, offset, length);
    answers.queue(SLAB_HEADERS, at, size);
    answered++;
  }

  return function outbound(): void {
    const count = native.readTun(OUTBOUND_BATCH);
    if (count < 0) {
      if (count === -EBADFD || count === -EBADF) throw new PathFailure('readTun', count);
      return add(counters, OUT_DROP_READ_ERROR, 1);
    }
    for (let i = 0; i < count; i++) handle(tunPackets[i * RECORD_INTS], tunPackets[i * RECORD_INTS + 1]);
    sends.flush();
    answers.flush();
    answered = 0;
  };
}
