import { beforeEach, describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { createWire } from '../../../../../src/backend/packet-path/datapath/wire.js';
import { sharedInts } from '../../../../../src/backend/packet-path/tables/memory.js';
import { OFFLOADS, UDP_GSO } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { createSelves } from '../../../../../src/backend/packet-path/tables/peers.js';
import { nextHopOf } from '../../../../../src/backend/packet-path/tables/routes.js';
import * as layout from '../../../../../src/backend/packet-path/tables/session-layout.js';
import { createSessionTable } from '../../../../../src/backend/wireguard/sessions/session-table.js';
import { ENOKEY } from '../../../../../src/system/native.js';
import { ipv4Packet } from '../../../../helpers/packets.js';
import { createTestPath, ip, OWN_CONTAINER, PEER_CONTAINER, type TestPath } from '../../../../helpers/path.js';
import { packetsOf, superPacket, tcpPacket } from '../../../../helpers/super-packets.js';

const EAGAIN = -11;
const EIO = -5;

let path: TestPath;
let peer: number;
let table: ReturnType<typeof createSessionTable>;
/** What C counts in the calls to come. */
const count = (tally: number, amount: number) => {
  table.memory.sessions[layout.HEADER_TALLY + tally] = amount;
};

beforeEach(() => {
  const plain = createTestPath(
    true,
    OFFLOADS.map((_, i) => i),
  );
  table = createSessionTable(4);
  peer = nextHopOf(plain.settings.routes, PEER_CONTAINER);
  path = {
    ...plain,
    settings: { ...plain.settings, peers: createSelves(4, sharedInts), sealed: table.memory },
  };
  path.fake.sealed = table.memory;
});

const outbound = () => createOutbound(path.fake.native, path.memory, path.settings)();
const inbound = () => createInbound(path.fake.native, path.memory, path.settings)();
const toPeer = (length: number) =>
  ipv4Packet({ source: OWN_CONTAINER, destination: PEER_CONTAINER, payload: new Uint8Array(length) });
const fromPeer = (sequence: number, length = 500) =>
  tcpPacket({ source: PEER_CONTAINER, destination: OWN_CONTAINER, sequence, payload: new Uint8Array(length) });

describe('the way out', () => {
  it('names the peer, and sends what was sealed in as many parts as that took', () => {
    path.fake.tunQueue.push(toPeer(100), toPeer(200), toPeer(300), toPeer(400));
    path.fake.sealResults.push(1, 2);
    outbound();
    expect(path.fake.sent.map(({ nextHop }) => nextHop)).toEqual([peer, peer, peer, peer]);
    expect(packetsOf(path.fake.sent).map(({ length }) => length)).toEqual([120, 220, 320, 420]);
    expect(path.counted()).toMatchObject({ out_packets: 4, out_bytes: 1080 });
  });

  it('makes trains that fit into a datagram when each segment has grown', () => {
    path.fake.tunQueue.push(superPacket(tcpPacket({ payload: new Uint8Array(64_000) }), 1380));
    outbound();
    const [first] = path.fake.sent;
    expect(first.segment).toBe(1420);
    expect(first.bytes.length).toBe(44 * 1420);
    for (const { bytes, segment } of path.fake.sent) {
      const segments = Math.ceil(bytes.length / (segment || bytes.length));
      expect(bytes.length + segments * 47).toBeLessThanOrEqual(65_507);
    }
  });

  it('counts as nothing what waits for a session, and sends what is behind it', () => {
    path.fake.tunQueue.push(toPeer(100), toPeer(200));
    path.fake.sendResults.push(-ENOKEY);
    outbound();
    expect(path.fake.sent).toHaveLength(1);
    expect(path.counted()).toEqual({ out_packets: 1, out_bytes: 220 });
  });

  it('seals the packets of a refused train anew, each for itself', () => {
    path.fake.tunQueue.push(superPacket(tcpPacket({ payload: new Uint8Array(3000) }), 1000));
    path.fake.sendResults.push(EIO, 1, EAGAIN, 1, -ENOKEY);
    outbound();
    expect(path.fake.sent.map(({ nextHop, segment, bytes }) => [nextHop, segment, bytes.length])).toEqual([
      [peer, 0, 1040],
      [peer, 0, 1040],
    ]);
    expect(path.memory.offloads[UDP_GSO]).toBe(0);
    expect(path.counted()).toMatchObject({ out_packets: 2 });
  });
});

describe('the way in', () => {
  it('delivers opened packets of a peer, merged where they lie', () => {
    const packets = [fromPeer(1000), fromPeer(1500), fromPeer(2000)];
    packets.forEach((bytes, i) => {
      path.fake.opened.push({ bytes, peer, at: 1000 + i * 600 });
    });
    inbound();
    expect(path.fake.written).toHaveLength(1);
    expect(path.counted()).toEqual({ in_packets: 3, in_bytes: 3 * 540 });
    expect(path.peer()).toMatchObject({ inPackets: 3, inBytes: 3 * 540, heardSecondsAgo: 0 });
  });

  it('drops what is not of that peer, also if another peer had it before', () => {
    path.fake.opened.push({ bytes: fromPeer(1000), peer, at: 0 });
    path.fake.opened.push({ bytes: fromPeer(1500), peer: peer + 1, at: 1000 });
    const stranger = ipv4Packet({ source: ip('10.9.9.9'), destination: OWN_CONTAINER, payload: new Uint8Array(9) });
    path.fake.opened.push({ bytes: stranger, peer, at: 2000 });
    // No address of a peer is allowed either: a number is not one.
    const self = ipv4Packet({ source: peer, destination: OWN_CONTAINER, payload: new Uint8Array(9) });
    path.fake.opened.push({ bytes: self, peer, at: 3000 });
    inbound();
    expect(path.counted()).toEqual({ in_packets: 1, in_bytes: 540, in_drop_source: 3 });
  });

  it('looks at what was opened as at any packet', () => {
    path.fake.opened.push({ bytes: new Uint8Array(40).fill(0x60), peer, at: 0 });
    const elsewhere = ipv4Packet({
      source: PEER_CONTAINER,
      destination: ip('10.240.99.2'),
      payload: new Uint8Array(9),
    });
    path.fake.opened.push({ bytes: elsewhere, peer, at: 1000 });
    inbound();
    expect(path.counted()).toEqual({ in_drop_malformed: 1, in_drop_destination: 1 });
  });

  it('counts an error of the socket, and ends with it if it is closed', () => {
    path.fake.receiveResults.push(-113);
    inbound();
    expect(path.counted()).toEqual({ in_drop_receive_error: 1 });
    path.fake.receiveResults.push(-9);
    expect(inbound).toThrow('receiveUdp failed for good: EBADF');
  });
});

it('what C has counted is counted by its reason, and news rings', async () => {
  const wire = createWire(path.fake.native, path.memory, path.settings);
  for (let tally = layout.TALLY_NO_SESSION; tally <= layout.TALLY_STAGED_FAILED; tally++) count(tally, tally + 1);
  wire.receive(1);
  expect(path.counted()).toEqual({
    in_drop_no_session: 2,
    in_drop_bad_tag: 3,
    in_drop_replay: 4,
    in_drop_bad_mac: 5,
    in_drop_mailbox_full: 6,
    in_drop_malformed: 7,
    in_drop_truncated: 8,
    in_drop_segments: 9,
    in_keepalives: 10,
    in_handshakes: 11,
    out_drop_staged: 12,
    out_keepalives: 13,
    out_packets: 14,
    out_bytes: 15,
    out_drop_send_error: 16,
  });
  let rung = false;
  const news = table.news().then(() => {
    rung = true;
  });
  await Promise.resolve();
  expect(rung).toBe(false);
  count(layout.TALLY_NEWS, 1);
  wire.attend();
  await news;
  expect(path.fake.attended).toBe(1);
});
