import { beforeEach, describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { createPeerTables } from '../../../../../src/backend/packet-path/peer-tables.js';
import { isMember } from '../../../../../src/backend/packet-path/tables/members.js';
import { TUN_GRO_UDP } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { parseSubnet } from '../../../../../src/core/address-text.js';
import type { Lease } from '../../../../../src/core/lease.js';
import { parseCommonConfig } from '../../../../../src/core/network-config.js';
import { udp } from '../../../../helpers/leases.js';
import { ipv4Packet } from '../../../../helpers/packets.js';
import {
  createTestPath,
  ip,
  OWN_CONTAINER,
  PEER,
  PEER_CONTAINER,
  PORT,
  type TestPath,
} from '../../../../helpers/path.js';
import { udpPacket } from '../../../../helpers/super-packets.js';

const packet = (fields = {}) => ipv4Packet({ source: PEER_CONTAINER, destination: OWN_CONTAINER, ...fields });
const concat = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

let path: TestPath;
let inbound: () => void;

beforeEach(() => {
  path = createTestPath();
  inbound = createInbound(path.fake.native, path.memory, path.settings);
});

describe('from another port than nodes send from', () => {
  const NATTED = ip('10.1.1.88');
  const natted = (fields = {}) => packet({ source: ip('10.240.88.2'), ...fields });

  beforeEach(() => {
    path.join('10.240.88.0/24', NATTED, true);
  });

  it.each([
    ['as its container', packet()],
    ['as its host', packet({ source: PEER })],
  ])("drops what somebody behind a peer's address sends %s, be it his own reset of a flow", (_, bytes) => {
    path.fake.udpQueue.push({ sender: PEER, bytes, port: PORT + 1 });
    inbound();
    expect(path.fake.written).toEqual([]);
    expect(path.counted()).toEqual({ in_drop_source: 1 });
  });

  it('drops all segments of a train, each counted', () => {
    path.fake.udpQueue.push({ sender: PEER, bytes: concat(packet(), packet()), segment: 36, port: 0 });
    inbound();
    expect(path.counted()).toEqual({ in_drop_source: 2 });
  });

  it('drops the next packet of a flow too, which would join those of the datagram before', () => {
    path = createTestPath(true, [TUN_GRO_UDP]);
    inbound = createInbound(path.fake.native, path.memory, path.settings);
    const next = (i: number) =>
      udpPacket({ source: PEER_CONTAINER, destination: OWN_CONTAINER, payload: Uint8Array.from([i, i]) });
    path.fake.udpQueue.push(
      { sender: PEER, bytes: next(1) },
      { sender: PEER, bytes: next(2) },
      { sender: PEER, bytes: next(3), port: PORT - 1 },
      { sender: PEER, bytes: next(4) },
    );
    inbound();
    expect(path.counted()).toMatchObject({ in_packets: 3, in_drop_source: 1 });
    expect(path.fake.written.map((bytes) => [...bytes.subarray(28)])).toEqual([[1, 1, 2, 2, 4, 4]]);
  });

  it('accepts what a node sends that says so, and nothing else of it', () => {
    path.fake.udpQueue.push(
      { sender: NATTED, bytes: natted(), port: 61_000 },
      { sender: NATTED, bytes: natted(), port: PORT },
      { sender: NATTED, bytes: packet(), port: 61_000 },
    );
    inbound();
    expect(path.counted()).toMatchObject({ in_packets: 2, in_drop_source: 1 });
  });

  it('drops what comes from nobody, or from a stranger', () => {
    for (const sender of [0, ip('10.1.1.66')]) path.fake.udpQueue.push({ sender, bytes: packet(), port: 1 });
    inbound();
    expect(path.counted()).toEqual({ in_drop_source: 2 });
  });

  it('accepts it with the check switched off', () => {
    const open = createTestPath(false);
    open.fake.udpQueue.push({ sender: PEER, bytes: packet(), port: 61_000 });
    createInbound(open.fake.native, open.memory, open.settings)();
    expect(open.counted()).toMatchObject({ in_packets: 1 });
  });
});

describe('whose ports are mapped', () => {
  const lease = (subnet: string, publicIp: number, portMapped: boolean): Lease => ({
    subnet: parseSubnet(subnet)!,
    publicIp,
    nodeId: undefined,
    backend: udp(portMapped),
  });
  const [A, B] = [ip('10.1.1.77'), ip('10.1.1.88')];

  it('follows the leases: one of a node is enough, and what it says now counts', () => {
    const { portMapped, members, apply } = createPeerTables(parseCommonConfig('{"Network":"10.240.0.0/16"}'), PORT);
    const mapped = () => [A, B].filter((address) => isMember(portMapped, address));
    const first = (publicIp: number, isMapped: boolean) => lease('10.240.1.0/24', publicIp, isMapped);
    const second = lease('10.240.2.0/24', A, true);
    apply([{ type: 'added', lease: first(A, true) }]);
    expect(mapped()).toEqual([A]);
    apply([{ type: 'added', lease: second }]);
    apply([{ type: 'changed', lease: first(A, false) }]);
    expect(mapped()).toEqual([A]);
    apply([{ type: 'removed', lease: second }]);
    expect(mapped()).toEqual([]);
    expect(isMember(members, A)).toBe(true);
    apply([{ type: 'changed', lease: first(B, true) }]);
    expect(mapped()).toEqual([B]);
    expect(isMember(members, A)).toBe(false);
    apply([{ type: 'removed', lease: first(B, true) }]);
    expect([mapped(), isMember(members, B)]).toEqual([[], false]);
  });
});
