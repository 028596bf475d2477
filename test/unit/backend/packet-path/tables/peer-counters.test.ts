import { describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { sharedInts } from '../../../../../src/backend/packet-path/tables/memory.js';
import { TUN_GRO_TCP, TUN_GRO_UDP, UDP_GSO } from '../../../../../src/backend/packet-path/tables/offloads.js';
import {
  addReceived,
  addSent,
  createPeerCounters,
  readPeer,
} from '../../../../../src/backend/packet-path/tables/peer-counters.js';
import { createRouteTable, entriesOf } from '../../../../../src/backend/packet-path/tables/routes.js';
import { parseSubnet } from '../../../../../src/core/address-text.js';
import { ipv4Packet } from '../../../../helpers/packets.js';
import { createTestPath, ip, OWN_CONTAINER, PEER, PEER_CONTAINER } from '../../../../helpers/path.js';
import { packetsOf, superPacket, tcpPacket } from '../../../../helpers/super-packets.js';

describe('traffic by peer', () => {
  it('counts what was sent as it was on the wire, super-packets too', () => {
    const path = createTestPath(true, [UDP_GSO]);
    const plain = ipv4Packet({ source: OWN_CONTAINER, destination: PEER_CONTAINER });
    path.fake.tunQueue.push(plain, superPacket(tcpPacket({ payload: new Uint8Array(3500) }), 1000));
    createOutbound(path.fake.native, path.memory, path.settings)();
    const sent = packetsOf(path.fake.sent);
    expect(path.peer()).toMatchObject({
      outPackets: 1 + 4,
      outBytes: sent.reduce((sum, packet) => sum + packet.length, 0),
      inPackets: 0,
      heardSecondsAgo: undefined,
    });
  });

  it('counts what was received of each train, and when', () => {
    const path = createTestPath(true, [TUN_GRO_TCP, TUN_GRO_UDP]);
    const packet = ipv4Packet({ source: PEER_CONTAINER, destination: OWN_CONTAINER });
    const forged = ipv4Packet({ source: ip('10.240.99.9'), destination: OWN_CONTAINER });
    const train = Uint8Array.from([...packet, ...packet, ...forged]);
    path.fake.udpQueue.push({ sender: PEER, bytes: train, segment: packet.length }, { sender: PEER, bytes: packet });
    path.memory.clock[0] = 5000;
    createInbound(path.fake.native, path.memory, path.settings)();
    expect(path.peer()).toMatchObject({ inPackets: 3, inBytes: 3 * packet.length, outPackets: 0, heardSecondsAgo: 0 });
  });

  it("leaves alone what a peer's host says from outside of the overlay", () => {
    const path = createTestPath();
    const error = ipv4Packet({ source: PEER, destination: OWN_CONTAINER });
    path.fake.udpQueue.push({ sender: PEER, bytes: error });
    createInbound(path.fake.native, path.memory, path.settings)();
    expect(path.counted()).toMatchObject({ in_packets: 1 });
    expect(path.peer()).toMatchObject({ inPackets: 0 });
  });

  it('keeps subnets apart, the last one of the network too', () => {
    const table = createRouteTable({ network: parseSubnet('10.0.0.0/28')!, subnetLength: 30 });
    const counters = createPeerCounters(table, sharedInts);
    for (let subnet = 0; subnet < 4; subnet++) {
      addSent(counters, subnet, subnet, 10 * subnet);
      addReceived(counters, subnet, 2 * subnet, 20 * subnet, 1000 * subnet);
    }
    expect([0, 1, 2, 3].map((subnet) => readPeer(counters, { first: subnet, count: 1 }, 4001))).toEqual(
      [0, 1, 2, 3].map((subnet) => ({
        outPackets: subnet,
        outBytes: 10 * subnet,
        inPackets: 2 * subnet,
        inBytes: 20 * subnet,
        heardSecondsAgo: (4001 - ((1000 * subnet) | 1)) / 1000,
      })),
    );
  });

  it('are summed for a subnet of several entries', () => {
    const table = createRouteTable({ network: parseSubnet('10.0.0.0/28')!, subnetLength: 30 });
    const counters = createPeerCounters(table, sharedInts);
    for (const number of [1, 2, 3]) addSent(counters, number, 1, 10 * number);
    addReceived(counters, 2, 1, 7, 3001);
    addReceived(counters, 3, 1, 7, 1001);
    const entries = entriesOf(table, parseSubnet('10.0.0.8/29')!);
    expect(entries).toEqual({ first: 2, count: 2 });
    expect(readPeer(counters, entries, 4001)).toEqual({
      outPackets: 2,
      outBytes: 50,
      inPackets: 2,
      inBytes: 14,
      heardSecondsAgo: 1,
    });
  });

  it('counts time on when the clock wraps, and never backwards', () => {
    const table = createRouteTable({ network: parseSubnet('10.0.0.0/28')!, subnetLength: 30 });
    const counters = createPeerCounters(table, sharedInts);
    addReceived(counters, 0, 1, 1, 0x7fffffff);
    expect(readPeer(counters, { first: 0, count: 1 }, 999).heardSecondsAgo).toBe(1);
    addReceived(counters, 0, 1, 1, 500); // kept as 501
    expect(readPeer(counters, { first: 0, count: 1 }, 500).heardSecondsAgo).toBe(0);
  });
});
