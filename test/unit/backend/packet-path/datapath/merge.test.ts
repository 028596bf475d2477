import { describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { TUN_GRO_TCP, TUN_GRO_UDP } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { EINVAL } from '../../../../helpers/fake-native.js';
import { createTestPath, OWN_CONTAINER, PEER, PEER_CONTAINER } from '../../../../helpers/path.js';
import {
  ACK,
  CWR,
  FIN,
  PSH,
  RST,
  SYN,
  type TcpFields,
  type TransportFields,
  tcpPacket,
  URG,
  udpPacket,
} from '../../../../helpers/super-packets.js';

const way = { source: PEER_CONTAINER, destination: OWN_CONTAINER };
const payload = (length = 1000, value = 1) => new Uint8Array(length).fill(value);
/** The i-th packet of one TCP flow. */
const tcp = (i: number, fields: Partial<TcpFields> = {}) =>
  tcpPacket({ ...way, sequence: 1000 + i * 1000, identification: 100 + i, payload: payload(1000, i), ...fields });
const udp = (i: number, fields: Partial<TransportFields> = {}) =>
  udpPacket({ ...way, identification: 100 + i, payload: payload(1000, i), ...fields });

function damaged(packet: Uint8Array, at = packet.length - 1): Uint8Array {
  const copy = packet.slice();
  copy[at] ^= 0x10;
  return copy;
}

function receive(packets: readonly Uint8Array[], offloads = [TUN_GRO_TCP, TUN_GRO_UDP]) {
  const path = createTestPath(true, offloads);
  for (const bytes of packets) path.fake.udpQueue.push({ sender: PEER, bytes });
  return path;
}

/** How many packets each written message holds. */
function groups(packets: readonly Uint8Array[]): number[] {
  const path = receive(packets);
  createInbound(path.fake.native, path.memory, path.settings)();
  // Nothing is lost, and what stayed alone is exactly what was received.
  expect(path.counted()).toMatchObject({ in_packets: packets.length });
  let next = 0;
  return path.fake.writtenMessages.map(({ bytes, vnet }) => {
    if (vnet[1] === 0) {
      expect(bytes).toEqual(packets[next]);
      next++;
      return 1;
    }
    const count = Math.ceil((bytes.length - vnet[2]) / vnet[3]);
    next += count;
    return count;
  });
}

describe('merging', () => {
  it('joins neighbours of a TCP flow, and of a UDP flow', () => {
    expect(groups([tcp(0), tcp(1), tcp(2)])).toEqual([3]);
    expect(groups([udp(0), udp(1), udp(2)])).toEqual([3]);
  });

  it('lets a shorter packet, or a push, be the last one', () => {
    expect(groups([tcp(0), tcp(1, { payload: payload(10) }), tcp(2, { sequence: 2010 })])).toEqual([2, 1]);
    expect(groups([tcp(0), tcp(1, { flags: ACK | PSH }), tcp(2), tcp(3)])).toEqual([2, 2]);
    expect(groups([udp(0), udp(1, { payload: payload(10) }), udp(2)])).toEqual([2, 1]);
  });

  it('holds at most 64 packets', () => {
    expect(
      groups(Array.from({ length: 64 }, (_, i) => tcp(i, { payload: payload(10), sequence: 1000 + i * 10 }))),
    ).toEqual([64]);
    // A train of more than 64 KB cannot come in one packet.
    expect(
      groups(Array.from({ length: 50 }, (_, i) => tcp(i, { payload: payload(1432), sequence: 1000 + i * 1432 }))),
    ).toEqual([45, 5]);
  });

  it.each<[string, Partial<TcpFields>]>([
    ['another source port', { sourcePort: 40001 }],
    ['another destination port', { port: 5002 }],
    ['another source address', { source: PEER_CONTAINER + 1 }],
    ['another destination address', { destination: OWN_CONTAINER + 1 }],
    ['a gap before it', { sequence: 2001 }],
    ['an overlap', { sequence: 1999 }],
    ['another acknowledgement', { acknowledgement: 2001 }],
    ['another window', { window: 501 }],
    ['another TTL', { ttl: 63 }],
    ['another ToS', { tos: 1 }],
    ['another DF bit', { fragment: 0 }],
    ['other TCP options', { tcpOptions: Uint8Array.from([1, 1, 1, 0]) }],
    ['IP options', { ipOptions: Uint8Array.from([1, 1, 1, 0]) }],
    ['more payload', { payload: payload(1001) }],
    ['no payload', { payload: payload(0) }],
    ['SYN', { flags: ACK | SYN }],
    ['FIN', { flags: ACK | FIN }],
    ['RST', { flags: ACK | RST }],
    ['URG', { flags: ACK | URG }],
    ['CWR', { flags: ACK | CWR }],
    ['no ACK', { flags: 0 }],
    ['an urgent pointer', { urgent: 1 }],
  ])('never joins a TCP packet with %s', (_, fields) => {
    expect(groups([tcp(0), tcp(1, fields)])).toEqual([1, 1]);
  });

  it('never joins packets whose options of equal length differ', () => {
    const options = (last: number) => ({ tcpOptions: Uint8Array.from([1, 1, 1, last]) });
    expect(groups([tcp(0, options(0)), tcp(1, options(0))])).toEqual([2]);
    expect(groups([tcp(0, options(0)), tcp(1, options(1))])).toEqual([1, 1]);
  });

  it.each<[string, Partial<TransportFields>]>([
    ['another source port', { sourcePort: 40001 }],
    ['another destination port', { port: 5002 }],
    ['another TTL', { ttl: 63 }],
    ['another ToS', { tos: 1 }],
    ['more payload', { payload: payload(1001) }],
    ['no payload', { payload: payload(0) }],
  ])('never joins a UDP packet with %s', (_, fields) => {
    expect(groups([udp(0), udp(1, fields)])).toEqual([1, 1]);
  });

  it('without DF joins only identifications that count on, as the kernel will count them', () => {
    const open = { fragment: 0 };
    expect(groups([tcp(0, open), tcp(1, open)])).toEqual([2]);
    expect(groups([tcp(0, open), tcp(1, { ...open, identification: 100 })])).toEqual([1, 1]);
    expect(groups([tcp(0, { ...open, identification: 0xffff }), tcp(1, { ...open, identification: 0 })])).toEqual([2]);
    // With DF they mean nothing.
    expect(groups([tcp(0), tcp(1, { identification: 9 })])).toEqual([2]);
  });

  it('never joins fragments', () => {
    expect(groups([tcp(0, { fragment: 0x2000 }), tcp(1, { fragment: 0x2000 })])).toEqual([1, 1]);
    expect(groups([udp(0, { fragment: 0x0010 }), udp(1, { fragment: 0x0010 })])).toEqual([1, 1]);
  });

  it('keeps the order within a flow: what cannot be joined is not overtaken', () => {
    expect(groups([tcp(1), tcp(0), tcp(2)])).toEqual([1, 1, 1]);
    expect(groups([tcp(0), tcp(1), udp(0), tcp(2), tcp(3)])).toEqual([2, 1, 2]);
  });

  it('never launders a bad checksum: the packet arrives as bad as it came', () => {
    expect(groups([tcp(0), damaged(tcp(1)), tcp(2)])).toEqual([1, 1, 1]);
    expect(groups([damaged(tcp(0)), tcp(1), tcp(2)])).toEqual([1, 2]);
    expect(groups([udp(0), damaged(udp(1), 26), udp(2)])).toEqual([1, 1, 1]);
  });

  it('keeps all and the order when there is no room for more messages, with and without a bad checksum', () => {
    for (const bad of [-1, 0, 300, 599]) {
      // Two flows that take turns: nothing can be joined, but now and then.
      const packets = Array.from({ length: 600 }, (_, i) => {
        const flow = Math.floor(i / 20) % 2 === 0 ? i % 2 : 0;
        const packet = udp(i % 250, { payload: payload(20, i), sourcePort: 40000 + flow });
        return i === bad ? damaged(packet) : packet;
      });
      const path = createTestPath(true, [TUN_GRO_TCP, TUN_GRO_UDP]);
      for (let i = 0; i < packets.length; i += 60) {
        const bytes = Uint8Array.from(packets.slice(i, i + 60).flatMap((packet) => [...packet]));
        path.fake.udpQueue.push({ sender: PEER, bytes, segment: 48 });
      }
      createInbound(path.fake.native, path.memory, path.settings)();
      const payloads = path.fake.writtenMessages.flatMap(({ bytes }) =>
        Array.from({ length: (bytes.length - 28) / 20 }, (_, i) => bytes[28 + i * 20]),
      );
      expect(payloads).toEqual(packets.map((packet) => packet[28]));
      expect(path.fake.writtenMessages.length).toBeGreaterThan(256);
    }
  });

  it('never launders a bad header checksum either', () => {
    expect(groups([tcp(0), damaged(tcp(1), 10), tcp(2)])).toEqual([1, 1, 1]);
    expect(groups([damaged(udp(0), 11), damaged(udp(1), 11)])).toEqual([1, 1]);
  });

  it('never joins UDP without a checksum', () => {
    const without = (i: number) => {
      const packet = udp(i);
      packet.fill(0, 26, 28);
      return packet;
    };
    expect(groups([without(0), without(1)])).toEqual([1, 1]);
  });

  it('never joins a UDP packet whose own length is not that of its packet', () => {
    const short = (i: number) => {
      const packet = udp(i);
      packet.set([0x01, 0x00], 24);
      return packet;
    };
    expect(groups([short(0), short(1)])).toEqual([1, 1]);
  });

  it.each([
    [TUN_GRO_TCP, tcp],
    [TUN_GRO_UDP, udp],
  ])('writes the packets one by one, none lost, when the kernel refuses (%i)', (offload, packet) => {
    const path = receive([packet(0), packet(1), packet(2)]);
    const inbound = createInbound(path.fake.native, path.memory, path.settings);
    path.fake.writeResults.push(-EINVAL);
    inbound();
    expect(path.fake.written).toEqual([packet(0), packet(1), packet(2)]);
    expect(path.memory.offloads[offload]).toBe(0);
    expect(path.counted()).toMatchObject({ in_packets: 3, offload_fallbacks: 1 });
    // And merges no more of that kind.
    path.fake.udpQueue.push({ sender: PEER, bytes: packet(3) }, { sender: PEER, bytes: packet(4) });
    inbound();
    expect(path.fake.writtenMessages.slice(3).map(({ vnet }) => vnet[1])).toEqual([0, 0]);
  });

  it('counts the bytes of the packets as they were on the wire', () => {
    const path = receive([tcp(0), tcp(1)]);
    createInbound(path.fake.native, path.memory, path.settings)();
    expect(path.counted()).toEqual({ in_packets: 2, in_bytes: 2 * 1040 });
  });
});
