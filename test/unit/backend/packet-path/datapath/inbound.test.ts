import { beforeEach, describe, expect, it } from 'vitest';
import { createInbound } from '../../../../../src/backend/packet-path/datapath/inbound.js';
import { forward } from '../../../../../src/backend/packet-path/datapath/loop.js';
import { PathFailure } from '../../../../../src/backend/packet-path/datapath/path-failure.js';
import {
  CONTROL_STOP,
  INBOUND_BATCH,
  INBOUND_TRAINS,
  MAX_SEGMENTS,
} from '../../../../../src/backend/packet-path/tables/memory.js';
import { IO_URING } from '../../../../../src/backend/packet-path/tables/offloads.js';
import { EBADFD, RING_FAILED, TUN_FAILED, TUN_READABLE, UDP_READABLE } from '../../../../../src/system/native.js';
import { EINVAL, EIO } from '../../../../helpers/fake-native.js';
import { ipv4Packet } from '../../../../helpers/packets.js';
import { createTestPath, ip, OWN_CONTAINER, PEER, PEER_CONTAINER, type TestPath } from '../../../../helpers/path.js';
import { superPacket, udpPacket } from '../../../../helpers/super-packets.js';

const packet = (fields = {}) => ipv4Packet({ source: PEER_CONTAINER, destination: OWN_CONTAINER, ...fields });
const concat = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

let path: TestPath;
let inbound: () => void;

beforeEach(() => {
  path = createTestPath();
  inbound = createInbound(path.fake.native, path.memory, path.settings);
});

describe('the way in', () => {
  it("writes a peer's packet unchanged: the TTL was already counted by its sender", () => {
    const original = packet({ ttl: 1 });
    path.fake.udpQueue.push({ sender: PEER, bytes: original });
    inbound();
    expect(path.fake.written).toEqual([original]);
    expect(path.counted()).toEqual({ in_packets: 1, in_bytes: original.length });
  });

  it('keeps the order and handles no more than a batch', () => {
    for (let i = 0; i < INBOUND_BATCH + 2; i++) {
      path.fake.udpQueue.push({ sender: PEER, bytes: packet({ payload: Uint8Array.from([i]) }) });
    }
    inbound();
    expect(path.fake.written.map((bytes) => bytes.at(-1))).toEqual([...Array(INBOUND_BATCH).keys()]);
  });

  it('takes a train apart into its segments', () => {
    const segments = [packet({ payload: new Uint8Array(80) }), packet({ payload: new Uint8Array(80) }), packet()];
    path.fake.udpQueue.push({ sender: PEER, bytes: concat(...segments), segment: 100 });
    inbound();
    expect(path.fake.written).toEqual(segments);
    expect(path.counted()).toMatchObject({ in_packets: 3 });
  });

  it.each([
    ['another subnet of the network', ip('10.240.78.2')],
    ['our own subnet', ip('10.240.26.9')],
    ['an address outside the network that is not its own', ip('8.8.8.8')],
  ])('drops a packet whose sender does not own its source: %s', (_, source) => {
    path.fake.udpQueue.push({ sender: PEER, bytes: packet({ source }) });
    inbound();
    expect(path.fake.written).toEqual([]);
    expect(path.counted()).toEqual({ in_drop_source: 1 });
  });

  it('drops a packet from a stranger who names a source of a peer', () => {
    path.fake.udpQueue.push({ sender: ip('10.1.1.66'), bytes: packet() });
    inbound();
    expect(path.counted()).toEqual({ in_drop_source: 1 });
  });

  it.each([
    OWN_CONTAINER,
    ip('10.240.99.2'),
    0,
  ])('drops a packet of nobody from nobody: sender 0.0.0.0, source %i', (source) => {
    path.fake.udpQueue.push({ sender: 0, bytes: packet({ source }) });
    inbound();
    expect(path.counted()).toEqual({ in_drop_source: 1 });
  });

  it('drops what a stranger sends from its own address: no one gets in who is not a member', () => {
    const stranger = ip('10.1.1.66');
    path.fake.udpQueue.push({ sender: stranger, bytes: packet({ source: stranger }) });
    inbound();
    expect(path.counted()).toEqual({ in_drop_source: 1 });
  });

  it("accepts a peer's underlay address as source", () => {
    path.fake.udpQueue.push({ sender: PEER, bytes: packet({ source: PEER }) });
    inbound();
    expect(path.counted()).toMatchObject({ in_packets: 1 });
  });

  it('takes a train of as many segments as a kernel makes, and drops the whole of one more', () => {
    const segments = Array.from({ length: 129 }, () => packet({ payload: new Uint8Array(4) }));
    path.fake.udpQueue.push(
      { sender: PEER, bytes: concat(...segments.slice(1)), segment: 24 },
      { sender: PEER, bytes: concat(...segments), segment: 24 },
      { sender: PEER, bytes: new Uint8Array(60_000), segment: 1 },
    );
    inbound();
    expect(path.fake.written).toHaveLength(128);
    expect(path.counted()).toMatchObject({ in_packets: 128, in_drop_segments: 2 });
  });

  it('has room for the segments of a whole turn', () => {
    expect(128 * INBOUND_TRAINS).toBeLessThanOrEqual(MAX_SEGMENTS);
  });

  it('accepts any source with the check switched off, but still only our own subnet as destination', () => {
    const open = createTestPath(false);
    open.fake.udpQueue.push(
      { sender: ip('10.1.1.66'), bytes: packet({ source: ip('8.8.8.8') }) },
      { sender: PEER, bytes: packet({ destination: ip('10.240.27.2') }) },
    );
    createInbound(open.fake.native, open.memory, open.settings)();
    expect(open.counted()).toMatchObject({ in_packets: 1, in_drop_destination: 1 });
  });

  it.each(['10.240.25.255', '10.240.27.0', '10.1.1.26', '224.0.0.1'])('drops a packet for %s', (text) => {
    path.fake.udpQueue.push({ sender: PEER, bytes: packet({ destination: ip(text) }) });
    inbound();
    expect(path.counted()).toEqual({ in_drop_destination: 1 });
  });

  it('drops malformed, empty and truncated datagrams, and only those', () => {
    path.fake.udpQueue.push(
      { sender: PEER, bytes: packet().subarray(0, 25) },
      { sender: PEER, bytes: new Uint8Array(0) },
      { sender: PEER, bytes: packet(), truncated: true },
      { sender: PEER, bytes: packet() },
    );
    inbound();
    expect(path.counted()).toMatchObject({ in_drop_malformed: 2, in_drop_truncated: 1, in_packets: 1 });
  });

  it('skips only the packet that the device refuses', () => {
    for (let i = 0; i < 3; i++)
      path.fake.udpQueue.push({ sender: PEER, bytes: packet({ payload: Uint8Array.from([i]) }) });
    path.fake.writeResults.push(1, -EIO);
    inbound();
    expect(path.fake.written.map((bytes) => bytes.at(-1))).toEqual([0, 2]);
    expect(path.counted()).toMatchObject({ in_packets: 2, in_drop_write_error: 1 });
  });

  it('tries one packet at a time behind a refused one, until the device takes one', () => {
    for (let i = 0; i < 5; i++) path.fake.udpQueue.push({ sender: PEER, bytes: packet() });
    path.fake.writeResults.push(-EIO, -EIO, 1);
    inbound();
    expect(path.fake.writesAsked).toEqual([5, 1, 1, 2]);
    expect(path.counted()).toMatchObject({ in_packets: 3, in_drop_write_error: 2 });
  });

  it('writes the same packets without the ring once it fails', () => {
    path.fake.hasRing = true;
    path.memory.offloads[IO_URING] = 1;
    path.fake.udpQueue.push({ sender: PEER, bytes: packet() }, { sender: PEER, bytes: packet() });
    path.fake.writeResults.push(1, RING_FAILED);
    inbound();
    expect(path.fake).toMatchObject({ hasRing: false, written: { length: 2 } });
    expect(path.memory.offloads[IO_URING]).toBe(0);
    expect(path.counted()).toMatchObject({ in_packets: 2, offload_fallbacks: 1 });
  });

  it('goes on after a receive error and ends when the device is gone', () => {
    path.fake.receiveResults.push(-EINVAL);
    inbound();
    expect(path.counted()).toEqual({ in_drop_receive_error: 1 });
    path.fake.udpQueue.push({ sender: PEER, bytes: packet() });
    path.fake.writeResults.push(-EBADFD);
    expect(inbound).toThrow(PathFailure);
  });
});

