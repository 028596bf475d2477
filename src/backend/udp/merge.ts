import { GSO_TCP4, GSO_UDP, SLAB_HEADERS, SLAB_INBOUND, VNET_NEEDS_CHECKSUM } from '../../system/native.js';
import {
  checksumOf,
  copyHeader,
  fold,
  fragmentOf,
  headerLengthOf,
  MIN_HEADER_BYTES,
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
import { HEADER_SLOT_BYTES, HEADER_SLOTS, MAX_TRAIN_SEGMENTS, type SharedMemory, viewOf } from './memory.js';
import { TUN_GRO_TCP, TUN_GRO_UDP } from './offloads.js';
import type { WriteBatch } from './write-batch.js';

/**
 * Merges neighbours of one flow into a super-packet, the way back from split.ts (kernel: tcp_gro_receive(),
 * udp_gro_receive()). What was split arrives as it was sent; what merely looks alike is left alone:
 *
 *     received:  [IP TCP][payload 1] [IP TCP][payload 2] [IP TCP][pay 3]
 *     written:   | IP TCP' | payload 1 | payload 2 | pay 3 |              one writev, payload where it was received
 *
 * Only packets whose checksum was found right are merged: the kernel computes a new one for the whole, so a wrong one
 * would be laundered. A packet that cannot be merged ends the open chain before it is queued, so order is kept.
 */
/** No packet with IP options is ever merged. */
const IP_HEADER_BYTES = MIN_HEADER_BYTES;
const TCP_ECE = 0x40;
const TCP_ACK = 0x10;
const DONT_FRAGMENT = 0x4000;
const MAX_PACKET_BYTES = 65535;

export interface Merger {
  /** True if the packet might be merged, so that its checksum is worth verifying. */
  isCandidate(offset: number, length: number): boolean;
  /** Start of the bytes that its checksum covers. */
  checksumStart(offset: number): number;
  /** True if the checksum over the bytes that sum up to `sum` is right. */
  checksumIsRight(offset: number, length: number, sum: number): boolean;
  /** Takes a candidate with a right checksum: joins the open chain or opens a new one. */
  merge(offset: number, length: number): void;
  /** Ends the open chain: what it holds is queued. */
  close(): void;
  /** All that was queued has been written: the headers' memory is free again. */
  reset(): void;
}

/** @param flush writes what is queued and calls reset() */
export function createMerger(memory: SharedMemory, writes: WriteBatch, flush: () => void): Merger {
  const { offloads } = memory;
  const packets = viewOf(memory.inboundSlab);
  const headers = viewOf(memory.headers);
  let slots = 0;

  // The open chain: `first` is where its first packet starts, -1 if none is open.
  let first = -1;
  let firstLength = 0;
  let last = 0;
  let headerLength = 0;
  let size = 0;
  let count = 0;
  let payloadBytes = 0;
  /** No packet may join any more: a short one, or a push, was the last. */
  let ended = false;

  function isCandidate(offset: number, length: number): boolean {
    // No IP options, no fragment: version and header length 0x45, no MF, no offset.
    if (packets.getUint8(offset) !== 0x45 || fragmentOf(packets, offset) !== 0) return false;
    // The header's checksum will be a new one too.
    if (checksumOf(packets, offset, IP_HEADER_BYTES) !== 0) return false;
    const protocol = protocolOf(packets, offset);
    const transport = offset + IP_HEADER_BYTES;
    if (protocol === PROTOCOL_UDP) {
      // Checksum 0 is "none": nothing tells whether the packet is intact.
      return (
        offloads[TUN_GRO_UDP] !== 0 &&
        length > IP_HEADER_BYTES + UDP_HEADER_BYTES &&
        packets.getUint16(transport + 4) === length - IP_HEADER_BYTES &&
        packets.getUint16(transport + UDP_CHECKSUM) !== 0
      );
    }
    if (protocol !== PROTOCOL_TCP || offloads[TUN_GRO_TCP] === 0 || length < IP_HEADER_BYTES + 20) return false;
    const tcpLength = tcpHeaderLengthOf(packets, transport);
    // SYN, FIN, RST, URG and CWR mean something about this one packet.
    const flags = packets.getUint8(transport + 13) & ~(TCP_PSH | TCP_ECE);
    return tcpLength >= 20 && flags === TCP_ACK && length > IP_HEADER_BYTES + tcpLength;
  }

  function checksumIsRight(offset: number, length: number, sum: number): boolean {
    const pseudo = sumOfWords(packets, offset + 12, 8) + protocolOf(packets, offset) + length - IP_HEADER_BYTES;
    return fold(pseudo + sum) === 0xffff;
  }

  function merge(offset: number, length: number): void {
    if (joins(offset, length)) {
      const payload = length - headerLength;
      writes.addPiece(SLAB_INBOUND, offset + headerLength, payload);
      last = offset;
      count++;
      payloadBytes += payload;
      ended = payload < size || count === MAX_TRAIN_SEGMENTS || isPushed(offset);
      return;
    }
    close();
    open(offset, length);
  }

  function open(offset: number, length: number): void {
    if (slots === HEADER_SLOTS || writes.isFull(MAX_TRAIN_SEGMENTS + 1)) flush();
    first = last = offset;
    firstLength = length;
    const isTcp = protocolOf(packets, offset) === PROTOCOL_TCP;
    headerLength = IP_HEADER_BYTES + (isTcp ? tcpHeaderLengthOf(packets, offset + IP_HEADER_BYTES) : UDP_HEADER_BYTES);
    size = payloadBytes = length - headerLength;
    count = 1;
    ended = isPushed(offset);
    writes.addPiece(SLAB_HEADERS, slots * HEADER_SLOT_BYTES, headerLength);
    writes.addPiece(SLAB_INBOUND, offset + headerLength, size);
  }

  const isPushed = (offset: number) =>
    protocolOf(packets, offset) === PROTOCOL_TCP && (packets.getUint8(offset + IP_HEADER_BYTES + 13) & TCP_PSH) !== 0;

  /** Whether the packet is the next one of the open chain's flow, alike in all that a super-packet says only once. */
  function joins(offset: number, length: number): boolean {
    if (first < 0 || ended || length - headerLength > size) return false;
    if (headerLength + payloadBytes + length - headerLength > MAX_PACKET_BYTES) return false;
    // Version, header length and ToS; TTL and protocol; both addresses; both ports.
    if (
      packets.getUint16(offset) !== packets.getUint16(first) ||
      packets.getUint16(offset + 6) !== packets.getUint16(first + 6) ||
      packets.getUint16(offset + 8) !== packets.getUint16(first + 8) ||
      packets.getInt32(offset + 12) !== packets.getInt32(first + 12) ||
      packets.getInt32(offset + 16) !== packets.getInt32(first + 16) ||
      packets.getInt32(offset + 20) !== packets.getInt32(first + 20)
    ) {
      return false;
    }
    // With DF the identification means nothing (RFC 6864); without it, the kernel will count on from the first one.
    if ((packets.getUint16(first + 6) & DONT_FRAGMENT) === 0) {
      const expected = (packets.getUint16(first + 4) + count) & 0xffff;
      if (packets.getUint16(offset + 4) !== expected) return false;
    }
    return protocolOf(packets, first) === PROTOCOL_UDP || isNextOfTcp(offset);
  }

  function isNextOfTcp(offset: number): boolean {
    const tcp = offset + IP_HEADER_BYTES;
    const firstTcp = first + IP_HEADER_BYTES;
    const expected = (packets.getInt32(firstTcp + 4) + payloadBytes) | 0;
    if (packets.getInt32(tcp + 4) !== expected) return false;
    if (packets.getInt32(tcp + 8) !== packets.getInt32(firstTcp + 8)) return false;
    // Header length, flags but PSH, window, as the kernel compares them; urgent pointer and options below.
    const different = packets.getInt32(tcp + 12) ^ packets.getInt32(firstTcp + 12);
    if ((different & ~(TCP_PSH << 16)) !== 0) return false;
    if (packets.getUint16(tcp + 18) !== packets.getUint16(firstTcp + 18)) return false;
    for (let i = 20; i < headerLength - IP_HEADER_BYTES; i += 4) {
      if (packets.getInt32(tcp + i) !== packets.getInt32(firstTcp + i)) return false;
    }
    return true;
  }

  function close(): void {
    if (first < 0) return;
    if (count === 1) {
      writes.discard();
      writes.queue(SLAB_INBOUND, first, firstLength);
    } else {
      const isTcp = protocolOf(packets, first) === PROTOCOL_TCP;
      writeHeader(slots++ * HEADER_SLOT_BYTES, isTcp);
      const type = isTcp ? GSO_TCP4 : GSO_UDP;
      writes.commit(
        VNET_NEEDS_CHECKSUM,
        type,
        headerLength,
        size,
        IP_HEADER_BYTES,
        isTcp ? TCP_CHECKSUM : UDP_CHECKSUM,
      );
    }
    first = -1;
  }

  function writeHeader(at: number, isTcp: boolean): void {
    copyHeader(packets, first, headers, at, headerLength);
    const total = headerLength + payloadBytes;
    const transport = at + IP_HEADER_BYTES;
    const transportLength = total - IP_HEADER_BYTES;
    headers.setUint16(at + 2, total);
    headers.setUint16(at + 10, 0);
    headers.setUint16(at + 10, checksumOf(headers, at, IP_HEADER_BYTES));
    // The last packet's PSH is the whole one's.
    const flags = headers.getUint8(transport + 13) | (packets.getUint8(last + IP_HEADER_BYTES + 13) & TCP_PSH);
    if (isTcp) headers.setUint8(transport + 13, flags);
    else headers.setUint16(transport + 4, transportLength);
    // With NEEDS_CSUM the field holds the sum of the pseudo header, not inverted.
    const pseudo = sumOfWords(headers, at + 12, 8) + (isTcp ? PROTOCOL_TCP : PROTOCOL_UDP) + transportLength;
    headers.setUint16(transport + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM), fold(pseudo));
  }

  return {
    isCandidate,
    checksumStart: (offset) => offset + headerLengthOf(packets, offset),
    checksumIsRight,
    merge,
    close,
    reset() {
      slots = 0;
    },
  };
}
