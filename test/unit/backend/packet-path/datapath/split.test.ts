import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { TUN_GRO_TCP, TUN_GRO_UDP, UDP_GSO } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { GSO_ECN, GSO_NONE, GSO_TCP4, VNET_NEEDS_CHECKSUM } from '../../../../../src/system/native.js';
import { EINVAL, EIO, EMSGSIZE, type FromTun } from '../../../../helpers/fake-native.js';
import { headerChecksumIsRight, UDP } from '../../../../helpers/packets.js';
import { createTestPath, OWN_CONTAINER, PEER, PEER_CONTAINER } from '../../../../helpers/path.js';
import {
  ACK,
  CWR,
  ECE,
  FIN,
  PSH,
  packetsOf,
  pseudoSum,
  segmentsOf,
  superPacket,
  TCP,
  type TcpFields,
  tcpPacket,
  transportChecksumIsRight,
  udpPacket,
} from '../../../../helpers/super-packets.js';

const bytes = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 255);

const words = (max: number) =>
  fc
    .array(fc.integer({ min: 0, max: 255 }), { maxLength: max })
    .map((values) => Uint8Array.from(values.slice(0, values.length - (values.length % 4))));

/** Segments of a super-packet: more are of no kernel's making. */
const MOST = 2048;

/** Every header that a sender could have meant. */
const anyFields = fc.record({
  ttl: fc.integer({ min: 2, max: 255 }),
  tos: fc.integer({ min: 0, max: 255 }),
  identification: fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.constant(0xfffe)),
  fragment: fc.constantFrom(0x4000, 0),
  ipOptions: words(40),
  tcpOptions: words(40),
  sequence: fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.constant(-2), fc.constant(0x7fffffff)),
  acknowledgement: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  window: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.subarray([FIN, PSH, ECE, CWR]).map((set) => set.reduce((sum, flag) => sum | flag, ACK)),
  payload: fc.integer({ min: 1, max: 6000 }).map((length) => bytes(length)),
});

const whole = (fields: TcpFields, protocol: number) => (protocol === TCP ? tcpPacket(fields) : udpPacket(fields));

/**
 * Sends one super-packet and returns the packets on the wire.
 * @param before what the path has sent, and so expects again: the pieces in which it reads follow the last super-packet
 */
function split(fields: TcpFields, protocol: number, size: number, ecn = 0, before?: FromTun): Uint8Array[] {
  const path = createTestPath(true, [UDP_GSO]);
  const outbound = createOutbound(path.fake.native, path.memory, path.settings);
  if (before !== undefined) {
    path.fake.tunQueue.push(before);
    outbound();
    path.fake.sent.length = 0;
  }
  path.fake.tunQueue.push(superPacket(whole(fields, protocol), size, ecn));
  outbound();
  expect(path.fake.sent.every(({ nextHop }) => nextHop === PEER)).toBe(true);
  return packetsOf(path.fake.sent);
}

