import { viewOf } from '../../src/backend/packet-path/tables/memory.js';
import { GSO_TCP4, GSO_UDP, VNET_NEEDS_CHECKSUM } from '../../src/system/native.js';
import type { FromTun, Sent } from './fake-native.js';
import { checksumOf, ipv4Packet, UDP, writeInt32, writeUint16 } from './packets.js';
import { OWN_CONTAINER, PEER_CONTAINER } from './path.js';

export const TCP = 6;
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

export interface TransportFields {
  readonly source?: number;
  readonly destination?: number;
  readonly ttl?: number;
  readonly tos?: number;
  readonly identification?: number;
  /** IP flags and fragment offset; 0x4000 is DF. */
  readonly fragment?: number;
  readonly ipOptions?: Uint8Array;
  readonly sourcePort?: number;
  readonly port?: number;
  readonly payload: Uint8Array;
}

export interface TcpFields extends TransportFields {
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  readonly tcpOptions?: Uint8Array;
}

/** A whole TCP packet with right checksums, whatever its size. */
export function tcpPacket(fields: TcpFields): Uint8Array {
  const options = fields.tcpOptions ?? new Uint8Array(0);
  const header = new Uint8Array(20 + options.length);
  writeUint16(header, 0, fields.sourcePort ?? 40000);
  writeUint16(header, 2, fields.port ?? 5001);
  writeInt32(header, 4, fields.sequence ?? 1000);
  writeInt32(header, 8, fields.acknowledgement ?? 2000);
  header[12] = (header.length / 4) << 4;
  header[13] = fields.flags ?? ACK;
  writeUint16(header, 14, fields.window ?? 500);
  writeUint16(header, 18, fields.urgent ?? 0);
  header.set(options, 20);
  return transportPacket(fields, TCP, header, 16);
}

export function udpPacket(fields: TransportFields): Uint8Array {
  const header = new Uint8Array(8);
  writeUint16(header, 0, fields.sourcePort ?? 40000);
  writeUint16(header, 2, fields.port ?? 5001);
  writeUint16(header, 4, 8 + fields.payload.length);
  return transportPacket(fields, UDP, header, 6);
}

function transportPacket(
  fields: TransportFields,
  protocol: number,
  header: Uint8Array,
  checksumAt: number,
): Uint8Array {
  const payload = new Uint8Array(header.length + fields.payload.length);
  payload.set(header);
  payload.set(fields.payload, header.length);
  const { source = OWN_CONTAINER, destination = PEER_CONTAINER, ttl = 64, fragment = 0x4000 } = fields;
  const packet = ipv4Packet({ source, destination, ttl, fragment, protocol, options: fields.ipOptions, payload });
  packet[1] = fields.tos ?? 0;
  writeUint16(packet, 4, fields.identification ?? 0x1234);
  fixIpChecksum(packet);
  fixTransportChecksum(packet, checksumAt);
  return packet;
}

export const headerLengthOf = (packet: Uint8Array): number => (packet[0] & 15) * 4;

export function fixIpChecksum(packet: Uint8Array): void {
  writeUint16(packet, 10, 0);
  writeUint16(packet, 10, checksumOf(packet, 0, headerLengthOf(packet)));
}

/** The pseudo header and the transport part, as one run of bytes. */
function checksummed(packet: Uint8Array): Uint8Array {
  const transport = packet.subarray(headerLengthOf(packet));
  const bytes = new Uint8Array(12 + transport.length);
  bytes.set(packet.subarray(12, 20));
  bytes[9] = packet[9];
  writeUint16(bytes, 10, transport.length);
  bytes.set(transport, 12);
  return bytes;
}

function fixTransportChecksum(packet: Uint8Array, at: number): void {
  const field = headerLengthOf(packet) + at;
  writeUint16(packet, field, 0);
  const bytes = checksummed(packet);
  const checksum = checksumOf(bytes, 0, bytes.length);
  writeUint16(packet, field, checksum === 0 && at === 6 ? 0xffff : checksum);
}

export function transportChecksumIsRight(packet: Uint8Array): boolean {
  const bytes = checksummed(packet);
  return checksumOf(bytes, 0, bytes.length) === 0;
}

const CHECKSUM_AT: Record<number, number> = { [TCP]: 16, [UDP]: 6 };

/** As TUN hands a large packet over: the checksum field holds the pseudo header's sum, hdr_len is not to be trusted. */
export function superPacket(packet: Uint8Array, size: number, ecn = 0): FromTun {
  const bytes = packet.slice();
  const start = headerLengthOf(bytes);
  const at = CHECKSUM_AT[bytes[9]];
  writeUint16(bytes, start + at, pseudoSum(bytes));
  const type = bytes[9] === TCP ? GSO_TCP4 | ecn : GSO_UDP;
  return { bytes, vnet: [VNET_NEEDS_CHECKSUM, type, 7, size, start, at] };
}

/** What NEEDS_CSUM wants in the checksum field: the pseudo header's sum, not inverted. */
export function pseudoSum(packet: Uint8Array): number {
  const pseudo = checksummed(packet).subarray(0, 12);
  return ~checksumOf(pseudo, 0, 12) & 0xffff;
}

/** The packets on the wire: trains cut as the kernel does. */
export function packetsOf(sent: readonly Sent[]): Uint8Array[] {
  return sent.flatMap(({ bytes, segment }) => {
    const size = segment || bytes.length;
    return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size));
  });
}

/**
 * The oracle: what the sender of a super-packet meant, built packet by packet from its fields.
 * @param fields as sent; the TTL has already been counted
 */
export function segmentsOf(fields: TcpFields, protocol: number, size: number): Uint8Array[] {
  const count = Math.max(1, Math.ceil(fields.payload.length / size));
  return Array.from({ length: count }, (_, i) => {
    const payload = fields.payload.slice(i * size, (i + 1) * size);
    const identification = ((fields.identification ?? 0x1234) + i) & 0xffff;
    if (protocol === UDP) return udpPacket({ ...fields, payload, identification });
    let flags = fields.flags ?? ACK;
    if (i < count - 1) flags &= ~(FIN | PSH);
    if (i > 0) flags &= ~CWR;
    const sequence = ((fields.sequence ?? 1000) + i * size) | 0;
    return tcpPacket({ ...fields, payload, identification, flags, sequence });
  });
}

export function sequenceOf(packet: Uint8Array): number {
  return viewOf(packet).getUint32(headerLengthOf(packet) + 4);
}