describe('the loop', () => {
  /** One turn. */
  function turn(): void {
    path.fake.onWait = () => {
      Atomics.store(path.memory.control, CONTROL_STOP, 1);
      return 0;
    };
    forward(path.fake.native, path.memory, path.settings);
  }

  it('uses a ring where that is wanted and there', () => {
    turn();
    expect(path.fake.hasRing).toBe(false);
    path.memory.offloads[IO_URING] = 1;
    turn();
    expect(path.fake.hasRing).toBe(true);
    expect(path.counted()).toEqual({});
  });

  it('goes without a ring, and says so, where the kernel refuses it', () => {
    path.memory.offloads[IO_URING] = 1;
    path.fake.refusesRing = true;
    turn();
    expect(path.memory.offloads[IO_URING]).toBe(0);
    expect(path.counted()).toEqual({ offload_fallbacks: 1 });
  });

  it('serves both directions in one turn, and stops when told', () => {
    const out = ipv4Packet({ source: OWN_CONTAINER, destination: PEER_CONTAINER });
    path.fake.tunQueue.push(out);
    path.fake.udpQueue.push({ sender: PEER, bytes: packet() });
    path.fake.onWait = () => {
      Atomics.store(path.memory.control, CONTROL_STOP, 1);
      return TUN_READABLE | UDP_READABLE;
    };
    forward(path.fake.native, path.memory, path.settings);
    expect(path.counted()).toMatchObject({ out_packets: 1, in_packets: 1 });
  });

  it('does not sleep on packets that it has read, and lets the other direction have its turn in between', () => {
    const large = () => superPacket(udpPacket({ payload: new Uint8Array(2000) }), 1);
    const pieces = 2000;
    for (let i = 0; i < 7; i++) path.fake.tunQueue.push(large());
    const turns: { timeoutMs: number; out: number; in: number }[] = [];
    path.fake.onWait = (interest, timeoutMs) => {
      const { out_packets = 0, in_packets = 0 } = path.counted();
      if ((interest & TUN_READABLE) === 0) return 0;
      turns.push({ timeoutMs, out: out_packets / pieces, in: in_packets });
      if (turns.length === 4) Atomics.store(path.memory.control, CONTROL_STOP, 1);
      path.fake.udpQueue.push({ sender: PEER, bytes: packet() });
      return turns.length === 1 ? TUN_READABLE | UDP_READABLE : UDP_READABLE;
    };
    forward(path.fake.native, path.memory, path.settings);
    expect(turns).toEqual([
      { timeoutMs: 1000, out: 0, in: 0 },
      { timeoutMs: 0, out: 3, in: 1 },
      { timeoutMs: 0, out: 6, in: 2 },
      { timeoutMs: 1000, out: 7, in: 3 },
    ]);
  });

  it('ends when the device fails', () => {
    path.fake.onWait = () => TUN_FAILED;
    expect(() => forward(path.fake.native, path.memory, path.settings)).toThrow(PathFailure);
  });
});
