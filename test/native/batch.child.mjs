// The batch calls against a real TUN device and real sockets.

import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { attach, attempt, ip, LOOPBACK, native, openPath, readTun, setIovec, setRecord, udpPacket } from './setup.mjs';

const TUN_READABLE = 1;
const UDP_READABLE = 2;
const UDP_WRITABLE = 4;
const STOP_SIGNALLED = 8;
const TUN_FAILED = 16;
const out = {};
const { memory, handles } = openPath(5000);
const host = dgram.createSocket('udp4');
host.bind(6000, '0.0.0.0');
await once(host, 'listening');
const received = [];
host.on('message', (message, remote) => received.push([message.toString(), remote.address, remote.port]));

/** Waits until `count` messages have arrived at the host's socket. */
async function hostReceives(count) {
  while (received.length < count) await once(host, 'message');
}
const textAt = (slab, offset, length) => Buffer.from(slab.subarray(offset, offset + length)).toString();
/** What a descriptor is of, if it is still open. */
function linkOf(fd) {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}
function drainTun() {
  while (readTun(memory, 64) > 0);
}

// --- wait ---
drainTun();
out.waitTimesOut = native.wait(TUN_READABLE | UDP_READABLE, 20, 0);
out.clockRuns = memory.clock[0] > 0;
out.writable = native.wait(UDP_WRITABLE, 1000, 0);

out.spinTimesOut = native.wait(TUN_READABLE | UDP_READABLE, 0, 200);

// --- TUN: two packets from the host's stack, read in one call, one after the other ---
host.send('first', 7000, '10.99.0.7');
host.send('a second one', 7001, '10.99.0.8');
await new Promise((resolve) => setImmediate(resolve));
out.tunReadable = native.wait(TUN_READABLE, 2000, 0);
out.read = readTun(memory, 64);
out.readRecords = [0, 1].map((i) => [...memory.tunPackets.subarray(i * 8 + 1, i * 8 + 8)]);
out.readOffsets = [0, 1].map((i) => memory.tunPackets[i * 8]);
out.readPackets = [0, 1].map((i) => {
  const [offset, length] = memory.tunPackets.subarray(i * 8, i * 8 + 2);
  return Buffer.from(memory.outboundSlab.subarray(offset + 28, offset + length)).toString();
});
out.readAgain = readTun(memory, 64);
host.send('one', 7000, '10.99.0.7');
host.send('two', 7000, '10.99.0.7');
await new Promise((resolve) => setImmediate(resolve));
native.wait(TUN_READABLE, 2000, 0);
out.readBounded = readTun(memory, 1);
drainTun();

// --- TUN write: from two iovecs in different slabs, and a bad packet between good ones ---
const packet = udpPacket('10.99.0.9', '10.99.0.1', 4000, 6000, Buffer.from('from the tunnel'));
memory.inboundSlab.set(packet.subarray(20), 100);
memory.headers.set(packet.subarray(0, 20), 0);
setIovec(memory.writeIovecs, 0, [2, 0, 20]);
setIovec(memory.writeIovecs, 1, [1, 100, packet.length - 20]);
setRecord(memory.writes, 0, [0, 2]);
memory.outboundSlab.set([0x00, 0x01, 0x02], 0); // neither IPv4 nor IPv6
setIovec(memory.writeIovecs, 2, [0, 0, 3]);
setRecord(memory.writes, 1, [2, 1]);
setRecord(memory.writes, 2, [0, 2]);
out.written = native.writeTun(0, 3);
out.writtenBad = native.writeTun(1, 2);
out.writtenLast = native.writeTun(2, 1);
await hostReceives(2);
out.hostReceived = received.splice(0);

