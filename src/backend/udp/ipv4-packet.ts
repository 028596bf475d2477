import type { Ipv4 } from '../../core/ipv4.js';

/**
 * Reading and patching IPv4 packets (RFC 791) in place. Every function takes the bytes and the offset at which the
 * packet starts; except for isWellFormed() they rely on it having said yes.
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

const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;

/** True if `length` bytes are exactly one IPv4 packet: version, header length and total length agree with them. */
export function isWellFormed(bytes: Uint8Array, offset: number, length: number): boolean {
  if (length < MIN_HEADER_BYTES || bytes[offset] >>> 4 !== 4) return false;
  const headerLength = headerLengthOf(bytes, offset);
  const totalLength = readUint16(bytes, offset + 2);
  return headerLength >= MIN_HEADER_BYTES && headerLength <= length && totalLength === length;
}

export function headerLengthOf(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] & 15) << 2;
}

export function sourceOf(bytes: Uint8Array, offset: number): Ipv4 {
  return readInt32(bytes, offset + SOURCE);
}

export function destinationOf(bytes: Uint8Array, offset: number): Ipv4 {
  return readInt32(bytes, offset + DESTINATION);
}

export function protocolOf(bytes: Uint8Array, offset: number): number {
  return bytes[offset + PROTOCOL];
}

/** True for every fragment but the first: it carries no transport header. */
export function isLaterFragment(bytes: Uint8Array, offset: number): boolean {
  return (readUint16(bytes, offset + 6) & 0x1fff) !== 0;
}

/** Takes one hop off the TTL; false if it is used up, and then the packet is left as it was. */
export function decrementTtl(bytes: Uint8Array, offset: number): boolean {
  const ttl = bytes[offset + TTL];
  if (ttl <= 1) return false;
  bytes[offset + TTL] = ttl - 1;
  // RFC 1624: the checksummed sum lost 0x0100, so its complement gains it, with the carry added back.
  const checksum = readUint16(bytes, offset + CHECKSUM) + 0x0100;
  writeUint16(bytes, offset + CHECKSUM, checksum >= 0xffff ? checksum + 1 : checksum);
  return true;
}

/** Internet checksum (RFC 1071) of a range of any length. */
export function checksumOf(bytes: Uint8Array, offset: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length - 1; i += 2) sum += readUint16(bytes, offset + i);
  if ((length & 1) !== 0) sum += bytes[offset + length - 1] << 8;
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~(sum + (sum >>> 16)) & 0xffff;
}

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
