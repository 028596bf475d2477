import { GSO_ECN, GSO_TCP4, GSO_UDP, VNET_NEEDS_CHECKSUM } from '../../../system/native.js';
import { OUTBOUND_READ_BYTES, OUTBOUND_SPARE_BYTES, type SharedMemory, viewOf } from '../tables/memory.js';
import { fold, sumOfWords } from '../wire/checksum.js';
import {
  fragmentOf,
  headerLengthOf,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  protocolOf,
  TCP_CHECKSUM,
  TCP_PSH,
  tcpHeaderLengthOf,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
} from '../wire/ipv4-packet.js';
import type { ChecksumBatch } from './checksum-batch.js';
import type { SendBatch } from './send-batch.js';
import type { Spread } from './spread.js';

/** Fields of records (native/src/rudder.h). */
const PACKET_OFFSET = 0;
const PACKET_LENGTH = 1;
const PACKET_VNET_FLAGS = 2;
const PACKET_GSO_TYPE = 3;
const PACKET_GSO_SIZE = 5;
const PACKET_CSUM_START = 6;
const PACKET_CSUM_OFFSET = 7;

/**
 * Splits a super-packet into the packets that the sender meant (TCP: RFC 9293; kernel: tcp_gso_segment(),
 * __udp_gso_segment()). Only headers are written, into the room that the read has left for them (spread.ts):
 *
 *     read:   | IP TCP | payload 1 |        | payload 2 |        | pay 3 |
 *     sent:   |IP TCP' | payload 1 |IP TCP" | payload 2 |IP TCP"'| pay 3 |     one piece, which the kernel cuts
 *
 * For each segment: total length, identification + i, TTL (the copies are older than its decrement) and header checksum
 * of IP; sequence number of TCP; FIN and PSH on the last one only, CWR on the first one only; length of UDP; the
 * transport checksum.
 */

const TCP_FIN = 0x01;
const TCP_CWR = 0x80;
/**
 * A container with a packet socket chooses the size of the segments itself, and of one byte each a super-packet would be
 * sixty thousand packets. A kernel makes fewer: UDP_MAX_SEGMENTS is 128 since Linux 6.9, and of TCP_MIN_SND_MSS, 48 bytes,
 * timestamps take 12, so that 64 KB are 1820.
 */
const MAX_SEGMENTS = 2048;
/** A super-packet of another form than expected is put into its own in the spare part of the slab. */
const SPARE_END = OUTBOUND_READ_BYTES + OUTBOUND_SPARE_BYTES;

export interface Splitter {
  /** True if this packet, as TUN handed it over, is one that split() understands. */
  isValid(record: number): boolean;
  /** True if so small segments are of no kernel's making. */
  isTooMany(record: number): boolean;
  /** Returns how many packets it made. */
  split(record: number, peer: number): number;
  /** Length of the header that each of those packets got. */
  headerLength(record: number): number;
  /** Puts a plain packet's unfinished checksum on the list; false if its fields make no sense. */
  finishChecksum(record: number): boolean;
  /** All has been sent: the spare part of the slab is free again. */
  reset(): void;
}

