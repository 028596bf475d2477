import { constants } from 'node:os';
import type { Ipv4 } from '../../core/ipv4.js';
import { IOVEC_INTS, MAX_MESSAGES, type Native, RECORD_INTS, UDP_WRITABLE } from '../../system/native.js';
import { add, OUT_BYTES, OUT_DROP_SEND_BUFFER, OUT_DROP_SEND_ERROR, OUT_PACKETS } from './counters.js';
import type { SharedMemory } from './memory.js';

const { EAGAIN } = constants.errno;
/** How long a full socket buffer may hold up the loop before packets are dropped, as a full queue does. */
const FULL_BUFFER_WAIT_MS = 5;

/** Datagrams collected for one sendmmsg. A packet's bytes must stay in their slab until flush(). */
export interface SendBatch {
  /** At most MAX_MESSAGES between two flushes. */
  queue(nextHop: Ipv4, slab: number, offset: number, length: number): void;
  flush(): void;
}

export function createSendBatch(native: Native, memory: SharedMemory, port: number): SendBatch {
  const { sends, sendIovecs, counters } = memory;
  let queued = 0;

  function queue(nextHop: Ipv4, slab: number, offset: number, length: number): void {
    const record = queued * RECORD_INTS;
    sends[record] = queued;
    sends[record + 1] = 1;
    sends[record + 2] = nextHop;
    sends[record + 3] = port;
    sends[record + 4] = 0;
    const iovec = queued * IOVEC_INTS;
    sendIovecs[iovec] = slab;
    sendIovecs[iovec + 1] = offset;
    sendIovecs[iovec + 2] = length;
    queued++;
    if (queued === MAX_MESSAGES) flush();
  }

  function flush(): void {
    let first = 0;
    let waited = false;
    while (first < queued) {
      const sent = native.sendUdp(first, queued - first);
      if (sent > 0) {
        countSent(first, sent);
        first += sent;
      } else if (sent !== -EAGAIN) {
        // This one cannot go (no route to the peer, or larger than the path allows): the others may.
        add(counters, OUT_DROP_SEND_ERROR, 1);
        first++;
      } else if (!waited) {
        waited = true;
        native.wait(UDP_WRITABLE, FULL_BUFFER_WAIT_MS);
      } else {
        add(counters, OUT_DROP_SEND_BUFFER, queued - first);
        first = queued;
      }
    }
    queued = 0;
  }

  function countSent(first: number, sent: number): void {
    let bytes = 0;
    for (let i = first; i < first + sent; i++) bytes += sendIovecs[i * IOVEC_INTS + 2];
    add(counters, OUT_PACKETS, sent);
    add(counters, OUT_BYTES, bytes);
  }

  return { queue, flush };
}