describe('split', () => {
  it.each([
    ['TCP', TCP],
    ['UDP', UDP],
  ])('equals what the plain rules say, for any %s header', { timeout: 60_000 }, (_, protocol) => {
    fc.assert(
      fc.property(anyFields, fc.integer({ min: 1, max: 1500 }), fc.constantFrom(0, GSO_ECN), (fields, size, ecn) => {
        const expected = segmentsOf({ ...fields, ttl: fields.ttl - 1 }, protocol, size);
        expect(split(fields, protocol, size, ecn)).toEqual(expected.length > MOST ? [] : expected);
      }),
      { numRuns: 150 },
    );
  });

  it.each([
    ['TCP', TCP],
    ['UDP', UDP],
  ])('does so from the pieces of the last super-packet, for any %s header', { timeout: 60_000 }, (_, protocol) => {
    const sizes = fc.integer({ min: 400, max: 1500 });
    fc.assert(
      fc.property(anyFields, sizes, fc.option(fc.tuple(anyFields, sizes)), (fields, size, other) => {
        // Usually one of the same form, and now and then one of another.
        const [otherFields, otherSize] = other ?? [{ ...fields, payload: bytes(3000, 5) }, size];
        const before = superPacket(whole(otherFields, protocol), otherSize);
        const expected = segmentsOf({ ...fields, ttl: fields.ttl - 1 }, protocol, size);
        expect(split(fields, protocol, size, 0, before)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });

  it('puts a plain packet together that is longer than the pieces of the last super-packet', () => {
    const path = createTestPath(true, [UDP_GSO]);
    const outbound = createOutbound(path.fake.native, path.memory, path.settings);
    path.fake.tunQueue.push(superPacket(tcpPacket({ payload: bytes(1200) }), 600));
    outbound();
    path.fake.sent.length = 0;
    const packet = udpPacket({ payload: bytes(1400), ttl: 64 });
    const { bytes: unfinished, vnet } = superPacket(packet, 0);
    path.fake.tunQueue.push(packet, { bytes: unfinished, vnet: vnet.with(1, GSO_NONE) });
    outbound();
    const expected = udpPacket({ payload: bytes(1400), ttl: 63 });
    expect(packetsOf(path.fake.sent)).toEqual([expected, expected]);
  });

  it('gives each packet right checksums, a full super-packet of 64 KB too', () => {
    const packets = split({ payload: bytes(45 * 1432) }, TCP, 1432);
    expect(packets).toHaveLength(45);
    for (const packet of packets) {
      expect(packet.length).toBe(1472);
      expect(headerChecksumIsRight(packet) && transportChecksumIsRight(packet)).toBe(true);
    }
  });

  it.each([
    ['TCP', TCP, 1, MOST],
    ['TCP', TCP, 31, MOST],
    ['UDP', UDP, 1, MOST],
  ])('makes as many segments of %s as there may be, and drops the whole of one more', (_, protocol, size, most) => {
    const payload = bytes(most * size);
    expect(split({ payload }, protocol, size)).toEqual(segmentsOf({ payload, ttl: 63 }, protocol, size));
    const path = createTestPath(true, [UDP_GSO]);
    path.fake.tunQueue.push(superPacket(whole({ payload: bytes(most * size + 1) }, protocol), size));
    createOutbound(path.fake.native, path.memory, path.settings)();
    expect(path.counted()).toEqual({ out_drop_segments: 1 });
  });

  it('finishes the checksum of a plain packet that TUN handed over without', () => {
    for (const packet of [tcpPacket({ payload: bytes(101) }), udpPacket({ payload: bytes(7) })]) {
      const path = createTestPath();
      const at = packet[9] === TCP ? 16 : 6;
      const unfinished = packet.slice();
      unfinished.set([pseudoSum(packet) >> 8, pseudoSum(packet) & 255], 20 + at);
      path.fake.tunQueue.push({ bytes: unfinished, vnet: [VNET_NEEDS_CHECKSUM, 0, 0, 0, 20, at] });
      createOutbound(path.fake.native, path.memory, path.settings)();
      expect(path.fake.sent[0].bytes.subarray(20)).toEqual(packet.subarray(20));
    }
  });

  const tcp = tcpPacket({ payload: bytes(3000) });
  it.each([
    ['no segment size', [VNET_NEEDS_CHECKSUM, GSO_TCP4, 0, 0, 20, 16]],
    ['no unfinished checksum', [0, GSO_TCP4, 0, 1000, 20, 16]],
    ['a transport header elsewhere', [VNET_NEEDS_CHECKSUM, GSO_TCP4, 0, 1000, 24, 16]],
    ['an unknown type', [VNET_NEEDS_CHECKSUM, 3, 0, 1000, 20, 16]],
    ['the other protocol', [VNET_NEEDS_CHECKSUM, 5, 0, 1000, 20, 6]],
    ['a checksum before the transport header', [VNET_NEEDS_CHECKSUM, 0, 0, 0, 10, 0]],
    ['a checksum behind the end', [VNET_NEEDS_CHECKSUM, 0, 0, 0, 20, 3019]],
  ])('drops a super-packet with %s', (_, vnet) => {
    const path = createTestPath();
    path.fake.tunQueue.push({ bytes: tcp, vnet });
    createOutbound(path.fake.native, path.memory, path.settings)();
    expect(path.fake.sent).toEqual([]);
    expect(path.counted()).toEqual({ out_drop_malformed: 1 });
  });
});

describe('trains', () => {
  function send(...packets: Uint8Array[]) {
    const path = createTestPath(true, [UDP_GSO]);
    path.fake.tunQueue.push(...packets);
    const outbound = createOutbound(path.fake.native, path.memory, path.settings);
    return { path, outbound };
  }
  const sized = (length: number, i = 0) => udpPacket({ payload: bytes(length - 28, i), sourcePort: 40000 + i });

  it('join neighbours of one size, of any flow, and a shorter one at the end', () => {
    const packets = [sized(100, 1), sized(100, 2), sized(60, 3), sized(60, 4), sized(100, 5)];
    const { path, outbound } = send(...packets);
    outbound();
    expect(path.fake.sent.map(({ segment, bytes: train }) => [segment, train.length])).toEqual([
      [100, 260],
      [0, 60],
      [0, 100],
    ]);
    expect(packetsOf(path.fake.sent).map((packet) => packet.subarray(20))).toEqual(
      packets.map((packet) => packet.subarray(20)),
    );
    expect(path.counted()).toMatchObject({ out_packets: 5 });
  });

  it('hold at most 64 packets and 65000 bytes', () => {
    const small = send(...Array.from({ length: 64 }, (_, i) => sized(40, i)));
    small.path.fake.tunQueue.push(sized(40), sized(40));
    small.outbound();
    expect(small.path.fake.sent.map(({ bytes: train }) => train.length)).toEqual([64 * 40]);
    const large = createTestPath(true, [UDP_GSO]);
    for (let i = 0; i < 3; i++) large.fake.tunQueue.push(superPacket(tcpPacket({ payload: bytes(45 * 1432) }), 1432));
    createOutbound(large.fake.native, large.memory, large.settings)();
    // Trains run across super-packets: 135 packets, 44 to a train.
    expect(large.fake.sent.map(({ bytes: train }) => train.length / 1472)).toEqual([44, 44, 44, 3]);
  });

  it('are sent one by one, none lost, and no more are made, when the kernel has no trains', () => {
    const packets = [sized(100, 1), sized(100, 2), sized(50, 3)];
    const { path, outbound } = send(...packets);
    path.fake.sendResults.push(-EIO);
    outbound();
    path.fake.tunQueue.push(sized(100, 4), sized(100, 5));
    outbound();
    expect(path.fake.sent.map(({ segment, bytes: train }) => [segment, train.length])).toEqual([
      [0, 100],
      [0, 100],
      [0, 50],
      [0, 100],
      [0, 100],
    ]);
    expect(path.memory.offloads[UDP_GSO]).toBe(0);
    expect(path.counted()).toMatchObject({ out_packets: 5, offload_fallbacks: 1 });
  });

  it('are not given up for a peer that not even single packets reach', () => {
    const { path, outbound } = send(sized(100, 1), sized(100, 2));
    // A blackhole route answers EINVAL to everything.
    path.fake.sendResults.push(-EINVAL, -EINVAL, -EINVAL);
    outbound();
    expect(path.memory.offloads[UDP_GSO]).toBe(1);
    expect(path.counted()).toEqual({ out_drop_send_error: 2 });
  });

  it('are not given up for a path whose MTU shrank, on a kernel that answers EINVAL to that', () => {
    const { path, outbound } = send(sized(1400, 1), sized(1400, 2));
    path.fake.sendResults.push(-EINVAL);
    outbound();
    expect(path.memory.offloads[UDP_GSO]).toBe(1);
    expect(path.counted()).toMatchObject({ out_packets: 2 });
  });

  it('of split packets keep header and payload together when they are sent one by one', () => {
    const path = createTestPath(true, [UDP_GSO]);
    const payload = bytes(3500);
    path.fake.tunQueue.push(superPacket(tcpPacket({ payload }), 1000));
    path.fake.sendResults.push(-EMSGSIZE);
    createOutbound(path.fake.native, path.memory, path.settings)();
    expect(path.fake.sent.map(({ bytes: packet }) => packet)).toEqual(segmentsOf({ payload, ttl: 63 }, TCP, 1000));
    // The path's MTU shrank: that is no reason to give up trains.
    expect(path.memory.offloads[UDP_GSO]).toBe(1);
  });
});

describe('merge of split', () => {
  const mergeable = anyFields.map((fields) => ({
    ...fields,
    ipOptions: new Uint8Array(0),
    flags: ACK | (fields.flags & (PSH | ECE)),
  }));

  it.each([
    ['TCP', TCP],
    ['UDP', UDP],
  ])('is the identity, for any %s super-packet', { timeout: 60_000 }, (_, protocol) => {
    fc.assert(
      fc.property(mergeable, fc.integer({ min: 200, max: 1400 }), (fields, size) => {
        const sent = { ...fields, source: PEER_CONTAINER, destination: OWN_CONTAINER };
        const segments = segmentsOf(sent, protocol, size);
        const path = createTestPath(true, [TUN_GRO_TCP, TUN_GRO_UDP]);
        path.fake.udpQueue.push({
          sender: PEER,
          bytes: Uint8Array.from(segments.flatMap((s) => [...s])),
          segment: segments[0].length,
        });
        createInbound(path.fake.native, path.memory, path.settings)();

        const all = whole(sent, protocol);
        const expected = segments.length === 1 ? { bytes: all, vnet: Array(6).fill(0) } : superPacket(all, size);
        const [written, ...rest] = path.fake.writtenMessages;
        expect(rest).toEqual([]);
        expect(written.bytes).toEqual(expected.bytes);
        if (segments.length > 1) {
          const headerLength = all.length - fields.payload.length;
          expect(written.vnet).toEqual(expected.vnet.with(2, headerLength));
        } else expect(written.vnet).toEqual(expected.vnet);
      }),
      { numRuns: 150 },
    );
  });
});
