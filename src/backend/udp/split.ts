import type { Ipv4 } from '../../core/ipv4.js';
import { GSO_ECN, GSO_TCP4, GSO_UDP, SLAB_HEADERS, SLAB_OUTBOUND, VNET_NEEDS_CHECKSUM } from '../../system/native.js';
import type { ChecksumBatch } from './checksum-batch.js';
import {
  copyHeader,
  fold,
  fragmentOf,
  headerLengthOf,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  protocolOf,
  sumOfWords,
  TCP_CHECKSUM,
  TCP_PSH,
  tcpHeaderLengthOf,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
} from './ipv4-packet.js';
import { HEADER_SLOT_BYTES, HEADER_SLOTS, type SharedMemory, viewOf } from './memory.js';
import type { SendBatch } from './send-batch.js';

/**
 * Splits a super-packet into the packets that the sender meant (TCP: RFC 9293; kernel: tcp_gso_segment(),
 * __udp_gso_segment()). Only headers are written anew; the payload is sent from where it was read:
 *
 *     read:   | IP TCP | payload 1 | payload 2 | pay 3 |
 *     sent:   [IP TCP'][payload 1]  [IP TCP"][payload 2]  [IP TCP"'][pay 3]
 *
 * For each segment: total length, identification + i and header checksum of IP; sequence number of TCP; FIN and PSH on
 * the last one only, CWR on the first one only; length of UDP; the transport checksum.
 */

const TCP_FIN = 0x01;
const TCP_CWR = 0x80;

export interface Splitter {
  /** True if this packet, as TUN handed it over, is one that split() understands. */
  isValid(record: number): boolean;
  /** Returns how many packets it made. */
  split(record: number, nextHop: Ipv4): number;
  /** Length of the header that each of those packets got. */
  headerLength(record: number): number;
  /** Puts a plain packet's unfinished checksum on the list; false if its fields make no sense. */
  finishChecksum(record: number): boolean;
  /** Room for one header, as an offset among the headers. */
  takeSlot(): number;
  /** All headers have been sent: their room is free again. */
  reset(): void;
}

