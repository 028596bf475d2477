import { MIN_SPREAD_SEGMENT, type Native, RING_FAILED } from '../../../system/native.js';
import { OUTBOUND_BATCH, OUTBOUND_ENOUGH_BYTES, OUTBOUND_READ_BYTES, type SharedMemory } from '../tables/memory.js';
import { lowerRing } from './ring.js';

/**
 * How packets lie in the outbound slab. A super-packet is read in pieces, each segment's payload where it is going to be
 * sent from, behind a copy of the header. So only fields are left to write, and a train is one piece of memory, which the
 * kernel copies faster than ninety:
 *
 *     from TUN:   | header | payload 1 | payload 2 | payload 3 |
 *     read as:    | header | payload 1 | header | payload 2 | header | payload 3 |
 *
 * The kernel must be told the pieces before it says what comes, so they are those of the last super-packet: flows are
 * long and of one MSS. What comes otherwise is moved.
 */
export interface Spread {
  /** Reads a batch; returns the number of packets, or -errno. */
  read(): number;
  /** Says of which form super-packets are now. */
  expect(header: number, segment: number): void;
  /** True if a super-packet of this form lies as it is going to be sent. */
  isOf(header: number, segment: number): boolean;
  /** Copies the header of the super-packet at `offset`, and `length` bytes of its payload behind it. */
  copySegment(offset: number, header: number, from: number, length: number, to: number): void;
  /** Puts a packet together that is none to split. */
  gather(offset: number, length: number): void;
}

export function createSpread(native: Native, memory: SharedMemory): Spread {
  const { outboundSlab } = memory;
  // Of the batch at hand, and of the next one. A segment of 0: packets lie in one piece.
  const form = { header: 0, segment: 0, nextHeader: 0, nextSegment: 0 };

  /** Copies bytes `from` .. `to` of the packet at `offset`, wherever its pieces lie. */
  function copy(offset: number, from: number, to: number, target: number): void {
    const { header, segment } = form;
    for (let at = from, moved = target; at < to; ) {
      const piece = segment === 0 || at < header ? 0 : ((at - header) / segment) | 0;
      const end = segment === 0 ? to : Math.min(to, header + (piece + 1) * segment);
      const start = offset + at + piece * header;
      outboundSlab.copyWithin(moved, start, start + end - at);
      moved += end - at;
      at = end;
    }
  }

  function read(): number {
    return native.readTun(OUTBOUND_BATCH, OUTBOUND_READ_BYTES, OUTBOUND_ENOUGH_BYTES, form.header, form.segment);
  }

  return {
    read() {
      form.header = form.nextHeader;
      form.segment = form.nextSegment;
      const count = read();
      if (count !== RING_FAILED) return count;
      lowerRing(native, memory);
      return read();
    },
    expect(header, segment) {
      if (segment < MIN_SPREAD_SEGMENT) return;
      form.nextHeader = header;
      form.nextSegment = segment;
    },
    isOf: (header, segment) => segment === form.segment && header === form.header,
    copySegment(offset, header, from, length, to) {
      copy(offset, 0, header, to);
      copy(offset, header + from, header + from + length, to + header);
    },
    gather(offset, length) {
      const first = form.header + form.segment;
      if (form.segment !== 0 && length > first) copy(offset, first, length, offset + first);
    },
  };
}
