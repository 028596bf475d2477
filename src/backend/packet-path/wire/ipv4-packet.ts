import type { Ipv4 } from '../../../core/ipv4.js';

/**
 * Reading and patching IPv4 packets (RFC 791) in place. Every function takes the bytes and the offset at which the
 * packet starts; except for isWellFormed() they rely on it having said yes.
 *
 * A DataView reads in network order by default, at any alignment, and once compiled is one load where two or four
 * bytes of a Uint8Array are two or four, each with its own bounds check: a third of the time.
 */
export const MIN_HEADER_BYTES = 20;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

/** Where the checksum lies in a TCP or UDP header, and what else both splitting and merging must know of them. */
export const TCP_CHECKSUM = 16;
export const TCP_PSH = 0x08;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_BYTES = 8;

const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;

/** Where both addresses lie. Without IP options the transport header is behind them: with them it is one range to sum. */
export const ADDRESSES = SOURCE;

/** True if `length` bytes are exactly one IPv4 packet: version, header length and total length agree with them. */
export function isWellFormed(packets: DataView, offset: number, length: number): boolean {
  if (length < MIN_HEADER_BYTES) return false;
  const firstWord = packets.getInt32(offset);
  const headerLength = (firstWord >>> 22) & 0x3c;
  return (
    firstWord >>> 28 === 4 &&
    headerLength >= MIN_HEADER_BYTES &&
    headerLength <= length &&
    (firstWord & 0xffff) === length
  );
}

export function totalLengthOf(packets: DataView, offset: number): number {
  return packets.getUint16(offset + 2);
}

export function headerLengthOf(packets: DataView, offset: number): number {
  return (packets.getUint8(offset) & 15) << 2;
}

export function sourceOf(packets: DataView, offset: number): Ipv4 {
  return packets.getInt32(offset + SOURCE);
}

export function destinationOf(packets: DataView, offset: number): Ipv4 {
  return packets.getInt32(offset + DESTINATION);
}

export function protocolOf(packets: DataView, offset: number): number {
  return packets.getUint8(offset + PROTOCOL);
}

/** @param tcp where the TCP header starts, of which 13 bytes are there */
export function tcpHeaderLengthOf(packets: DataView, tcp: number): number {
  return (packets.getUint8(tcp + 12) >>> 4) << 2;
}

/** More-fragments bit and fragment offset: 0 for a whole packet. */
export function fragmentOf(packets: DataView, offset: number): number {
  return packets.getUint16(offset + FRAGMENT) & 0x3fff;
}

/** True for every fragment but the first: it carries no transport header. */
export function isLaterFragment(packets: DataView, offset: number): boolean {
  return (packets.getUint16(offset + FRAGMENT) & 0x1fff) !== 0;
}

/** Both ports of a TCP or UDP packet, the source's in the high half. The packet has at least 4 bytes behind its header. */
export function portsOf(packets: DataView, offset: number): number {
  return packets.getInt32(offset + headerLengthOf(packets, offset));
}

/** Copies headers, whose length is a multiple of 4. In the machine's own byte order (x86, arm64), since nothing is read. */
export function copyHeader(from: DataView, offset: number, to: DataView, at: number, length: number): void {
  for (let i = 0; i < length; i += 4) to.setInt32(at + i, from.getInt32(offset + i, true), true);
}

/** Takes one hop off the TTL; false if it is used up, and then the packet is left as it was. */
export function decrementTtl(packets: DataView, offset: number): boolean {
  const ttl = packets.getUint8(offset + TTL);
  if (ttl <= 1) return false;
  packets.setUint8(offset + TTL, ttl - 1);
  // RFC 1624: the checksummed sum lost 0x0100, so its complement gains it, with the carry added back.
  const checksum = packets.getUint16(offset + CHECKSUM) + 0x0100;
  packets.setUint16(offset + CHECKSUM, checksum >= 0xffff ? checksum + 1 : checksum);
  return true;
}
