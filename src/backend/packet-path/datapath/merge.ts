import { GSO_TCP4, GSO_UDP, SLAB_HEADERS, SLAB_INBOUND, VNET_NEEDS_CHECKSUM } from '../../../system/native.js';
import { HEADER_SLOT_BYTES, MAX_TRAIN_SEGMENTS, type SharedMemory, viewOf } from '../tables/memory.js';
import { TUN_GRO_TCP, TUN_GRO_UDP } from '../tables/offloads.js';
import { checksumOf, fold, sumOfWords } from '../wire/checksum.js';
import {
  copyHeader,
  fragmentOf,
  MIN_HEADER_BYTES,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  protocolOf,
  TCP_CHECKSUM,
  TCP_PSH,
  tcpHeaderLengthOf,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
} from '../wire/ipv4-packet.js';
import { isNextOfFlow } from '../wire/tcp-flow.js';
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
  /** True if the packet, which nothing may be known of yet, is the next one of the open chain and alike in all else. */
  joins(offset: number, length: number): boolean;
  /** Adds such a packet. */
  join(offset: number, length: number): void;
  /** True if this well-formed packet might be merged with others once its transport checksum is known to be right. */
  isCandidate(offset: number, length: number): boolean;
  /** What a candidate's checksum covers beside its bytes from the addresses on. */
  restOfChecksum(offset: number, length: number): number;
  /** Ends the open chain and opens one with a candidate. */
  open(offset: number, length: number): void;
  /** Ends the open chain and queues a packet that is to stay alone. */
  pass(offset: number, length: number): void;
  /** Ends the open chain: what it holds is queued. */
  close(): void;
  /** All that was queued has been written, or forgotten: the headers' memory is free again, no chain is open. */
  reset(): void;
}

