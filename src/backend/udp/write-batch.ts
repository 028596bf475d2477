import { EBADFD, IOVEC_INTS, MAX_MESSAGES, type Native, RECORD_INTS } from '../../system/native.js';
import { add, IN_DROP_WRITE_ERROR } from './counters.js';
import type { SharedMemory } from './memory.js';
import { PathFailure } from './path-failure.js';

/** Packets collected for the TUN device. Their bytes must stay in their slab until flush(). */
export interface WriteBatch {
  queue(slab: number, offset: number, length: number): void;
  flush(): void;
}

/** @param packets and @param bytes the counters of what was written */
export function createWriteBatch(native: Native, memory: SharedMemory, packets: number, bytes: number): WriteBatch {
  const { writes, writeIovecs, counters } = memory;
  let queued = 0;

  function queue(slab: number, offset: number, length: number): void {
    const record = queued * RECORD_INTS;
    writes[record] = queued;
    writes[record + 1] = 1;
    // A plain packet: no vnet field set.
    for (let field = 2; field < RECORD_INTS; field++) writes[record + field] = 0;
    const iovec = queued * IOVEC_INTS;
    writeIovecs[iovec] = slab;
    writeIovecs[iovec + 1] = offset;
    writeIovecs[iovec + 2] = length;
    queued++;
    if (queued === MAX_MESSAGES) flush();
  }

  function flush(): void {
    let first = 0;
    while (first < queued) {
      const written = native.writeTun(first, queued - first);
      if (written > 0) {
        countWritten(first, written);
        first += written;
      } else if (written === -EBADFD) {
        throw new PathFailure('writeTun', written);
      } else {
        // EIO while the device is down, EINVAL for what the kernel takes for garbage: this packet only.
        add(counters, IN_DROP_WRITE_ERROR, 1);
        first++;
      }
    }
    queued = 0;
  }

  function countWritten(first: number, written: number): void {
    let length = 0;
    for (let i = first; i < first + written; i++) length += writeIovecs[i * IOVEC_INTS + 2];
    add(counters, packets, written);
    add(counters, bytes, length);
  }

  return { queue, flush };
}