// --- TUN: many at once, in order; and no more once enough bytes have come ---
const numbers = Array.from({ length: 40 }, (_, i) => String(i));
function hostSends(texts) {
  return Promise.all(texts.map((text) => new Promise((resolve) => host.send(text, 7000, '10.99.0.7', resolve))));
}
function textsRead(count) {
  return numbers.slice(0, count).map((_, i) => {
    const [offset, length] = memory.tunPackets.subarray(i * 8, i * 8 + 2);
    return textAt(memory.outboundSlab, offset + 28, length - 28);
  });
}
await hostSends(numbers);
out.readMany = readTun(memory, 64);
out.manyInOrder = textsRead(out.readMany);
await hostSends(numbers);
out.readEnough = native.readTun(64, memory.outboundSlab.length, 1, 0, 0);
out.readThirty = readTun(memory, 30);
out.thirtyInOrder = textsRead(out.readThirty);
out.readRest = readTun(memory, 64);
numbers.forEach((text, i) => {
  const numbered = udpPacket('10.99.0.9', '10.99.0.1', 4000, 6000, Buffer.from(text));
  memory.inboundSlab.set(numbered, i * 100);
  setIovec(memory.writeIovecs, i, [1, i * 100, numbered.length]);
  setRecord(memory.writes, i, [i, 1]);
});
memory.inboundSlab.set([0x00], 35 * 100); // no IP version
out.writtenMany = native.writeTun(0, 40);
out.writtenBehind = native.writeTun(36, 4);
await hostReceives(39);
out.manyReceived = received.splice(0).map(([text]) => text);

// --- the ring fails, as nothing but a fault of the kernel or a stranger in this process would have it ---
if (process.env.RUDDER_TEST_RING === '1') {
  // Node itself has rings too, since 22.
  const openRings = () => readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === 'anon_inode:[io_uring]');
  native.closeRing();
  const others = openRings();
  native.openRing();
  const rings = openRings().filter((fd) => !others.includes(fd));
  out.rings = rings.length;
  closeSync(Number(rings[0]));
  await hostSends(['behind the ring', 'and the last']);
  setRecord(memory.writes, 0, [0, 1]);
  setRecord(memory.writes, 1, [1, 1]);
  out.failedRead = readTun(memory, 64);
  out.failedWrite = native.writeTun(0, 2);
  native.closeRing();
  out.readWithout = readTun(memory, 64);
  out.textsWithout = textsRead(2);
  out.writtenWithout = native.writeTun(0, 2);
  await hostReceives(2);
  received.splice(0);

  // No descriptor is left for another one.
  execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=200:']);
  const nulls = [];
  attempt(() => {
    for (;;) nulls.push(openSync('/dev/null'));
  });
  out.openRefused = attempt(() => native.openRing());
  out.probeRefused = attempt(() => native.probeRing(handles.tun));
  for (const fd of nulls) closeSync(fd);
  native.probeRing(handles.tun);
  native.openRing();
}

// --- UDP: several datagrams in one call, to two ports, gathered from two slabs ---
memory.outboundSlab.set(Buffer.from('hello '), 0);
memory.headers.set(Buffer.from('world'), 0);
setIovec(memory.sendIovecs, 0, [0, 0, 6]);
setIovec(memory.sendIovecs, 1, [2, 0, 5]);
setIovec(memory.sendIovecs, 2, [2, 0, 5]);
setRecord(memory.sends, 0, [0, 2, LOOPBACK, 6000, 0]);
setRecord(memory.sends, 1, [2, 1, LOOPBACK, 5000, 0]);
out.sent = native.sendUdp(0, 2);
await hostReceives(1);
out.sentReceived = received.splice(0);
out.udpReadable = native.wait(UDP_READABLE, 2000, 0);
out.receivedCount = native.receiveUdp(64);
out.receivedRecord = [...memory.datagrams.subarray(0, 8)];
out.receivedText = textAt(memory.inboundSlab, memory.datagrams[0], 5);
out.receivedAgain = native.receiveUdp(64);

// --- slots begin at a page, wherever the slab does: two datagrams, into a slab that begins 100 bytes later ---
const later = memory.inboundSlab.subarray(100);
attach({ ...handles, ...memory, inboundSlab: later });
setRecord(memory.sends, 0, [2, 1, LOOPBACK, 5000, 0]);
native.sendUdp(0, 2);
native.wait(UDP_READABLE, 2000, 0);
out.laterCount = native.receiveUdp(64);
out.laterMoved = [0, 1].map((i) => (100 + memory.datagrams[i * 8] - out.receivedRecord[0]) % 4096);
out.laterTexts = [0, 1].map((i) => textAt(later, memory.datagrams[i * 8], 5));
attach({ ...handles, ...memory });

// --- a train: cut by the kernel into segments of one size, the last one shorter ---
memory.outboundSlab.set(Buffer.from('aaaabbbbcc'), 0);
setIovec(memory.sendIovecs, 0, [0, 0, 10]);
setRecord(memory.sends, 0, [0, 1, LOOPBACK, 6000, 4]);
out.trainSent = native.sendUdp(0, 1);
await hostReceives(3);
out.train = received.splice(0).map(([text]) => text);