export function createSplitter(
  memory: SharedMemory,
  spread: Spread,
  sends: SendBatch,
  checksums: ChecksumBatch,
): Splitter {
  const { tunPackets } = memory;
  const packets = viewOf(memory.outboundSlab);
  const word = (at: number) => packets.getUint16(at);
  const spare = { next: OUTBOUND_READ_BYTES };
  // What all headers of a super-packet have in common, and what the first one says of that in which they differ.
  const first = {
    isTcp: false,
    transport: 0,
    identification: 0,
    ttlAndProtocol: 0,
    sequence: 0,
    lengthAndFlags: 0,
    ipSum: 0,
    transportSum: 0,
  };

  function isValid(record: number): boolean {
    const offset = tunPackets[record + PACKET_OFFSET];
    const length = tunPackets[record + PACKET_LENGTH];
    const type = tunPackets[record + PACKET_GSO_TYPE] & ~GSO_ECN;
    const size = tunPackets[record + PACKET_GSO_SIZE];
    const ipLength = headerLengthOf(packets, offset);
    // csum_start says where the kernel takes the transport header to be; hdr_len is not trustworthy when forwarding.
    if (size === 0 || (tunPackets[record + PACKET_VNET_FLAGS] & VNET_NEEDS_CHECKSUM) === 0) return false;
    if (tunPackets[record + PACKET_CSUM_START] !== ipLength || fragmentOf(packets, offset) !== 0) return false;
    const protocol = protocolOf(packets, offset);
    if (type === GSO_UDP) return protocol === PROTOCOL_UDP && ipLength + UDP_HEADER_BYTES <= length;
    if (type !== GSO_TCP4 || protocol !== PROTOCOL_TCP || ipLength + 20 > length) return false;
    const tcpLength = tcpHeaderLengthOf(packets, offset + ipLength);
    return tcpLength >= 20 && ipLength + tcpLength <= length;
  }

  function isTooMany(record: number): boolean {
    return (
      tunPackets[record + PACKET_LENGTH] - headerLengthOfBoth(record) >
      MAX_SEGMENTS * tunPackets[record + PACKET_GSO_SIZE]
    );
  }

  function split(record: number, peer: number): number {
    const offset = tunPackets[record + PACKET_OFFSET];
    const size = tunPackets[record + PACKET_GSO_SIZE];
    const headerLength = headerLengthOfBoth(record);
    const payloadBytes = tunPackets[record + PACKET_LENGTH] - headerLength;
    readHeader(offset);
    spread.expect(headerLength, size);
    const isInPlace = spread.isOf(headerLength, size);

    const stride = headerLength + size;
    let run = isInPlace ? offset : spare.next;
    let at = run;
    let i = 0;
    // A super-packet without payload is one packet; the kernel sends none, but its header must not be lost.
    for (let from = 0; from < payloadBytes || i === 0; from += size, i++) {
      const payload = Math.min(size, payloadBytes - from);
      if (!isInPlace) {
        if (at + stride > SPARE_END) {
          sends.queue(peer, run, stride, at - run);
          sends.flush();
          run = at = OUTBOUND_READ_BYTES;
        }
        spread.copySegment(offset, headerLength, from, payload, at);
      }
      writeHeader(at, headerLength, payload, i, from, from + size >= payloadBytes);
      at += headerLength + payload;
    }
    sends.queue(peer, run, stride, at - run);
    if (!isInPlace) spare.next = at;
    return i;
  }

  function headerLengthOfBoth(record: number): number {
    const offset = tunPackets[record + PACKET_OFFSET];
    const ipLength = headerLengthOf(packets, offset);
    if (protocolOf(packets, offset) === PROTOCOL_UDP) return ipLength + UDP_HEADER_BYTES;
    return ipLength + tcpHeaderLengthOf(packets, offset + ipLength);
  }

  function readHeader(offset: number): void {
    const isTcp = protocolOf(packets, offset) === PROTOCOL_TCP;
    const transport = headerLengthOf(packets, offset);
    const header = offset + transport;
    first.isTcp = isTcp;
    first.transport = transport;
    first.identification = word(offset + 4);
    first.ttlAndProtocol = word(offset + 8);
    first.ipSum = sumOfWords(packets, offset, transport) - word(offset + 2) - word(offset + 4) - word(offset + 10);
    // The pseudo header (RFC 9293 3.1) less its length.
    const pseudo = sumOfWords(packets, offset + 12, 8) + protocolOf(packets, offset);
    if (!isTcp) {
      first.transportSum = pseudo + word(header) + word(header + 2);
      return;
    }
    first.sequence = packets.getInt32(header + 4);
    first.lengthAndFlags = word(header + 12);
    const varying = word(header + 4) + word(header + 6) + word(header + 12) + word(header + TCP_CHECKSUM);
    first.transportSum = pseudo + sumOfWords(packets, header, tcpHeaderLengthOf(packets, header)) - varying;
  }

  /** Writes what differs into the copy of the first header at `at`, and puts its checksum on the list. */
  function writeHeader(at: number, length: number, payload: number, i: number, from: number, isLast: boolean): void {
    const identification = (first.identification + i) & 0xffff;
    packets.setUint16(at + 2, length + payload);
    packets.setUint16(at + 4, identification);
    packets.setUint16(at + 8, first.ttlAndProtocol);
    packets.setUint16(at + 10, ~fold(first.ipSum + length + payload + identification));
    const header = at + first.transport;
    const transportLength = length - first.transport + payload;
    let rest = first.transportSum + transportLength;
    if (first.isTcp) {
      const sequence = (first.sequence + from) | 0;
      const flags = first.lengthAndFlags & ~((isLast ? 0 : TCP_FIN | TCP_PSH) | (i === 0 ? 0 : TCP_CWR));
      packets.setInt32(header + 4, sequence);
      packets.setUint16(header + 12, flags);
      rest += (sequence >>> 16) + (sequence & 0xffff) + flags;
      checksums.queue(at + length, payload, rest, header + TCP_CHECKSUM, false);
    } else {
      packets.setUint16(header + 4, transportLength);
      checksums.queue(at + length, payload, rest + transportLength, header + UDP_CHECKSUM, true);
    }
  }

  function finishChecksum(record: number): boolean {
    const offset = tunPackets[record + PACKET_OFFSET];
    const length = tunPackets[record + PACKET_LENGTH];
    const start = tunPackets[record + PACKET_CSUM_START];
    const field = start + tunPackets[record + PACKET_CSUM_OFFSET];
    if (start < headerLengthOf(packets, offset) || start >= length || field + 2 > length) return false;
    // The field holds the sum of the pseudo header, so it is summed with the rest (virtio 1.2, 5.1.6.2).
    const isUdp = protocolOf(packets, offset) === PROTOCOL_UDP;
    checksums.queue(offset + start, length - start, 0, offset + field, isUdp);
    return true;
  }

  return {
    isValid,
    isTooMany,
    split,
    headerLength: headerLengthOfBoth,
    finishChecksum,
    reset() {
      spare.next = OUTBOUND_READ_BYTES;
    },
  };
}
