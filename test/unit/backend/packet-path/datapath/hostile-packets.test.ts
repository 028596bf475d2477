import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { type CounterName, readAll } from '../../../../../src/backend/packet-path/tables/counters.js';
import { OFFLOADS } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { formatIpv4 } from '../../../../../src/core/ipv4.js';
import { GSO_ECN, GSO_TCP4, GSO_UDP, VNET_NEEDS_CHECKSUM } from '../../../../../src/system/native.js';
import type { Datagram, FromTun } from '../../../../helpers/fake-native.js';
import { headerChecksumIsRight, ipv4Packet, UDP } from '../../../../helpers/packets.js';
import {
  createTestPath,
  ip,
  LOCAL_ADDRESS,
  OWN_CONTAINER,
  PEER,
  PEER_CONTAINER,
  PORT,
  type TestPath,
} from '../../../../helpers/path.js';
import {
  ACK,
  headerLengthOf,
  packetsOf,
  superPacket,
  tcpPacket,
  udpPacket,
} from '../../../../helpers/super-packets.js';

/** Whatever arrives: no throw, and each packet either delivered or counted under exactly one reason. */
const RUNS = { numRuns: 600 };
const ALL_OFFLOADS = OFFLOADS.map((_, i) => i);
const OTHER_PEER = ip('10.1.1.88');
const STRANGER = ip('10.1.1.66');

const address = fc.oneof(
  fc.constantFrom(OWN_CONTAINER, PEER_CONTAINER, PEER, OTHER_PEER, STRANGER, LOCAL_ADDRESS),
  fc.constantFrom(
    ...['10.240.26.0', '10.240.26.255', '10.240.88.3', '10.240.99.9', '10.240.255.255', '224.0.0.1'].map(ip),
  ),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
);
const words = fc.uint8Array({ maxLength: 40 }).map((bytes) => bytes.slice(0, bytes.length & ~3));
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 120 }),
  fc.integer({ min: 0, max: 3000 }).map((length) => new Uint8Array(length).fill(7)),
);
const uint16 = fc.integer({ min: 0, max: 0xffff });

/** Packets that mean something: TCP, UDP and others, with options, fragments, odd flags and TTLs. */
function packetsBetween(source: fc.Arbitrary<number>, destination: fc.Arbitrary<number>): fc.Arbitrary<Uint8Array> {
  const common = {
    source,
    destination,
    ttl: fc.oneof(fc.constant(64), fc.integer({ min: 0, max: 255 })),
    fragment: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(0, 0x4000) }, uint16),
  };
  const transport = {
    ...common,
    ipOptions: fc.oneof({ weight: 4, arbitrary: fc.constant(new Uint8Array(0)) }, words),
    identification: fc.constantFrom(1, 2, 3, 0xffff),
    payload,
  };
  const flags = fc.oneof({ weight: 4, arbitrary: fc.constant(ACK) }, fc.integer({ min: 0, max: 255 }));
  return fc.oneof(
    fc
      .record({ ...transport, sequence: fc.constantFrom(1000, 1100, 1200, -1), flags, tcpOptions: words })
      .map((fields) => tcpPacket(fields)),
    fc.record(transport).map((fields) => udpPacket(fields)),
    fc
      .record({ ...common, protocol: fc.integer({ min: 0, max: 255 }), options: words, payload })
      .map((fields) => ipv4Packet(fields)),
  );
}

/** The same, damaged: bytes changed, cut short, made longer; or no packet at all. */
function damagedOf(packets: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const changed = fc
    .tuple(packets, fc.array(fc.tuple(fc.nat(80), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }))
    .map(([packet, changes]) => {
      const bytes = packet.slice();
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes;
    });
  const cut = fc.tuple(packets, fc.nat(100)).map(([packet, length]) => packet.slice(0, length));
  const grown = fc.tuple(packets, words).map(([packet, more]) => Uint8Array.from([...packet, ...more]));
  return fc.oneof({ weight: 4, arbitrary: packets }, changed, cut, grown, fc.uint8Array({ maxLength: 80 }));
}

const fromNetwork = damagedOf(
  packetsBetween(
    fc.oneof({ weight: 3, arbitrary: fc.constant(PEER_CONTAINER) }, address),
    fc.oneof({ weight: 3, arbitrary: fc.constant(OWN_CONTAINER) }, address),
  ),
);

