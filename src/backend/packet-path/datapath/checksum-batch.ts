import { CHECKSUM_INTS, type Native } from '../../../system/native.js';
import { MAX_SEGMENTS, type SharedMemory } from '../tables/memory.js';

/** Fields of records (native/src/rudder.h). */
const CHECKSUM_OFFSET = 0;
const CHECKSUM_LENGTH = 1;
const CHECKSUM_REST = 2;
const CHECKSUM_FIELD = 3;
const CHECKSUM_ZERO = 4;

/** Transport checksums of packets in the outbound slab, finished together by native code. */
export interface ChecksumBatch {
  /**
   * @param offset, length the bytes still to be summed
   * @param rest sum of everything else that the checksum covers
   * @param field where the checksum goes
   * @param isUdp in UDP a checksum of 0 means "none", so 0 is written as 0xffff (RFC 768)
   */
  queue(offset: number, length: number, rest: number, field: number, isUdp: boolean): void;
  finish(): void;
}

export function createChecksumBatch(native: Native, memory: SharedMemory): ChecksumBatch {
  const { checksums } = memory;
  const batch = { queued: 0 };

  function finish(): void {
    if (batch.queued > 0) native.finishChecksums(batch.queued);
    batch.queued = 0;
  }

  return {
    queue(offset, length, rest, field, isUdp) {
      if (batch.queued === MAX_SEGMENTS) finish();
      const record = batch.queued++ * CHECKSUM_INTS;
      checksums[record + CHECKSUM_OFFSET] = offset;
      checksums[record + CHECKSUM_LENGTH] = length;
      checksums[record + CHECKSUM_REST] = rest;
      checksums[record + CHECKSUM_FIELD] = field;
      checksums[record + CHECKSUM_ZERO] = isUdp ? 0xffff : 0;
    },
    finish,
  };
}
