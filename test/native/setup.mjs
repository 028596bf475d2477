// Shared by the child scripts: the built addon, and memory as the daemon makes it.
import { execFileSync } from 'node:child_process';
import { createSharedMemory } from '../../dist/backend/packet-path/tables/memory.js';
import * as system from '../../dist/system/native.js';

export const { native } = system;
export const LOOPBACK = 0x7f000001;

export function ip(...args) {
  execFileSync('ip', args);
}

/** What a call throws, or its result. */
export function attempt(call) {
  try {
    return { result: call() };
  } catch (error) {
    const { code, errno, syscall, message } = error;
    return { code, errno, syscall, message, isError: error instanceof Error };
  }
}

/** An attached path: TUN t0 up with 10.99.0.1/24, a socket on 127.0.0.1. */
export function openPath(udpPort) {
  ip('link', 'set', 'lo', 'up');
  const tun = native.openTun('t0');
  // Before it is up: the kernel would ask for routers a second later, which are packets that no test expects.
  ip('link', 'set', 't0', 'addrgenmode', 'none');
  ip('address', 'add', '10.99.0.1/24', 'dev', 't0');
  ip('link', 'set', 't0', 'up');
  const udp = native.openUdp(LOOPBACK, udpPort, 1 << 20);
  const event = native.openEvent();
  const memory = createSharedMemory();
  const handles = { tun, udp, event };
  attach({ ...handles, ...memory });
  return { memory, handles };
}

/** As the worker does it: with a ring, if the test is about one. */
export function attach(path) {
  native.attach(path);
  if (process.env.RUDDER_TEST_RING === '1') native.openRing();
}

/** Typed arrays as attach() takes them. */
export function bytes(length) {
  return new Uint8Array(new SharedArrayBuffer(length));
}
export function ints(length) {
  return new Int32Array(new SharedArrayBuffer(4 * length));
}

export function setRecord(array, index, values) {
  array.set([...values, ...Array(8 - values.length).fill(0)], index * system.RECORD_INTS);
}

export function setIovec(array, index, values) {
  array.set(values, index * system.IOVEC_INTS);
}

/** Reads packets in one piece each. */
export function readTun(memory, max) {
  return native.readTun(max, memory.outboundSlab.length, memory.outboundSlab.length, 0, 0);
}

/** A UDP packet in IPv4, checksums left 0 where the kernel does not look (UDP) and right where it does (IP). */
export function udpPacket(source, destination, sourcePort, port, payload) {
  const packet = Buffer.alloc(28 + payload.length);
  packet.writeUInt8(0x45, 0);
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt8(64, 8);
  packet.writeUInt8(17, 9);
  Buffer.from(source.split('.').map(Number)).copy(packet, 12);
  Buffer.from(destination.split('.').map(Number)).copy(packet, 16);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += packet.readUInt16BE(i);
  sum = (sum & 0xffff) + (sum >>> 16);
  packet.writeUInt16BE(~(sum + (sum >>> 16)) & 0xffff, 10);
  packet.writeUInt16BE(sourcePort, 20);
  packet.writeUInt16BE(port, 22);
  packet.writeUInt16BE(8 + payload.length, 24);
  payload.copy(packet, 28);
  return packet;
}