const port = fc.oneof(
  { weight: 4, arbitrary: fc.constant(PORT) },
  fc.constantFrom(PORT - 1, 0, 61_000),
  fc.integer({ min: 0, max: 0xffff }),
);
const sender = fc.oneof({ weight: 3, arbitrary: fc.constant(PEER) }, address);
const single = fc
  .record({
    sender,
    port,
    bytes: fromNetwork,
    truncated: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.boolean()),
  })
  .map((made): Datagram => made);

/** The size of a train's segments need not be that of the packets within, and it may be of more than a kernel makes. */
const train = fc
  .tuple(sender, port, fc.array(fromNetwork, { minLength: 1, maxLength: 8 }), fc.nat(3000), fc.boolean())
  .map(([from, fromPort, packets, other, honest]): Datagram => {
    const bytes = new Uint8Array(Buffer.concat(packets));
    const wanted = honest ? packets[0].length : other;
    return { sender: from, port: fromPort, bytes, segment: Math.max(wanted, 1) };
  });

/** What a peer sends when all is well, and an offload would merge: a run of one flow. */
const flow = fc
  .tuple(fc.integer({ min: 2, max: 20 }), fc.integer({ min: 1, max: 100 }), fc.boolean())
  .map(([packets, size, isTcp]): Datagram => {
    const segments = Array.from({ length: packets }, (_, i) => {
      const fields = { source: PEER_CONTAINER, destination: OWN_CONTAINER, payload: new Uint8Array(size).fill(i) };
      return isTcp ? tcpPacket({ ...fields, sequence: 1000 + i * size }) : udpPacket(fields);
    });
    return { sender: PEER, bytes: new Uint8Array(Buffer.concat(segments)), segment: segments[0].length };
  });

const isTooMany = ({ bytes, segment = 0, truncated = false }: Datagram) =>
  !truncated && segment > 0 && Math.ceil(bytes.length / segment) > 128;

/** What is counted: each segment, or a datagram that is dropped whole. */
const segmentsIn = (datagram: Datagram): Uint8Array[] => {
  const { bytes, segment = 0, truncated = false } = datagram;
  if (truncated || bytes.length === 0 || isTooMany(datagram)) return [bytes];
  const size = segment || bytes.length;
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size));
};

const sumOf = (path: TestPath, pattern: RegExp) =>
  Object.entries(readAll(path.memory.counters))
    .filter(([name]) => pattern.test(name))
    .reduce((sum, [, count]) => sum + count, 0);
const count = (path: TestPath, name: CounterName) => readAll(path.memory.counters)[name];

const addressAt = (packet: Uint8Array, at: number) => new DataView(packet.buffer, packet.byteOffset).getInt32(at);
const sourceOf = (packet: Uint8Array) => addressAt(packet, 12);
const destinationOf = (packet: Uint8Array) => addressAt(packet, 16);

/** The rules again, written as plainly as can be: the outer source owns the inner one, and it is for us. */
function mayEnter({ sender: from, port: fromPort }: Datagram, packet: Uint8Array): boolean {
  if (fromPort !== undefined && fromPort !== PORT && from !== OTHER_PEER) return false;
  const inner = formatIpv4(sourceOf(packet));
  const owner = inner.startsWith('10.240.77.') ? PEER : inner.startsWith('10.240.88.') ? OTHER_PEER : undefined;
  const isMember = from === PEER || from === OTHER_PEER;
  const owns = inner.startsWith('10.240.') ? owner === from : sourceOf(packet) === from && isMember;
  return owns && formatIpv4(destinationOf(packet)).startsWith('10.240.26.');
}

function isWhole(packet: Uint8Array): boolean {
  return (
    packet.length >= 20 &&
    packet[0] >> 4 === 4 &&
    headerLengthOf(packet) >= 20 &&
    headerLengthOf(packet) <= packet.length &&
    packet[2] * 256 + packet[3] === packet.length
  );
}

function isOwnDatagram(packet: Uint8Array): boolean {
  const header = headerLengthOf(packet);
  if (!isWhole(packet) || packet[9] !== UDP || sourceOf(packet) !== LOCAL_ADDRESS) return false;
  const isLaterFragment = ((packet[6] & 0x1f) | packet[7]) !== 0;
  return !isLaterFragment && packet.length >= header + 8 && addressAt(packet, header) === PORT * 0x10001;
}

