import { type Native, SLAB_HEADERS, SUM_INTS } from '../../system/native.js';
import { fold } from './ipv4-packet.js';
import { MAX_SEGMENTS, type SharedMemory, viewOf } from './memory.js';

/** Transport checksums of a batch, finished together: native code sums the bytes, here the sums become checksums. */
export interface ChecksumBatch {
  /**
   * @param slab, offset, length the bytes still to be summed
   * @param base sum of everything else that the checksum covers
   * @param fieldSlab, field where the checksum goes: SLAB_HEADERS or SLAB_OUTBOUND
   * @param isUdp in UDP a checksum of 0 means "none", so 0 is written as 0xffff (RFC 768)
   */
  queue(
    slab: number,
    offset: number,
    length: number,
    base: number,
    fieldSlab: number,
    field: number,
    isUdp: boolean,
  ): void;
  /** True if nothing more can be queued before finish(). */
  isFull(): boolean;
  finish(): void;
}

export function createChecksumBatch(native: Native, memory: SharedMemory): ChecksumBatch {
  const { sums } = memory;
  const headers = viewOf(memory.headers);
  const packets = viewOf(memory.outboundSlab);
  const bases = new Int32Array(MAX_SEGMENTS);
  const fields = new Int32Array(MAX_SEGMENTS);
  /** Bit 0: the field lies among the headers; bit 1: UDP. */
  const kinds = new Uint8Array(MAX_SEGMENTS);
  let queued = 0;

  return {
    queue(slab, offset, length, base, fieldSlab, field, isUdp) {
      const record = queued * SUM_INTS;
      sums[record] = slab;
      sums[record + 1] = offset;
      sums[record + 2] = length;
      bases[queued] = base;
      fields[queued] = field;
      kinds[queued] = (fieldSlab === SLAB_HEADERS ? 1 : 0) | (isUdp ? 2 : 0);
      queued++;
    },
    isFull: () => queued === MAX_SEGMENTS,
    finish() {
      if (queued === 0) return;
      native.sums(queued);
      for (let i = 0; i < queued; i++) {
        const sum = ~fold(bases[i] + sums[i * SUM_INTS + 3]) & 0xffff;
        const checksum = sum === 0 && (kinds[i] & 2) !== 0 ? 0xffff : sum;
        // Not one call on either view: V8 compiles a store into a view that it knows, and calls a function otherwise.
        if ((kinds[i] & 1) !== 0) headers.setUint16(fields[i], checksum);
        else packets.setUint16(fields[i], checksum);
      }
      queued = 0;
    },
  };
}
