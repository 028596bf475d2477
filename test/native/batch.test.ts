import { beforeAll, describe, expect, it } from 'vitest';
import * as system from '../../src/system/native.js';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, runChild } from './child.js';

const EMSGSIZE = -90;
const EINVAL = -22;
const LOOPBACK = 0x7f000001;

describe('the layout', () => {
  // unit/backend/packet-path/tables/records.test.ts compares the fields of records, which have names in each file that uses them.
  it('is the same in C and in TypeScript', () => {
    expect(system.native.layout).toMatchObject({
      recordInts: system.RECORD_INTS,
      iovecInts: system.IOVEC_INTS,
      checksumInts: system.CHECKSUM_INTS,
      slotBytes: system.SLOT_BYTES,
      pageBytes: system.PAGE_BYTES,
      outboundSkewBytes: system.OUTBOUND_SKEW_BYTES,
      inboundSkewBytes: system.INBOUND_SKEW_BYTES,
      maxMessages: system.MAX_MESSAGES,
      maxDatagrams: system.MAX_DATAGRAMS,
      maxSpreadHeader: system.MAX_SPREAD_HEADER,
      minSpreadSegment: system.MIN_SPREAD_SEGMENT,
      slabOutbound: system.SLAB_OUTBOUND,
      slabInbound: system.SLAB_INBOUND,
      slabHeaders: system.SLAB_HEADERS,
      tunReadable: system.TUN_READABLE,
      udpReadable: system.UDP_READABLE,
      udpWritable: system.UDP_WRITABLE,
      stopSignalled: system.STOP_SIGNALLED,
      tunFailed: system.TUN_FAILED,
      spunInVain: system.SPUN_IN_VAIN,
      badDescriptorState: system.EBADFD,
      noKey: system.ENOKEY,
      ringFailed: system.RING_FAILED,
      offloadChecksum: system.OFFLOAD_CHECKSUM,
      offloadTso4: system.OFFLOAD_TSO4,
      offloadTsoEcn: system.OFFLOAD_TSO_ECN,
      offloadUso: system.OFFLOAD_USO,
      vnetBytes: system.VNET_BYTES,
      vnetNeedsChecksum: system.VNET_NEEDS_CHECKSUM,
      gsoTcp4: system.GSO_TCP4,
      gsoUdp: system.GSO_UDP,
      gsoEcn: system.GSO_ECN,
    });
  });
});

const WAYS = BUILDS.flatMap((build) => [
  { build, ring: false, way: 'one by one' },
  { build, ring: true, way: 'through a ring' },
]);