export function createMerger(memory: SharedMemory, writes: WriteBatch): Merger {
  const { offloads } = memory;
  const packets = viewOf(memory.inboundSlab);
  const headers = viewOf(memory.headers);
  /** The open chain. */
  const chain = {
    /** Where its first packet starts; -1 if none is open. */
    first: -1,
    last: 0,
    protocol: 0,
    headerLength: 0,
    /** Payload of its first packet, and so of all but the last. */
    size: 0,
    /** The largest payload that may join: 0 if none may, behind a short packet or a push, or if no chain is open. */
    most: 0,
    count: 0,
    payloadBytes: 0,
    /** Sum of the fields of the first IP header in which others may differ: length, identification and checksum. */
    varyingSum: 0,
  };
  const used = { headers: 0 };

  function isCandidate(offset: number, length: number): boolean {
    // No IP options, no fragment: version and header length 0x45, no MF, no offset.
    if (packets.getUint8(offset) !== 0x45 || fragmentOf(packets, offset) !== 0) return false;
    // The header's checksum will be a new one too.
    if (checksumOf(packets, offset, IP_HEADER_BYTES) !== 0) return false;
    const protocol = protocolOf(packets, offset);
    const transport = offset + IP_HEADER_BYTES;
    if (protocol === PROTOCOL_UDP) {
      return offloads[TUN_GRO_UDP] !== 0 && length > IP_HEADER_BYTES + UDP_HEADER_BYTES && isWholeUdp(offset, length);
    }
    if (protocol !== PROTOCOL_TCP || offloads[TUN_GRO_TCP] === 0 || length < IP_HEADER_BYTES + 20) return false;
    const tcpLength = tcpHeaderLengthOf(packets, transport);
    // SYN, FIN, RST, URG and CWR mean something about this one packet.
    const flags = packets.getUint8(transport + 13) & ~(TCP_PSH | TCP_ECE);
    return tcpLength >= 20 && flags === TCP_ACK && length > IP_HEADER_BYTES + tcpLength;
  }

  // The pseudo header (RFC 9293 3.1) is both addresses, which are summed with what follows them, protocol and length.
  const restOfChecksum = (offset: number, length: number) => protocolOf(packets, offset) + length - IP_HEADER_BYTES;

  function open(offset: number, length: number): void {
    close();
    chain.first = chain.last = offset;
    chain.protocol = protocolOf(packets, offset);
    chain.headerLength =
      IP_HEADER_BYTES +
      (chain.protocol === PROTOCOL_TCP ? tcpHeaderLengthOf(packets, offset + IP_HEADER_BYTES) : UDP_HEADER_BYTES);
    chain.size = chain.payloadBytes = length - chain.headerLength;
    chain.most = isPushed(offset) ? 0 : chain.size;
    chain.count = 1;
    chain.varyingSum = fold(length + packets.getUint16(offset + 4) + packets.getUint16(offset + 10));
    writes.addPiece(SLAB_HEADERS, used.headers * HEADER_SLOT_BYTES, chain.headerLength);
    writes.addPiece(SLAB_INBOUND, offset + chain.headerLength, chain.size);
  }

  const isPushed = (offset: number) =>
    chain.protocol === PROTOCOL_TCP && (packets.getUint8(offset + IP_HEADER_BYTES + 13) & TCP_PSH) !== 0;

  function joins(offset: number, length: number): boolean {
    const payload = length - chain.headerLength;
    if (payload <= 0 || payload > chain.most) return false;
    const idAndFlags = packets.getInt32(offset + 4);
    const ttlToChecksum = packets.getInt32(offset + 8);
    const firstIdAndFlags = packets.getInt32(chain.first + 4);
    // Version, header length, ToS and the right total length; flags; TTL and protocol; both addresses; both ports.
    if (
      packets.getInt32(offset) !== ((packets.getInt32(chain.first) & 0xffff0000) | length) ||
      ((idAndFlags ^ firstIdAndFlags) & 0xffff) !== 0 ||
      (ttlToChecksum ^ packets.getInt32(chain.first + 8)) >>> 16 !== 0 ||
      packets.getInt32(offset + 12) !== packets.getInt32(chain.first + 12) ||
      packets.getInt32(offset + 16) !== packets.getInt32(chain.first + 16) ||
      packets.getInt32(offset + 20) !== packets.getInt32(chain.first + 20)
    ) {
      return false;
    }
    // The first header's checksum was right, and so is that of a header which differs only where the sums are equal.
    if (fold(length + (idAndFlags >>> 16) + (ttlToChecksum & 0xffff)) !== chain.varyingSum) return false;
    // With DF the identification means nothing (RFC 6864); without it, the kernel will count on from the first one.
    if (
      (idAndFlags & DONT_FRAGMENT) === 0 &&
      idAndFlags >>> 16 !== (((firstIdAndFlags >>> 16) + chain.count) & 0xffff)
    ) {
      return false;
    }
    if (chain.protocol !== PROTOCOL_TCP) return isWholeUdp(offset, length);
    const tcp = offset + IP_HEADER_BYTES;
    return isNextOfFlow(
      packets,
      tcp,
      chain.first + IP_HEADER_BYTES,
      chain.headerLength - IP_HEADER_BYTES,
      chain.payloadBytes,
    );
  }

  /** With a length of its own that is right, and a checksum: 0 is "none", and nothing tells whether it is intact. */
  function isWholeUdp(offset: number, length: number): boolean {
    const udp = offset + IP_HEADER_BYTES;
    return packets.getUint16(udp + 4) === length - IP_HEADER_BYTES && packets.getUint16(udp + UDP_CHECKSUM) !== 0;
  }

  function join(offset: number, length: number): void {
    const payload = length - chain.headerLength;
    writes.addPiece(SLAB_INBOUND, offset + chain.headerLength, payload);
    chain.last = offset;
    chain.count++;
    chain.payloadBytes += payload;
    const isLast = payload < chain.size || chain.count === MAX_TRAIN_SEGMENTS || isPushed(offset);
    const room = MAX_PACKET_BYTES - chain.headerLength - chain.payloadBytes;
    chain.most = isLast ? 0 : Math.min(chain.size, room);
  }

  function pass(offset: number, length: number): void {
    close();
    writes.queue(SLAB_INBOUND, offset, length);
  }

  function close(): void {
    if (chain.first < 0) return;
    if (chain.count === 1) {
      writes.discard();
      writes.queue(SLAB_INBOUND, chain.first, chain.headerLength + chain.size);
    } else {
      const isTcp = chain.protocol === PROTOCOL_TCP;
      writeHeader(used.headers++ * HEADER_SLOT_BYTES, isTcp);
      const type = isTcp ? GSO_TCP4 : GSO_UDP;
      writes.commit(
        VNET_NEEDS_CHECKSUM,
        type,
        chain.headerLength,
        chain.size,
        IP_HEADER_BYTES,
        isTcp ? TCP_CHECKSUM : UDP_CHECKSUM,
      );
    }
    forget();
  }

  function forget(): void {
    chain.first = -1;
    chain.most = 0;
  }

  function writeHeader(at: number, isTcp: boolean): void {
    copyHeader(packets, chain.first, headers, at, chain.headerLength);
    const total = chain.headerLength + chain.payloadBytes;
    const transport = at + IP_HEADER_BYTES;
    const transportLength = total - IP_HEADER_BYTES;
    headers.setUint16(at + 2, total);
    headers.setUint16(at + 10, 0);
    headers.setUint16(at + 10, checksumOf(headers, at, IP_HEADER_BYTES));
    // The last packet's PSH is the whole one's.
    const flags = headers.getUint8(transport + 13) | (packets.getUint8(chain.last + IP_HEADER_BYTES + 13) & TCP_PSH);
    if (isTcp) headers.setUint8(transport + 13, flags);
    else headers.setUint16(transport + 4, transportLength);
    // With NEEDS_CSUM the field holds the sum of the pseudo header, not inverted.
    const pseudo = sumOfWords(headers, at + 12, 8) + chain.protocol + transportLength;
    headers.setUint16(transport + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM), fold(pseudo));
  }

  return {
    joins,
    join,
    isCandidate,
    restOfChecksum,
    open,
    pass,
    close,
    reset() {
      used.headers = 0;
      forget();
    },
  };
}
