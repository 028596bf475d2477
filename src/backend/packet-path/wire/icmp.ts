import type { Ipv4 } from '../../../core/ipv4.js';
import { isUnusableAsHost } from '../../../core/ipv4.js';
import { checksumOf } from './checksum.js';
import {
  destinationOf,
  headerLengthOf,
  isLaterFragment,
  MIN_HEADER_BYTES,
  PROTOCOL_ICMP,
  protocolOf,
  sourceOf,
} from './ipv4-packet.js';

/** ICMP error messages (RFC 792) about packets that cannot go on, and when they must not be sent (RFC 1122, 1812). */
export const ICMP_NET_UNREACHABLE = 0x0300;
export const ICMP_TIME_EXCEEDED = 0x0b00;

const ICMP_HEADER_BYTES = 8;
/** The offending packet's header and the first 8 bytes behind it. */
const QUOTED_PAYLOAD_BYTES = 8;
const TTL = 64;

/** ICMP types that ask or answer; every other one is, or might be, an error message. */
function isIcmpQuery(type: number): boolean {
  return type === 0 || type === 8 || (type >= 13 && type <= 18);
}

/** Whether an error about this packet may be sent: never about errors, later fragments, or to and for groups of hosts. */
export function mayAnswer(packets: DataView, offset: number, length: number, networkBroadcast: Ipv4): boolean {
  const destination = destinationOf(packets, offset);
  if (isLaterFragment(packets, offset) || isUnusableAsHost(sourceOf(packets, offset))) return false;
  if (isUnusableAsHost(destination) || destination === networkBroadcast) return false;
  if (protocolOf(packets, offset) !== PROTOCOL_ICMP) return true;
  const headerLength = headerLengthOf(packets, offset);
  return length > headerLength && isIcmpQuery(packets.getUint8(offset + headerLength));
}

/**
 * Writes an error message about the packet at `offset` to `out` at `at`.
 * @param typeAndCode ICMP_NET_UNREACHABLE or ICMP_TIME_EXCEEDED
 * @param own the address it comes from: rudder0's
 * @returns its length
 */
export function writeIcmpError(
  out: DataView,
  at: number,
  typeAndCode: number,
  own: Ipv4,
  packets: DataView,
  offset: number,
  length: number,
): number {
  const quoted = Math.min(length, headerLengthOf(packets, offset) + QUOTED_PAYLOAD_BYTES);
  const icmp = at + MIN_HEADER_BYTES;
  const total = MIN_HEADER_BYTES + ICMP_HEADER_BYTES + quoted;

  out.setInt32(at, 0x45000000 | total);
  out.setInt32(at + 4, 0); // no identification needed: the message is never fragmented
  out.setInt32(at + 8, (TTL << 24) | (PROTOCOL_ICMP << 16));
  out.setInt32(at + 12, own);
  out.setInt32(at + 16, sourceOf(packets, offset));
  out.setUint16(at + 10, checksumOf(out, at, MIN_HEADER_BYTES));

  out.setInt32(icmp, typeAndCode << 16);
  out.setInt32(icmp + 4, 0);
  for (let i = 0; i < quoted; i++) out.setUint8(icmp + ICMP_HEADER_BYTES + i, packets.getUint8(offset + i));
  out.setUint16(icmp + 2, checksumOf(out, icmp, ICMP_HEADER_BYTES + quoted));
  return total;
}