// --- the same train to ourselves: UDP_GRO hands it over in one piece ---
native.probeUdpGso(handles.udp);
native.setUdpGro(handles.udp, 1);
setRecord(memory.sends, 0, [0, 1, LOOPBACK, 5000, 4]);
native.sendUdp(0, 1);
native.wait(UDP_READABLE, 2000, 0);
out.trainReceived = native.receiveUdp(64);
out.trainRecord = [...memory.datagrams.subarray(0, 8)];
out.trainText = textAt(memory.inboundSlab, memory.datagrams[0], 10);
native.setUdpGro(handles.udp, 0);

// --- super-packets: a train sent into the device is read in one piece, and written back turned round ---
const [NEEDS_CSUM, GSO_UDP] = [1, 5];
out.offloadRefused = attempt(() => native.setTunOffload(handles.tun, 0x8000));
native.setTunOffload(handles.tun, 0x01 | 0x60);
drainTun();
memory.inboundSlab.fill(0x61, 0, 3000);
setIovec(memory.sendIovecs, 0, [1, 0, 3000]);
// Our own socket is bound to loopback, from where nothing is routed to the device: the host's side sends.
const sender = native.openUdp(0x0a630001, 5001, 1 << 20);
attach({ ...handles, udp: sender, ...memory });
setRecord(memory.sends, 0, [0, 1, 0x0a630009, 6000, 1000]);
native.sendUdp(0, 1);
native.wait(TUN_READABLE, 2000, 0);
out.superRead = readTun(memory, 64);
const [, superLength, flags, type, , size, start, field] = memory.tunPackets.subarray(0, 8);
out.superRecord = [superLength, flags, type, size, start, field];
// The same once more, spread for sending: each segment behind a copy of the header of 28 bytes.
native.sendUdp(0, 1);
native.wait(TUN_READABLE, 2000, 0);
out.spreadRead = native.readTun(64, memory.outboundSlab.length, 1, 28, 1000);
const whole = Buffer.concat([memory.outboundSlab.subarray(0, 28), Buffer.alloc(1000, 0x61)]);
out.spreadSegments = [0, 1, 2].map((i) => whole.equals(memory.outboundSlab.subarray(i * 1028, (i + 1) * 1028)));
out.spreadLength = memory.tunPackets[1];
native.sendUdp(0, 1);
native.wait(TUN_READABLE, 2000, 0);
readTun(memory, 64);
memory.outboundSlab.copyWithin(200000, 12, 16); // swap source and destination
memory.outboundSlab.copyWithin(12, 16, 20);
memory.outboundSlab.copyWithin(16, 200000, 200004);
setIovec(memory.writeIovecs, 0, [0, 0, superLength]);
setRecord(memory.writes, 0, [0, 1, NEEDS_CSUM, GSO_UDP, 28, 1000, 20, 6]);
out.superWritten = native.writeTun(0, 1);
await hostReceives(3);
out.superReceived = received.splice(0).map(([text]) => text.length);
native.setTunOffload(handles.tun, 0);
attach({ ...handles, ...memory });

// --- a socket whose buffer is full ---
const small = native.openUdp(LOOPBACK, 5003, 4096);
out.noDrops = native.udpDrops(small);
for (let i = 0; i < 60; i++) {
  await new Promise((sent, failed) =>
    host.send(Buffer.alloc(1000), 5003, '127.0.0.1', (e) => (e ? failed(e) : sent())),
  );
}
attach({ ...handles, udp: small, ...memory });
const read = native.receiveUdp(64);
out.drops = native.udpDrops(small);
out.readOrDropped = read + out.drops;
attach({ ...handles, ...memory });

