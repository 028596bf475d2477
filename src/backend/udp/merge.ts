import { GSO_TCP4, GSO_UDP, SLAB_HEADERS, SLAB_INBOUND, VNET_NEEDS_CHECKSUM } from '../../system/native.js';
import { fold } from './checksum-batch.js';
import {
  checksumOf,
  headerLengthOf,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  protocolOf,
  readInt32,
  readUint16,
  TCP_CHECKSUM,
  TCP_PSH,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
  writeUint16,
} from './ipv4-packet.js';
import { HEADER_SLOT_BYTES, HEADER_SLOTS, MAX_TRAIN_SEGMENTS, type SharedMemory } from './memory.js';
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
const IP_HEADER_BYTES = 20;
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
  const { inboundSlab, headers, offloads } = memory;
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
    if (inboundSlab[offset] !== 0x45 || (readUint16(inboundSlab, offset + 6) & 0x3fff) !== 0) return false;
    // The header's checksum will be a new one too.
    if (checksumOf(inboundSlab, offset, IP_HEADER_BYTES) !== 0) return false;
    const protocol = protocolOf(inboundSlab, offset);
    const transport = offset + IP_HEADER_BYTES;
    if (protocol === PROTOCOL_UDP) {
      // Checksum 0 is "none": nothing tells whether the packet is intact.
      return (
        offloads[TUN_GRO_UDP] !== 0 &&
        length > IP_HEADER_BYTES + UDP_HEADER_BYTES &&
        readUint16(inboundSlab, transport + 4) === length - IP_HEADER_BYTES &&
        readUint16(inboundSlab, transport + UDP_CHECKSUM) !== 0
      );
    }
    if (protocol !== PROTOCOL_TCP || offloads[TUN_GRO_TCP] === 0 || length < IP_HEADER_BYTES + 20) return false;
    const tcpLength = (inboundSlab[transport + 12] >>> 4) << 2;
    // SYN, FIN, RST, URG and CWR mean something about this one packet.
    const flags = inboundSlab[transport + 13] & ~(TCP_PSH | TCP_ECE);
    return tcpLength >= 20 && flags === TCP_ACK && length > IP_HEADER_BYTES + tcpLength;
  }

  function checksumIsRight(offset: number, length: number, sum: number): boolean {
    let pseudo = protocolOf(inboundSlab, offset) + length - IP_HEADER_BYTES;
    for (let i = 12; i < 20; i += 2) pseudo += readUint16(inboundSlab, offset + i);
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
    const isTcp = protocolOf(inboundSlab, offset) === PROTOCOL_TCP;
    headerLength =
      IP_HEADER_BYTES + (isTcp ? (inboundSlab[offset + IP_HEADER_BYTES + 12] >>> 4) << 2 : UDP_HEADER_BYTES);
    size = payloadBytes = length - headerLength;
    count = 1;
    ended = isPushed(offset);
    writes.addPiece(SLAB_HEADERS, slots * HEADER_SLOT_BYTES, headerLength);
    writes.addPiece(SLAB_INBOUND, offset + headerLength, size);
  }

  const isPushed = (offset: number) =>
    protocolOf(inboundSlab, offset) === PROTOCOL_TCP && (inboundSlab[offset + IP_HEADER_BYTES + 13] & TCP_PSH) !== 0;

  /** Whether the packet is the next one of the open chain's flow, alike in all that a super-packet says only once. */
  function joins(offset: number, length: number): boolean {
    if (first < 0 || ended || length - headerLength > size) return false;
    if (headerLength + payloadBytes + length - headerLength > MAX_PACKET_BYTES) return false;
    // Version, header length and ToS; TTL and protocol; both addresses; both ports.
    if (
      readUint16(inboundSlab, offset) !== readUint16(inboundSlab, first) ||
      readUint16(inboundSlab, offset + 6) !== readUint16(inboundSlab, first + 6) ||
      readUint16(inboundSlab, offset + 8) !== readUint16(inboundSlab, first + 8) ||
      readInt32(inboundSlab, offset + 12) !== readInt32(inboundSlab, first + 12) ||
      readInt32(inboundSlab, offset + 16) !== readInt32(inboundSlab, first + 16) ||
      readInt32(inboundSlab, offset + 20) !== readInt32(inboundSlab, first + 20)
    ) {
      return false;
    }
    // With DF the identification means nothing (RFC 6864); without it, the kernel will count on from the first one.
    if ((readUint16(inboundSlab, first + 6) & DONT_FRAGMENT) === 0) {
      const expected = (readUint16(inboundSlab, first + 4) + count) & 0xffff;
      if (readUint16(inboundSlab, offset + 4) !== expected) return false;
    }
    return protocolOf(inboundSlab, first) === PROTOCOL_UDP || isNextOfTcp(offset);
  }

  function isNextOfTcp(offset: number): boolean {
    const tcp = offset + IP_HEADER_BYTES;
    const firstTcp = first + IP_HEADER_BYTES;
    const expected = (readInt32(inboundSlab, firstTcp + 4) + payloadBytes) | 0;
    if (readInt32(inboundSlab, tcp + 4) !== expected) return false;
    if (readInt32(inboundSlab, tcp + 8) !== readInt32(inboundSlab, firstTcp + 8)) return false;
    // Header length, flags but PSH, window, as the kernel compares them; urgent pointer and options below.
    const different = readInt32(inboundSlab, tcp + 12) ^ readInt32(inboundSlab, firstTcp + 12);
    if ((different & ~(TCP_PSH << 16)) !== 0) return false;
    for (let i = 18; i < headerLength - IP_HEADER_BYTES; i += 2) {
      if (readUint16(inboundSlab, tcp + i) !== readUint16(inboundSlab, firstTcp + i)) return false;
    }
    return true;
  }

  function close(): void {
    if (first < 0) return;
    if (count === 1) {
      writes.discard();
      writes.queue(SLAB_INBOUND, first, firstLength);
    } else {
      const isTcp = protocolOf(inboundSlab, first) === PROTOCOL_TCP;
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
    for (let i = 0; i < headerLength; i++) headers[at + i] = inboundSlab[first + i];
    const total = headerLength + payloadBytes;
    const transport = at + IP_HEADER_BYTES;
    const transportLength = total - IP_HEADER_BYTES;
    writeUint16(headers, at + 2, total);
    let ip = 0;
    for (let i = 0; i < IP_HEADER_BYTES; i += 2) if (i !== 10) ip += readUint16(headers, at + i);
    writeUint16(headers, at + 10, ~fold(ip));
    // The last packet's PSH is the whole one's.
    if (isTcp) headers[transport + 13] |= inboundSlab[last + IP_HEADER_BYTES + 13] & TCP_PSH;
    else writeUint16(headers, transport + 4, transportLength);
    // With NEEDS_CSUM the field holds the sum of the pseudo header, not inverted.
    let pseudo = (isTcp ? PROTOCOL_TCP : PROTOCOL_UDP) + transportLength;
    for (let i = 12; i < 20; i += 2) pseudo += readUint16(headers, at + i);
    writeUint16(headers, transport + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM), fold(pseudo));
  }

  return {
    isCandidate,
    checksumStart: (offset) => offset + headerLengthOf(inboundSlab, offset),
    checksumIsRight,
    merge,
    close,
    reset() {
      slots = 0;
    },
  };
}
