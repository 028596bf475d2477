import { constants } from 'node:os';
import type { SharedMemory } from '../../src/backend/udp/memory.js';
import {
  IOVEC_INTS,
  type Native,
  RECORD_INTS,
  SLAB_HEADERS,
  SLAB_INBOUND,
  SLAB_OUTBOUND,
  SLOT_BYTES,
  SUM_INTS,
  UDP_WRITABLE,
} from '../../src/system/native.js';
import { checksumOf } from './packets.js';

export interface Datagram {
  readonly sender: number;
  readonly bytes: Uint8Array;
  readonly segment?: number;
  readonly truncated?: boolean;
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

/** The five batch calls over plain arrays, so that every rule of the packet path can be tested without a kernel. */
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
  /** What wait() answers for readiness. */
  onWait: (interest: number) => number;
}

export const { EAGAIN, EIO, EMSGSIZE, EINVAL } = constants.errno;

export function createFakeNative(memory: SharedMemory): FakeNative {
  const slabs = {
    [SLAB_OUTBOUND]: memory.outboundSlab,
    [SLAB_INBOUND]: memory.inboundSlab,
    [SLAB_HEADERS]: memory.headers,
  };

  function gather(iovecs: Int32Array, first: number, count: number): Uint8Array {
    const parts: number[] = [];
    for (let i = first; i < first + count; i++) {
      const [slab, offset, length] = iovecs.subarray(i * IOVEC_INTS, i * IOVEC_INTS + 3);
      parts.push(...slabs[slab as 0 | 1 | 2].subarray(offset, offset + length));
    }
    return Uint8Array.from(parts);
  }

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
    onWait: () => 0,
    native: {
      wait(interest: number) {
        if (interest === UDP_WRITABLE) fake.writableWaits++;
        return fake.onWait(interest);
      },
      readTun(max: number) {
        const result = fake.readResults.shift();
        if (result !== undefined) return result;
        const packets = fake.tunQueue.splice(0, max);
        let offset = 0;
        packets.forEach((packet, i) => {
          const { bytes, vnet } = packet instanceof Uint8Array ? { bytes: packet, vnet: [0, 0, 0, 0, 0, 0] } : packet;
          memory.outboundSlab.set(bytes, offset);
          memory.tunPackets.set([offset, bytes.length, ...vnet], i * RECORD_INTS);
          offset += Math.ceil(bytes.length / 64) * 64;
        });
        return packets.length;
      },
      receiveUdp(max: number) {
        const result = fake.receiveResults.shift();
        if (result !== undefined) return result;
        const datagrams = fake.udpQueue.splice(0, max);
        datagrams.forEach(({ bytes, sender, segment = 0, truncated = false }, i) => {
          memory.inboundSlab.set(bytes, i * SLOT_BYTES);
          const record = [i * SLOT_BYTES, bytes.length, sender, 8285, segment, truncated ? 1 : 0, 0, 0];
          memory.datagrams.set(record, i * RECORD_INTS);
        });
        return datagrams.length;
      },
      sendUdp(first: number, count: number) {
        const result = fake.sendResults.shift();
        if (result !== undefined && result < 0) return result;
        const done = Math.min(count, result ?? count);
        for (let i = first; i < first + done; i++) {
          const record = memory.sends.subarray(i * RECORD_INTS, (i + 1) * RECORD_INTS);
          fake.sent.push({
            nextHop: record[2],
            port: record[3],
            segment: record[4],
            bytes: gather(memory.sendIovecs, record[0], record[1]),
          });
        }
        return done;
      },
      writeTun(first: number, count: number) {
        const result = fake.writeResults.shift();
        if (result !== undefined && result < 0) return result;
        const done = Math.min(count, result ?? count);
        for (let i = first; i < first + done; i++) {
          const record = memory.writes.subarray(i * RECORD_INTS, (i + 1) * RECORD_INTS);
          const bytes = gather(memory.writeIovecs, record[0], record[1]);
          fake.written.push(bytes);
          fake.writtenMessages.push({ bytes, vnet: [...record.subarray(2)] });
        }
        return done;
      },
      sums(count: number) {
        for (let i = 0; i < count; i++) {
          const [slab, offset, length] = memory.sums.subarray(i * SUM_INTS, i * SUM_INTS + 3);
          memory.sums[i * SUM_INTS + 3] = ~checksumOf(slabs[slab as 0 | 1 | 2], offset, length) & 0xffff;
        }
        return count;
      },
    } as unknown as Native,
  };
  return fake;
}