for (const { build, ring, way } of WAYS) {
  const needs = ['root', 'tun', ...(ring ? ['io-uring' as const] : [])] as const;
  describeWith(needs, `the batch calls on a real device and real sockets, ${build} build, ${way}`, () => {
    let out: ReturnType<typeof runChild> = {};
    beforeAll(() => {
      out = runChild('./batch.child.mjs', build, { RUDDER_TEST_RING: ring ? '1' : '0' });
    });

    it('wait for readiness, for a time, for an event, and for the end of the device', () => {
      expect(out.waitTimesOut).toBe(0);
      expect(out.spinTimesOut).toBe(0);
      expect(out.clockRuns).toBe(true);
      expect(out.writable).toBe(system.UDP_WRITABLE);
      expect(out.tunReadable).toBe(system.TUN_READABLE);
      expect(out.udpReadable).toBe(system.UDP_READABLE);
      expect(out.stopSignalled).toBe(system.STOP_SIGNALLED);
      expect(out.tunFailed).toBe(system.TUN_FAILED);
      expect(out.readGone).toBe(-system.EBADFD);
    });

    it('read packets from TUN one after the other, plain and with finished checksums', () => {
      expect(out.read).toBe(2);
      expect(out.readPackets).toEqual(['first', 'a second one']);
      expect(out.readRecords).toEqual([
        [33, 0, 0, 0, 0, 0, 0],
        [40, 0, 0, 0, 0, 0, 0],
      ]);
      // Each in a slot that has room for the largest, in another set of the L1 cache.
      expect(out.readOffsets).toEqual([0, system.SLOT_BYTES + system.OUTBOUND_SKEW_BYTES]);
      expect(out.readAgain).toBe(0);
      expect(out.readBounded).toBe(1);
    });

    it('write packets to TUN from several slabs, and stop at a bad one', () => {
      expect(out.written).toBe(1);
      expect(out.writtenBad).toBe(EINVAL);
      expect(out.writtenLast).toBe(1);
      expect(out.hostReceived).toEqual(Array(2).fill(['from the tunnel', '10.99.0.9', 4000]));
    });

    it('read and write many packets in order, and stop at a bad one, a number, or enough bytes', () => {
      const numbers = Array.from({ length: 40 }, (_, i) => String(i));
      expect(out.readMany).toBe(40);
      expect(out.manyInOrder).toEqual(numbers);
      // So many are asked for at first.
      const first = ring ? 4 : 1;
      expect(out.readEnough).toBe(first);
      expect(out.readThirty).toBe(30);
      expect(out.thirtyInOrder).toEqual(numbers.slice(first, first + 30));
      expect(out.readRest).toBe(10 - first);
      expect(out.writtenMany).toBe(35);
      expect(out.writtenBehind).toBe(4);
      expect(out.manyReceived).toEqual(numbers.filter((text) => text !== '35'));
    });

    // What has no ring has none that could fail.
    const withRing = ring ? it : () => {};
    withRing('say that the ring failed or cannot be, lose no packet by it, and go on without', () => {
      expect(out.rings).toBe(1);
      expect(out.failedRead).toBe(system.RING_FAILED);
      expect(out.failedWrite).toBe(system.RING_FAILED);
      expect(out.readWithout).toBe(2);
      expect(out.textsWithout).toEqual(['behind the ring', 'and the last']);
      expect(out.writtenWithout).toBe(2);
      const refusal = { code: 'EMFILE', syscall: 'io_uring_setup' };
      expect(out.openRefused).toMatchObject(refusal);
      expect(out.probeRefused).toMatchObject(refusal);
    });

    it('send and receive batches of datagrams', () => {
      expect(out.sent).toBe(2);
      expect(out.sentReceived).toEqual([['hello world', '127.0.0.1', 5000]]);
      expect(out.receivedCount).toBe(1);
      expect(out.receivedRecord).toEqual([expect.any(Number), 5, LOOPBACK, 5000, 0, 0, 0, 0]);
      expect(out.receivedText).toBe('world');
      expect(out.receivedAgain).toBe(0);
      expect(out.sentMany).toBe(256);
    });

    it('receive at a page, however the slab lies, and 1536 bytes further in each slot', () => {
      expect(out.laterCount).toBe(2);
      expect(out.laterMoved).toEqual([0, 1536]);
      expect(out.laterTexts).toEqual(['world', 'world']);
    });

    it('send a train', () => {
      expect(out.trainSent).toBe(1);
      expect(out.train).toEqual(['aaaa', 'bbbb', 'cc']);
    });

    it('receive a train, and read and write super-packets, with the offloads on', () => {
      expect(out.offloadRefused).toMatchObject({ code: 'EINVAL', syscall: 'TUNSETOFFLOAD' });
      expect(out.trainReceived).toBe(1);
      expect(out.trainRecord).toEqual([expect.any(Number), 10, LOOPBACK, 5000, 4, 0, 0, 0]);
      expect(out.trainText).toBe('aaaabbbbcc');
      // One read of 3 segments of 1000 bytes: NEEDS_CSUM, GSO_UDP, size, start and place of the checksum.
      expect(out.superRead).toBe(1);
      expect(out.superRecord).toEqual([3028, system.VNET_NEEDS_CHECKSUM, system.GSO_UDP, 1000, 20, 6]);
      // Spread: its length is still that of the packet.
      expect(out.spreadRead).toBe(1);
      expect(out.spreadLength).toBe(3028);
      expect(out.spreadSegments).toEqual([true, true, true]);
      // Written back as a super-packet for the host, it arrives as the three datagrams it is made of.
      expect(out.superWritten).toBe(1);
      expect(out.superReceived).toEqual([1000, 1000, 1000]);
      expect(out.noDrops).toBe(0);
      expect(out.drops).toBeGreaterThan(0);
      expect(out.readOrDropped).toBe(60);
    });

    it('finish and verify checksums over ranges of every length and alignment as RFC 1071 says', () => {
      expect(out.finished).toBe(400);
      expect(out.finishedWrong).toEqual([]);
      expect(out.finishedZero).toEqual([0, 0, 0xff, 0xff]);
      expect(out.wrong).toBe(134);
      expect(out.toldWrong).toEqual(Array.from({ length: 400 }, (_, i) => (i % 3 === 0 ? 1 : 0)));
    });

    it('refuse checksum records that point outside their memory', () => {
      const refused = Object.keys(out).filter((name) => name.startsWith('finish.'));
      expect(refused).toHaveLength(6);
      for (const name of refused) {
        expect(out[name], name).toMatchObject({ code: 'EINVAL', syscall: 'finishChecksums' });
      }
      expect(out.verifyPastEnd).toMatchObject({ code: 'EINVAL', syscall: 'verifyChecksums' });
    });

    it('send the largest datagram, and go on behind one that is too large', () => {
      expect(out.sendLargest).toBe(1);
      expect(out.sendTooLarge).toBe(EMSGSIZE);
      expect(out.sendBehind).toBe(1);
      expect(out.receivedLengths).toEqual([65507, 5]);
    });
  });
}