// --- checksums over every length and alignment, against the plain rule ---
for (let i = 0; i < 70000; i++) memory.outboundSlab[i] = memory.inboundSlab[i] = (i * 131 + (i >> 8)) & 255;
const ranges = Array.from({ length: 400 }, (_, i) => [i % 67, i < 300 ? i : 60000 + i * 13]);
function plainSum([offset, length]) {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += memory.inboundSlab[offset + k] << (k % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  return sum;
}
const setChecksum = (i, values) => memory.checksums.set(values, i * 5);
const FIELDS = 100_000; // behind all ranges
ranges.forEach(([offset, length], i) => {
  setChecksum(i, [offset, length, i, FIELDS + 2 * i, 0]);
});
out.finished = native.finishChecksums(400);
out.finishedWrong = ranges.filter((range, i) => {
  const field = memory.outboundSlab[FIELDS + 2 * i] * 256 + memory.outboundSlab[FIELDS + 2 * i + 1];
  // 0 and 0xffff are the same number in one's complement.
  return (plainSum(range) + i + field) % 0xffff !== 0;
});
// A checksum of 0, of a range that sums up to 0xffff, is written as asked.
memory.outboundSlab.set([0xff, 0xff], 0);
setChecksum(0, [0, 2, 0, FIELDS, 0]);
setChecksum(1, [0, 2, 0, FIELDS + 2, 0xffff]);
native.finishChecksums(2);
out.finishedZero = [...memory.outboundSlab.subarray(FIELDS, FIELDS + 4)];
// Every third is wrong by one.
const restOf = (range, i) => 0xffff - plainSum(range) + (i % 3 === 0 ? 1 : 0) || 0xffff;
ranges.forEach((range, i) => {
  setChecksum(i, [...range, restOf(range, i), -1, 0]);
});
out.wrong = native.verifyChecksums(400);
out.toldWrong = ranges.map((_, i) => memory.checksums[i * 5 + 3]);
for (const [name, record] of Object.entries({
  rangePastEnd: [memory.outboundSlab.length - 1, 2, 0, 0, 0],
  offsetNegative: [-1, 2, 0, 0, 0],
  lengthNegative: [0, -1, 0, 0, 0],
  lengthHuge: [0, 65537, 0, 0, 0],
  fieldNegative: [0, 2, 0, -1, 0],
  fieldPastEnd: [0, 2, 0, memory.outboundSlab.length - 1, 0],
})) {
  setChecksum(0, record);
  out[`finish.${name}`] = attempt(() => native.finishChecksums(1));
}
setChecksum(0, [memory.inboundSlab.length - 1, 2, 0, 0, 0]);
out.verifyPastEnd = attempt(() => native.verifyChecksums(1));

// --- the largest datagram, and one too large: the batch goes on behind it ---
setIovec(memory.sendIovecs, 0, [0, 0, 65507]);
setIovec(memory.sendIovecs, 1, [0, 0, 65508]);
setRecord(memory.sends, 0, [0, 1, LOOPBACK, 5000, 0]);
setRecord(memory.sends, 1, [1, 1, LOOPBACK, 5000, 0]);
setRecord(memory.sends, 2, [2, 1, LOOPBACK, 5000, 0]);
out.sendLargest = native.sendUdp(0, 3);
out.sendTooLarge = native.sendUdp(1, 2);
out.sendBehind = native.sendUdp(2, 1);
native.wait(UDP_READABLE, 2000, 0);
out.receivedLengths = [];
for (let n = native.receiveUdp(64); n > 0; n = native.receiveUdp(64)) {
  for (let i = 0; i < n; i++) out.receivedLengths.push(memory.datagrams[i * 8 + 1]);
}

// --- 256 messages in one call ---
for (let i = 0; i < 256; i++) {
  setIovec(memory.sendIovecs, i, [0, i, 1]);
  setRecord(memory.sends, i, [i, 1, LOOPBACK, 5000, 0]);
}
out.sentMany = native.sendUdp(0, 256);

// --- another thread's event ends a wait ---
const worker = new Worker(
  `const { workerData } = require('node:worker_threads');
   const native = require(workerData.addon);
   native.signalEvent(workerData.event);`,
  {
    eval: true,
    workerData: {
      event: handles.event,
      addon: new URL(`../../native/build/${process.env.RUDDER_NATIVE_BUILD}/rudder_native.node`, import.meta.url)
        .pathname,
    },
  },
);
out.stopSignalled = native.wait(0, 10_000, 0) & STOP_SIGNALLED;
await once(worker, 'exit');

// --- the device disappears ---
ip('link', 'delete', 't0');
out.tunFailed = native.wait(TUN_READABLE, 2000, 0) & TUN_FAILED;
out.readGone = readTun(memory, 1);
host.close();
process.stdout.write(JSON.stringify(out));
