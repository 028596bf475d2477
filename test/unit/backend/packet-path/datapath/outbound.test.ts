import { beforeEach, describe, expect, it } from 'vitest';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { PathFailure } from '../../../../../src/backend/packet-path/datapath/path-failure.js';
import { OUTBOUND_BATCH } from '../../../../../src/backend/packet-path/tables/memory.js';
import { IO_URING, UDP_GSO } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { EBADFD, RING_FAILED } from '../../../../../src/system/native.js';
import { EAGAIN, EMSGSIZE } from '../../../../helpers/fake-native.js';
import { headerChecksumIsRight, ICMP, ipv4Packet } from '../../../../helpers/packets.js';
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
import { superPacket, udpPacket } from '../../../../helpers/super-packets.js';

const packet = (fields = {}) => ipv4Packet({ source: OWN_CONTAINER, destination: PEER_CONTAINER, ...fields });
/** What fields of ports would hold, if there were any. */
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => [PORT >> 8, PORT & 255][i % 2]);
const NOWHERE = ip('10.240.200.2');

let path: TestPath;
let outbound: () => boolean;

beforeEach(() => {
  path = createTestPath();
  outbound = createOutbound(path.fake.native, path.memory, path.settings);
});

describe('the way out', () => {
  it('sends a packet to the next hop with one hop taken off its TTL and nothing else changed', () => {
    const original = packet({ payload: Uint8Array.from(Array(100).keys()) });
    path.fake.tunQueue.push(original);
    outbound();
    const [sent] = path.fake.sent;
    expect({ nextHop: sent.nextHop, port: sent.port }).toEqual({ nextHop: PEER, port: PORT });
    expect(sent.bytes[8]).toBe(original[8] - 1);
    expect(headerChecksumIsRight(sent.bytes)).toBe(true);
    expect(sent.bytes.subarray(12)).toEqual(original.subarray(12));
    expect(path.counted()).toEqual({ out_packets: 1, out_bytes: original.length });
  });

  it('keeps the order and handles no more than a batch', () => {
    for (let i = 0; i < OUTBOUND_BATCH + 3; i++) path.fake.tunQueue.push(packet({ payload: Uint8Array.from([i]) }));
    outbound();
    expect(path.fake.sent.map((sent) => sent.bytes.at(-1))).toEqual([...Array(OUTBOUND_BATCH).keys()]);
    expect(path.fake.tunQueue).toHaveLength(3);
  });

  it('follows a route that changes', () => {
    path.join('10.240.77.0/24', ip('10.1.1.99'));
    path.fake.tunQueue.push(packet());
    outbound();
    expect(path.fake.sent[0].nextHop).toBe(ip('10.1.1.99'));
  });

  it('drops what is no whole IPv4 packet', () => {
    path.fake.tunQueue.push(Uint8Array.from([0x60, 0, 0, 0]), packet().subarray(0, 30));
    outbound();
    expect(path.fake.sent).toEqual([]);
    expect(path.fake.written).toEqual([]);
    expect(path.counted()).toEqual({ out_drop_malformed: 2 });
  });

  it('answers net unreachable, from the address of rudder0, where there is no route', () => {
    const lost = packet({ destination: NOWHERE });
    path.fake.tunQueue.push(lost);
    outbound();
    const [answer] = path.fake.written;
    expect([...answer.subarray(12, 20)]).toEqual([10, 240, 26, 0, 10, 240, 26, 2]);
    expect([...answer.subarray(20, 22)]).toEqual([3, 0]);
    expect(answer.subarray(28)).toEqual(lost.subarray(0, 28));
    expect(path.counted()).toEqual({ out_drop_no_route: 1, out_icmp_packets: 1, out_icmp_bytes: answer.length });
  });

  it('answers time exceeded, and sends nothing, when the TTL is used up', () => {
    path.fake.tunQueue.push(packet({ ttl: 1 }));
    outbound();
    expect(path.fake.sent).toEqual([]);
    expect([...path.fake.written[0].subarray(20, 22)]).toEqual([11, 0]);
    expect(path.counted()).toMatchObject({ out_drop_ttl: 1, out_icmp_packets: 1 });
  });

  it('drops in silence what must not be answered', () => {
    const payload = Uint8Array.from([3, 0, 0, 0, 0, 0, 0, 0]);
    path.fake.tunQueue.push(
      packet({ destination: NOWHERE, protocol: ICMP, payload }),
      packet({ destination: NOWHERE, fragment: 100 }),
    );
    outbound();
    expect(path.fake.written).toEqual([]);
    expect(path.counted()).toEqual({ out_drop_no_route: 2 });
  });

  it.each([
    '224.0.0.22',
    '239.255.255.250',
    '255.255.255.255',
    '10.240.255.255',
  ])('drops what hosts send to all and many, %s, under a reason of its own, without an answer', (text) => {
    path.fake.tunQueue.push(packet({ destination: ip(text) }));
    outbound();
    expect(path.fake.written).toEqual([]);
    expect(path.counted()).toEqual({ out_drop_multicast: 1 });
  });

  it.each(['223.255.255.255', '240.0.0.1', '10.240.255.254'])('takes %s for a host', (text) => {
    path.fake.tunQueue.push(packet({ destination: ip(text) }));
    outbound();
    expect(path.counted()).toMatchObject({ out_drop_no_route: 1 });
  });

  describe('what the kernel has routed back into the device', () => {
    const ownDatagram = (fields = {}) =>
      udpPacket({ source: LOCAL_ADDRESS, sourcePort: PORT, port: PORT, payload: packet(), fragment: 0, ...fields });

    it.each([
      ["for a peer's host", ownDatagram({ destination: PEER })],
      ['for an address that has a route', ownDatagram()],
      ['with IP options', ownDatagram({ ipOptions: new Uint8Array(8) })],
      ['as a first fragment', ownDatagram({ fragment: 0x2000 })],
      ['with no hop left', ownDatagram({ ttl: 1 })],
      ['as a train', superPacket(ownDatagram({ payload: new Uint8Array(3000) }), 1000)],
    ])('%s is dropped without an answer', (_, datagram) => {
      path.fake.tunQueue.push(datagram);
      outbound();
      expect(path.fake.sent).toEqual([]);
      expect(path.fake.written).toEqual([]);
      expect(path.counted()).toEqual({ out_drop_loop: 1 });
    });

    it.each([
      ['from another port of this host', ownDatagram({ sourcePort: PORT + 1 })],
      ['to another port', ownDatagram({ port: PORT - 1 })],
      ['from another address', ownDatagram({ source: OWN_CONTAINER })],
      ['as a later fragment, which has no ports', ownDatagram({ fragment: 100 })],
      ['of another protocol', ipv4Packet({ source: LOCAL_ADDRESS, destination: PEER_CONTAINER, protocol: 6 })],
      ['too short for ports', ipv4Packet({ source: LOCAL_ADDRESS, destination: PEER_CONTAINER, payload: bytesOf(7) })],
    ])('is not taken for it: %s', (_, datagram) => {
      path.fake.tunQueue.push(datagram);
      outbound();
      expect(path.counted()).toMatchObject({ out_packets: 1 });
    });
  });

  it('limits its answers and counts what it kept back', () => {
    for (let i = 0; i < 60; i++) path.fake.tunQueue.push(packet({ destination: NOWHERE }));
    outbound();
    expect(path.fake.written).toHaveLength(50);
    expect(path.counted()).toMatchObject({ out_drop_no_route: 60, out_icmp_packets: 50, out_icmp_suppressed: 10 });
  });

  it('skips only the packet that cannot be sent', () => {
    for (let i = 0; i < 4; i++) path.fake.tunQueue.push(packet({ payload: Uint8Array.from([i]) }));
    path.fake.sendResults.push(1, -EMSGSIZE);
    outbound();
    expect(path.fake.sent.map((sent) => sent.bytes.at(-1))).toEqual([0, 2, 3]);
    expect(path.counted()).toMatchObject({ out_packets: 3, out_drop_too_large: 1 });
  });

  it('waits once for a full socket buffer, then drops the rest of the batch', () => {
    for (let i = 0; i < 4; i++) path.fake.tunQueue.push(packet());
    path.fake.sendResults.push(1, -EAGAIN, 1, -EAGAIN);
    outbound();
    expect(path.fake.writableWaits).toBe(1);
    expect(path.fake.sent).toHaveLength(2);
    expect(path.counted()).toMatchObject({ out_packets: 2, out_drop_send_buffer: 2 });
  });

  it('waits once in a turn, however often it has to send in between', () => {
    for (let i = 0; i < 5; i++) {
      path.fake.tunQueue.push(superPacket(udpPacket({ payload: new Uint8Array(1000) }), 10));
    }
    path.fake.sendResults.push(...Array(1000).fill(-EAGAIN));
    outbound();
    expect(path.fake.writableWaits).toBe(1);
    expect(path.counted()).toEqual({ out_drop_send_buffer: 500 });
    path.fake.tunQueue.push(packet());
    outbound();
    expect(path.fake.writableWaits).toBe(2);
  });

  it('waits as often for a refused train, whose packets go one by one', () => {
    path.memory.offloads[UDP_GSO] = 1;
    for (let i = 0; i < 4; i++) path.fake.tunQueue.push(packet());
    path.fake.sendResults.push(-EMSGSIZE, 1, -EAGAIN, 1, 1, -EAGAIN);
    outbound();
    expect(path.fake.writableWaits).toBe(1);
    expect(path.counted()).toMatchObject({ out_packets: 3, out_drop_send_buffer: 1 });
  });

  it('reads the same packets without the ring once it fails', () => {
    path.fake.hasRing = true;
    path.memory.offloads[IO_URING] = 1;
    path.fake.tunQueue.push(packet(), packet());
    path.fake.readResults.push(RING_FAILED);
    outbound();
    expect(path.fake).toMatchObject({ hasRing: false, sent: { length: 2 } });
    expect(path.memory.offloads[IO_URING]).toBe(0);
    expect(path.counted()).toMatchObject({ out_packets: 2, offload_fallbacks: 1 });
  });

  it('ends when the device is gone, and counts other read errors', () => {
    path.fake.readResults.push(-5);
    outbound();
    expect(path.counted()).toEqual({ out_drop_read_error: 1 });
    path.fake.readResults.push(-EBADFD);
    expect(outbound).toThrow(PathFailure);
  });
});