/** @param flush sends what is queued and calls reset() */
export function createSplitter(
  memory: SharedMemory,
  sends: SendBatch,
  checksums: ChecksumBatch,
  flush: () => void,
): Splitter {
  const { tunPackets } = memory;
  const packets = viewOf(memory.outboundSlab);
  const headers = viewOf(memory.headers);
  let slots = 0;

  /** Sends what there is when there is no room left. */
  function takeSlot(): number {
    if (slots === HEADER_SLOTS || sends.isFull() || checksums.isFull()) flush();
    return slots++ * HEADER_SLOT_BYTES;
  }

  function isValid(record: number): boolean {
    const offset = tunPackets[record];
    const length = tunPackets[record + 1];
    const type = tunPackets[record + 3] & ~GSO_ECN;
    const size = tunPackets[record + 5];
    const transport = headerLengthOf(packets, offset);
    // csum_start says where the kernel takes the transport header to be; hdr_len is not trustworthy when forwarding.
    if (size === 0 || (tunPackets[record + 2] & VNET_NEEDS_CHECKSUM) === 0) return false;
    if (tunPackets[record + 6] !== transport || fragmentOf(packets, offset) !== 0) return false;
    const protocol = protocolOf(packets, offset);
    if (type === GSO_UDP) return protocol === PROTOCOL_UDP && transport + UDP_HEADER_BYTES <= length;
    if (type !== GSO_TCP4 || protocol !== PROTOCOL_TCP || transport + 20 > length) return false;
    const tcpLength = tcpHeaderLengthOf(packets, offset + transport);
    return tcpLength >= 20 && transport + tcpLength <= length;
  }

  function split(record: number, nextHop: Ipv4): number {
    const offset = tunPackets[record];
    const end = offset + tunPackets[record + 1];
    const isTcp = protocolOf(packets, offset) === PROTOCOL_TCP;
    const size = tunPackets[record + 5];
    const transport = headerLengthOf(packets, offset);
    const headerLength = headerLengthOfBoth(record);
    const transportLength = headerLength - transport;
    const ipBase = ipSumWithoutVarying(offset, transport);
    const base = transportSumWithoutVarying(offset, transport, transportLength, isTcp);

    const start = offset + headerLength;
    let i = 0;
    // A super-packet without payload is one packet; the kernel sends none, but its header must not be lost.
    for (let from = start; from < end || i === 0; from += size, i++) {
      const payload = Math.min(size, end - from);
      const at = takeSlot();
      copyHeader(packets, offset, headers, at, headerLength);
      writeIpHeader(at, headerLength + payload, i, ipBase);
      const last = from + size >= end;
      const sum = isTcp
        ? base + writeTcpHeader(at + transport, from - start, i === 0, last) + transportLength + payload
        : base + writeUdpHeader(at + transport, payload) + UDP_HEADER_BYTES + payload;
      const field = at + transport + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
      checksums.queue(SLAB_OUTBOUND, from, payload, fold(sum), SLAB_HEADERS, field, !isTcp);
      sends.queue(nextHop, SLAB_HEADERS, at, headerLength, SLAB_OUTBOUND, from, payload);
    }
    return i;
  }

  function headerLengthOfBoth(record: number): number {
    const offset = tunPackets[record];
    const transport = headerLengthOf(packets, offset);
    const isTcp = protocolOf(packets, offset) === PROTOCOL_TCP;
    return transport + (isTcp ? tcpHeaderLengthOf(packets, offset + transport) : UDP_HEADER_BYTES);
  }

  /** Sum of the IP header less total length, identification and checksum. */
  function ipSumWithoutVarying(offset: number, headerLength: number): number {
    return sumOfWords(packets, offset, headerLength) - word(offset + 2) - word(offset + 4) - word(offset + 10);
  }

  function writeIpHeader(at: number, totalLength: number, i: number, base: number): void {
    const identification = (headers.getUint16(at + 4) + i) & 0xffff;
    headers.setUint16(at + 2, totalLength);
    headers.setUint16(at + 4, identification);
    headers.setUint16(at + 10, ~fold(base + totalLength + identification));
  }

  /** Sum of pseudo header (RFC 9293 3.1) and transport header, less what differs between segments. */
  function transportSumWithoutVarying(offset: number, transport: number, length: number, isTcp: boolean): number {
    const header = offset + transport;
    const pseudo = sumOfWords(packets, offset + 12, 8) + (isTcp ? PROTOCOL_TCP : PROTOCOL_UDP);
    if (!isTcp) return pseudo + word(header) + word(header + 2);
    const varying = word(header + 4) + word(header + 6) + word(header + 12) + word(header + TCP_CHECKSUM);
    return pseudo + sumOfWords(packets, header, length) - varying;
  }

  /** Returns the sum of what it wrote. */
  function writeTcpHeader(tcp: number, advance: number, isFirst: boolean, isLast: boolean): number {
    const sequence = (headers.getInt32(tcp + 4) + advance) | 0;
    headers.setInt32(tcp + 4, sequence);
    const cleared = (isLast ? 0 : TCP_FIN | TCP_PSH) | (isFirst ? 0 : TCP_CWR);
    const lengthAndFlags = headers.getUint16(tcp + 12) & ~cleared;
    headers.setUint16(tcp + 12, lengthAndFlags);
    return (sequence >>> 16) + (sequence & 0xffff) + lengthAndFlags;
  }

  function writeUdpHeader(udp: number, payload: number): number {
    headers.setUint16(udp + 4, UDP_HEADER_BYTES + payload);
    return UDP_HEADER_BYTES + payload;
  }

  function finishChecksum(record: number): boolean {
    const offset = tunPackets[record];
    const length = tunPackets[record + 1];
    const start = tunPackets[record + 6];
    const field = start + tunPackets[record + 7];
    if (start < headerLengthOf(packets, offset) || start >= length || field + 2 > length) return false;
    if (checksums.isFull()) flush();
    // The field holds the sum of the pseudo header, so it is summed with the rest (virtio 1.2, 5.1.6.2).
    const isUdp = protocolOf(packets, offset) === PROTOCOL_UDP;
    checksums.queue(SLAB_OUTBOUND, offset + start, length - start, 0, SLAB_OUTBOUND, offset + field, isUdp);
    return true;
  }

  const word = (at: number) => packets.getUint16(at);

  return {
    isValid,
    split,
    headerLength: headerLengthOfBoth,
    finishChecksum,
    takeSlot,
    reset() {
      slots = 0;
    },
  };
}