function isForMany(packet: Uint8Array): boolean {
  if (!isWhole(packet) || isOwnDatagram(packet)) return false;
  const destination = formatIpv4(destinationOf(packet));
  return /^2(2[4-9]|3\d)\./.test(destination) || ['255.255.255.255', '10.240.255.255'].includes(destination);
}

function pathWith(offloads: readonly number[]): TestPath {
  const path = createTestPath(true, offloads);
  path.join('10.240.88.0/24', OTHER_PEER, true);
  return path;
}

// The deadline is for a busy machine: alone each takes a second or two.
describe.each([
  ['plain', []],
  ['with all offloads', ALL_OFFLOADS],
] as [string, number[]][])('%s', { timeout: 60_000 }, (_, offloads) => {
  it('of what the network sends, exactly what may enter does, and all else is counted once', () => {
    const seen = { delivered: 0, dropped: 0, merged: 0, tooMany: 0 };
    fc.assert(
      fc.property(
        fc.array(fc.oneof(single, train, flow), { minLength: 1, maxLength: 10 }),
        fc.array(fc.constantFrom(1, 2, -22, -5), { maxLength: 3 }),
        (datagrams, writeResults) => {
          const path = pathWith(offloads);
          path.fake.udpQueue.push(...datagrams);
          path.fake.writeResults.push(...writeResults);
          const inbound = createInbound(path.fake.native, path.memory, path.settings);
          while (path.fake.udpQueue.length > 0) inbound();

          const segments = datagrams.flatMap((datagram) =>
            segmentsIn(datagram).map((bytes) => ({ ...datagram, bytes, isTooMany: isTooMany(datagram) })),
          );
          const expected = segments.filter(
            (one) => one.truncated !== true && !one.isTooMany && isWhole(one.bytes) && mayEnter(one, one.bytes),
          );
          const delivered = count(path, 'in_packets');
          expect(delivered + sumOf(path, /^in_drop/)).toBe(segments.length);
          // What may enter and was not delivered, the device has refused.
          expect(delivered + count(path, 'in_drop_write_error')).toBe(expected.length);
          expect(count(path, 'in_drop_segments')).toBe(datagrams.filter(isTooMany).length);
          seen.tooMany += count(path, 'in_drop_segments');
          expect(count(path, 'in_drop_truncated')).toBe(datagrams.filter(({ truncated }) => truncated).length);
          for (const packet of path.fake.written) {
            expect(isWhole(packet)).toBe(true);
            expect(datagrams.some((datagram) => mayEnter(datagram, packet))).toBe(true);
          }
          if (offloads.length === 0 && writeResults.length === 0) {
            expect(path.fake.written).toEqual(expected.map(({ bytes }) => bytes));
          }
          const bytes = path.fake.writtenMessages.reduce((sum, message) => sum + message.bytes.length, 0);
          if (path.fake.written.length === delivered) expect(count(path, 'in_bytes')).toBe(bytes);
          expect(path.fake.sent).toEqual([]);
          seen.delivered += delivered;
          seen.dropped += segments.length - delivered;
          seen.merged += delivered - path.fake.written.length;
        },
      ),
      RUNS,
    );
    expect(Math.min(seen.delivered, seen.dropped)).toBeGreaterThan(100);
    expect(seen.tooMany).toBeGreaterThan(10);
    if (offloads.length > 0) expect(seen.merged).toBeGreaterThan(0);
  });

  it('what TUN hands over is sent to the owner of its destination or counted once, with at most one answer', () => {
    const packets = damagedOf(
      packetsBetween(fc.oneof({ weight: 2, arbitrary: fc.constant(OWN_CONTAINER) }, address), address),
    );
    const vnet = fc.oneof(
      { weight: 2, arbitrary: fc.constant([0, 0, 0, 0, 0, 0]) },
      // What a well-meaning kernel says of a TCP or UDP super-packet, and what no kernel says.
      fc
        .tuple(fc.constantFrom(GSO_TCP4, GSO_UDP, GSO_TCP4 | GSO_ECN), fc.integer({ min: 1, max: 1500 }))
        .map(([type, size]) => [VNET_NEEDS_CHECKSUM, type, 0, size, 20, type === GSO_UDP ? 6 : 16]),
      fc.tuple(fc.nat(255), fc.nat(255), uint16, uint16, uint16, uint16),
    );
    const ownDatagrams = fc
      .record({ destination: address, fragment: fc.constantFrom(0, 0x2000, 5), sourcePort: port, payload })
      .map((fields) => udpPacket({ ...fields, source: LOCAL_ADDRESS, port: PORT }));
    const large = fc
      .tuple(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 100, max: 1500 }), fc.boolean())
      .map(([length, size, isTcp]) =>
        superPacket((isTcp ? tcpPacket : udpPacket)({ payload: new Uint8Array(length).fill(3) }), size),
      );
    const fromTun: fc.Arbitrary<FromTun> = fc.oneof(
      { weight: 6, arbitrary: fc.record({ bytes: packets, vnet }) },
      { weight: 2, arbitrary: large },
      { weight: 1, arbitrary: fc.record({ bytes: damagedOf(ownDatagrams), vnet }) },
    );
    const seen = { sent: 0, dropped: 0, split: 0, answers: 0, loops: 0, many: 0 };
    fc.assert(
      fc.property(
        fc.array(fromTun, { minLength: 1, maxLength: 10 }),
        fc.array(fc.constantFrom(1, 2, -5, -22, -90, -11), { maxLength: 3 }),
        (queue, sendResults) => {
          const path = pathWith(offloads);
          path.fake.tunQueue.push(...queue.map(({ bytes, ...rest }) => ({ ...rest, bytes: bytes.slice() })));
          path.fake.sendResults.push(...sendResults);
          createOutbound(path.fake.native, path.memory, path.settings)();

          const sent = count(path, 'out_packets');
          const refused = sumOf(path, /^out_drop_(send|too)/);
          const handed = path.peer().outPackets + otherPeer(path);
          expect(count(path, 'out_drop_loop')).toBe(queue.filter(({ bytes }) => isOwnDatagram(bytes)).length);
          expect(count(path, 'out_drop_multicast')).toBe(queue.filter(({ bytes }) => isForMany(bytes)).length);
          // Read, and then either dropped for what it is or handed on as one packet or, super-packets, as many.
          expect(sent + refused).toBe(handed);
          const dropped = sumOf(path, /^out_drop_(malformed|no_route|ttl|segments|loop|multicast)/);
          const whole = queue.length - dropped;
          expect(handed).toBeGreaterThanOrEqual(whole);
          if (queue.every(({ vnet: fields }) => fields[1] === 0)) expect(handed).toBe(whole);

          const wire = packetsOf(path.fake.sent);
          expect(wire.length).toBe(sent);
          for (const message of path.fake.sent) {
            expect(message.port).toBe(PORT);
            for (const packet of packetsOf([message])) {
              expect(isWhole(packet)).toBe(true);
              const subnet = formatIpv4(destinationOf(packet)).split('.').slice(0, 3).join('.');
              expect(message.nextHop).toBe({ '10.240.77': PEER, '10.240.88': OTHER_PEER }[subnet]);
            }
          }
          // Answers are to the packet's own sender, never about more than one dropped packet, and smaller than two of it.
          const unanswerable = count(path, 'out_drop_no_route') + count(path, 'out_drop_ttl');
          expect(path.fake.written.length).toBeLessThanOrEqual(unanswerable);
          for (const answer of path.fake.written) {
            expect(isWhole(answer) && headerChecksumIsRight(answer)).toBe(true);
            expect(answer.length).toBeLessThanOrEqual(116);
            expect(formatIpv4(destinationOf(answer))).toMatch(/^10\.240\.26\./);
            expect(queue.some(({ bytes }) => isWhole(bytes) && sourceOf(bytes) === destinationOf(answer))).toBe(true);
          }
          seen.sent += sent;
          seen.dropped += dropped;
          seen.split += handed - whole;
          seen.loops += count(path, 'out_drop_loop');
          seen.many += count(path, 'out_drop_multicast');
          seen.answers += path.fake.written.length;
        },
      ),
      RUNS,
    );
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(20);
  });
});

function otherPeer(path: TestPath): number {
  return path.trafficWith('10.240.88.0/24').outPackets;
}
