import { viewOf } from '../../src/backend/packet-path/tables/memory.js';
import * as sums from '../../src/backend/packet-path/wire/checksum.js';
import type { Ipv4 } from '../../src/core/ipv4.js';

export interface PacketOptions {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly ttl?: number;
  readonly protocol?: number;
  /** Multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
  /** Flags and fragment offset, as in the header. */
  readonly fragment?: number;
}

export const UDP = 17;
export const ICMP = 1;

/** The fields of a packet that has bytes of its own. */
export const checksumOf = (packet: Uint8Array, at: number, length: number): number =>
  sums.checksumOf(viewOf(packet), at, length);
export const writeUint16 = (packet: Uint8Array, at: number, value: number): void => viewOf(packet).setUint16(at, value);
export const writeInt32 = (packet: Uint8Array, at: number, value: number): void => viewOf(packet).setInt32(at, value);

/** A valid IPv4 packet. */
export function ipv4Packet(options: PacketOptions): Uint8Array {
  const { ttl = 64, protocol = UDP, payload = new Uint8Array(16), fragment = 0 } = options;
  const extra = options.options ?? new Uint8Array(0);
  const headerLength = 20 + extra.length;
  const packet = new Uint8Array(headerLength + payload.length);
  packet[0] = 0x40 | (headerLength >> 2);
  writeUint16(packet, 2, packet.length);
  writeUint16(packet, 4, 0x1234);
  writeUint16(packet, 6, fragment);
  packet[8] = ttl;
  packet[9] = protocol;
  writeInt32(packet, 12, options.source);
  writeInt32(packet, 16, options.destination);
  packet.set(extra, 20);
  writeUint16(packet, 10, checksumOf(packet, 0, headerLength));
  packet.set(payload, headerLength);
  return packet;
}

/** True if the header's checksum is right: the sum over it, itself included, is all ones. */
export function headerChecksumIsRight(packet: Uint8Array): boolean {
  return checksumOf(packet, 0, (packet[0] & 15) * 4) === 0;
}
