import { constants } from 'node:os';
import type { SharedMemory } from '../../src/backend/packet-path/tables/memory.js';
import { fold } from '../../src/backend/packet-path/wire/checksum.js';
import {
  CHECKSUM_INTS,
  IOVEC_INTS,
  type Native,
  RECORD_INTS,
  type SealedMemory,
  SLAB_HEADERS,
  SLAB_INBOUND,
  SLAB_OUTBOUND,
  SLOT_BYTES,
  UDP_WRITABLE,
} from '../../src/system/native.js';
import { checksumOf, writeUint16 } from './packets.js';

export interface Datagram {
  readonly sender: number;
  readonly bytes: Uint8Array;
  readonly segment?: number;
  readonly truncated?: boolean;
  /** The sender's; default: that of nodes. */
  readonly port?: number;
}

/** A packet from TUN with its vnet fields: flags, gso type, header length, gso size, csum start, csum offset. */
export interface FromTun {
  readonly bytes: Uint8Array;
  readonly vnet: readonly number[];
}

export interface Sent {
  readonly nextHop: number;
  readonly port: number;
  /** 0: not a train. */
  readonly segment: number;
  readonly bytes: Uint8Array;
}

export interface Written {
  readonly vnet: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * The batch calls over plain arrays, so that every rule of the packet path can be tested without a kernel. That they do what
 * the addon does is tested by cases that both are run through (native/path-cases.mjs).
 */
export interface FakeNative {
  readonly native: Native;
  /** What TUN will give. */
  readonly tunQueue: (Uint8Array | FromTun)[];
  /** What the socket will give. */
  readonly udpQueue: Datagram[];
  readonly sent: Sent[];
  readonly written: Uint8Array[];
  /** The same with their vnet fields. */
  readonly writtenMessages: Written[];
  /** Waits for a writable socket. */
  writableWaits: number;
  /** Results (-errno, or a count that cuts a batch) that the next calls answer with instead. */
  readonly sendResults: number[];
  readonly writeResults: number[];
  readonly readResults: number[];
  readonly receiveResults: number[];
  /** How many messages each call seals; default: all. */
  readonly sealResults: number[];
  /** Where opened packets are told of, if the wire is sealed, and those of the next call. */
  sealed?: SealedMemory;
  readonly opened: { readonly bytes: Uint8Array; readonly peer: number; readonly at: number }[];
  attended: number;
  /** How many messages each call was to write. */
  readonly writesAsked: number[];
  /** Whether TUN is read and written through a ring, and whether the kernel refuses one. */
  hasRing: boolean;
  refusesRing: boolean;
  /** What wait() answers for readiness. */
  onWait: (interest: number, timeoutMs: number) => number;
}

/** Of a datagram or a train. */
const MAX_UDP_PAYLOAD = 65_507;

export const { EAGAIN, EIO, EMSGSIZE, EINVAL } = constants.errno;

export function createFakeNative(memory: SharedMemory): FakeNative {
  const slabs = {
    [SLAB_OUTBOUND]: memory.outboundSlab,
    [SLAB_INBOUND]: memory.inboundSlab,
    [SLAB_HEADERS]: memory.headers,
  };

  /** Puts a packet into the slab in the pieces of the read; returns how far it reaches. */
  function spread(bytes: Uint8Array, offset: number, header: number, segment: number): number {
    const first = segment === 0 ? bytes.length : header + segment;
    memory.outboundSlab.set(bytes.subarray(0, first), offset);
    let at = offset + Math.min(first, bytes.length);
    for (let done = first; done < bytes.length; done += segment) {
      const piece = bytes.subarray(done, done + segment);
      memory.outboundSlab.copyWithin(at, offset, offset + header);
      memory.outboundSlab.set(piece, at + header);
      at += header + piece.length;
    }
    return at - offset;
  }

  function gather(iovecs: Int32Array, first: number, count: number): Uint8Array {
    const parts = Array.from({ length: count }, (_, i) => {
      const [slab, offset, length] = iovecs.subarray((first + i) * IOVEC_INTS, (first + i) * IOVEC_INTS + 3);
      return slabs[slab as 0 | 1 | 2].subarray(offset, offset + length);
    });
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  function send(
    first: number,
    count: number,
    most: number,
    to: (record: Int32Array) => Pick<Sent, 'nextHop' | 'port'>,
  ): number {
    const result = fake.sendResults.shift();
    if (result !== undefined && result < 0) return result;
    const done = Math.min(count, result ?? count);
    for (let i = first; i < first + done; i++) {
      const record = memory.sends.subarray(i * RECORD_INTS, (i + 1) * RECORD_INTS);
      const bytes = gather(memory.sendIovecs, record[0], record[1]);
      if (bytes.length > most) return i === first ? -EMSGSIZE : i - first;
      fake.sent.push({ ...to(record), segment: record[4], bytes });
    }
    return done;
  }

  const checksumRecord = (i: number) => memory.checksums.subarray(i * CHECKSUM_INTS, (i + 1) * CHECKSUM_INTS);
  const sumOf = (slab: Uint8Array, offset: number, length: number) => ~checksumOf(slab, offset, length) & 0xffff;

  const fake: FakeNative = {
    tunQueue: [],
    udpQueue: [],
    sent: [],
    written: [],
    writtenMessages: [],
    writableWaits: 0,
    sendResults: [],
    writeResults: [],
    readResults: [],
    receiveResults: [],
    sealResults: [],
    opened: [],
    attended: 0,
    writesAsked: [],
    hasRing: false,
    refusesRing: false,
    onWait: () => 0,
    native: {
      wait(interest: number, timeoutMs: number) {
        if (interest === UDP_WRITABLE) fake.writableWaits++;
        return fake.onWait(interest, timeoutMs);
      },
      openRing() {
        if (fake.refusesRing) throw new Error('EMFILE');
        fake.hasRing = true;
      },
      closeRing() {
        fake.hasRing = false;
      },
      readTun(max: number, limit: number, _enough: number, header: number, segment: number) {
        const result = fake.readResults.shift();
        if (result !== undefined) return result;
        const packets = fake.tunQueue.splice(0, max);
        let offset = 0;
        packets.forEach((packet, i) => {
          const { bytes, vnet } = packet instanceof Uint8Array ? { bytes: packet, vnet: [0, 0, 0, 0, 0, 0] } : packet;
          memory.tunPackets.set([offset, bytes.length, ...vnet], i * RECORD_INTS);
          offset += Math.ceil(spread(bytes, offset, header, segment) / 64) * 64;
          if (offset > limit) throw new Error('a test gives more than one batch reads');
        });
        return packets.length;
      },
      receiveUdp(max: number) {
        const result = fake.receiveResults.shift();
        if (result !== undefined) return result;
        const datagrams = fake.udpQueue.splice(0, max);
        datagrams.forEach(({ bytes, sender, segment = 0, truncated = false, port = 8285 }, i) => {
          memory.inboundSlab.set(bytes, i * SLOT_BYTES);
          const record = [i * SLOT_BYTES, bytes.length, sender, port, segment, truncated ? 1 : 0, 0, 0];
          memory.datagrams.set(record, i * RECORD_INTS);
        });
        return datagrams.length;
      },
      sendUdp: (first: number, count: number) =>
        send(first, count, MAX_UDP_PAYLOAD, (record) => ({ nextHop: record[2], port: record[3] })),
      sealUdp(_first: number, count: number) {
        return Math.min(count, fake.sealResults.shift() ?? count);
      },
      // Its peer is what the record names, and its size was checked when it was sealed.
      sendSealed: (first: number, count: number) =>
        send(first, count, Number.POSITIVE_INFINITY, (record) => ({ nextHop: record[7], port: 0 })),
      receiveSealed() {
        const result = fake.receiveResults.shift();
        if (result !== undefined) return result;
        return fake.opened.splice(0).reduce((count, { bytes, peer, at }, i) => {
          memory.inboundSlab.set(bytes, at);
          fake.sealed!.opened.set([at, bytes.length, peer], i * 3);
          return count + 1;
        }, 0);
      },
      attend() {
        fake.attended++;
      },
      writeTun(first: number, count: number) {
        fake.writesAsked.push(count);
        const result = fake.writeResults.shift();
        if (result !== undefined && result < 0) return result;
        const done = Math.min(count, result ?? count);
        for (let i = first; i < first + done; i++) {
          const record = memory.writes.subarray(i * RECORD_INTS, (i + 1) * RECORD_INTS);
          const bytes = gather(memory.writeIovecs, record[0], record[1]);
          if (bytes[0] >> 4 !== 4 && bytes[0] >> 4 !== 6) return i === first ? -EINVAL : i - first;
          fake.written.push(bytes);
          fake.writtenMessages.push({ bytes, vnet: [...record.subarray(2)] });
        }
        return done;
      },
      finishChecksums(count: number) {
        for (let i = 0; i < count; i++) {
          const [offset, length, rest, field, zero] = checksumRecord(i);
          const checksum = ~fold(rest + sumOf(memory.outboundSlab, offset, length)) & 0xffff;
          writeUint16(memory.outboundSlab, field, checksum || zero);
        }
        return count;
      },
      verifyChecksums(count: number) {
        let wrong = 0;
        for (let i = 0; i < count; i++) {
          const [offset, length, rest] = checksumRecord(i);
          const isWrong = fold(rest + sumOf(memory.inboundSlab, offset, length)) !== 0xffff;
          memory.checksums[i * CHECKSUM_INTS + 3] = Number(isWrong);
          wrong += Number(isWrong);
        }
        return wrong;
      },
    } as unknown as Native,
  };
  return fake;
}
