// Every argument that a caller could get wrong. Prints what each call did.
import { readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { INBOUND_SKEW_BYTES, OUTBOUND_SKEW_BYTES, PAGE_BYTES, SLOT_BYTES } from '../../dist/system/native.js';
import { attempt, bytes, ints, ip, LOOPBACK, native, openPath, readTun, setIovec, setRecord } from './setup.mjs';

const openFds = () => readdirSync('/proc/self/fd').length;
const out = {};

// --- set-up calls ---
out.tunNoName = attempt(() => native.openTun());
out.tunEmptyName = attempt(() => native.openTun(''));
out.tunLongName = attempt(() => native.openTun('x'.repeat(16)));
out.tunNul = attempt(() => native.openTun('t0\0x'));
out.tunNumber = attempt(() => native.openTun(7));
out.tunNotTun = attempt(() => native.openTun('lo'));
out.udpBadPort = attempt(() => native.openUdp(LOOPBACK, 65536, 65536));
out.udpFraction = attempt(() => native.openUdp(LOOPBACK, 1.5, 65536));
out.udpNaN = attempt(() => native.openUdp(LOOPBACK, Number.NaN, 65536));
out.udpHugeBuffer = attempt(() => native.openUdp(LOOPBACK, 5000, 2 ** 31));
ip('link', 'set', 'lo', 'up');
const taken = native.openUdp(LOOPBACK, 5555, 65536);
out.udpTaken = attempt(() => native.openUdp(LOOPBACK, 5555, 65536));
native.close(taken);
out.notifyNobody = attempt(() => native.notify('/nonexistent', 'READY=1'));
out.notifyNul = attempt(() => native.notify('\0abstract', 'READY=1'));
out.notifyLongPath = attempt(() => native.notify('x'.repeat(200), 'READY=1'));

// --- descriptors that are not ours, or of the wrong kind ---
const stdout = 1;
out.persistStdout = attempt(() => native.setTunPersistent(stdout, 1));
out.signalStdout = attempt(() => native.signalEvent(stdout));
out.closeStdout = attempt(() => native.close(stdout));
out.closeNegative = attempt(() => native.close(-1));
const event = native.openEvent();
out.persistEvent = attempt(() => native.setTunPersistent(event, 1));
out.dropsOfEvent = attempt(() => native.udpDrops(event));
out.probeRingEvent = attempt(() => native.probeRing(event));
native.close(event);
out.signalClosed = attempt(() => native.signalEvent(event));
out.closeTwice = attempt(() => native.close(event));

// --- batch calls without a path ---
const CALLS = [
  'wait',
  'readTun',
  'sendUdp',
  'receiveUdp',
  'writeTun',
  'finishChecksums',
  'verifyChecksums',
  'openRing',
  'closeRing',
];
for (const call of CALLS) {
  out[`${call}Detached`] = attempt(() => native[call](0, 0, 0, 0, 0));
}
out.attachNothing = attempt(() => native.attach({}));
out.attachNull = attempt(() => native.attach(null));
out.attachNumber = attempt(() => native.attach(7));

// --- batch calls with a path ---
const { memory, handles } = openPath(5000);
out.closeAttached = attempt(() => native.close(handles.tun));
out.attachWrongKind = attempt(() => native.attach({ ...handles, tun: handles.udp, ...memory }));
out.attachWrongArray = attempt(() => native.attach({ ...handles, ...memory, sends: bytes(64) }));
out.waitInterest = attempt(() => native.wait(1024, 0, 0));
out.waitTimeout = attempt(() => native.wait(1, -1, 0));
out.waitSpin = attempt(() => native.wait(1, 0, 1001));
out.readTooMany = attempt(() => native.readTun(65, 0, 65536, 0, 0));
out.readNegative = attempt(() => native.readTun(-1, 0, 65536, 0, 0));
out.readPastEnd = attempt(() => native.readTun(1, memory.outboundSlab.length + 1, 65536, 0, 0));
out.readEnoughNegative = attempt(() => native.readTun(1, 0, -1, 0, 0));
out.readHeaderHuge = attempt(() => native.readTun(1, 0, 65536, 121, 1000));
out.readSegmentHuge = attempt(() => native.readTun(1, 0, 65536, 40, 65537));
out.readSegmentSmall = attempt(() => native.readTun(1, 0, 65536, 40, 511));
out.readNoRoom = attempt(() => native.readTun(1, 65536, 65536, 40, 1000));
out.finishTooMany = attempt(() => native.finishChecksums(memory.checksums.length));
out.verifyNegative = attempt(() => native.verifyChecksums(-1));
out.receiveTooMany = attempt(() => native.receiveUdp(65));
out.sendTooMany = attempt(() => native.sendUdp(250, 7));
out.sendPastEnd = attempt(() => native.sendUdp(257, 0));
out.sendNone = attempt(() => native.sendUdp(256, 0));

const size = memory.outboundSlab.length;
const badIovecs = {
  slabNegative: [-1, 0, 10],
  slabUnknown: [3, 0, 10],
  offsetNegative: [0, -1, 10],
  lengthZero: [0, 0, 0],
  lengthNegative: [0, 0, -5],
  pastTheEnd: [0, size - 5, 6],
  farPastTheEnd: [0, 2147483647, 2147483647],
};
for (const [name, iovec] of Object.entries(badIovecs)) {
  setIovec(memory.sendIovecs, 0, iovec);
  setIovec(memory.writeIovecs, 0, iovec);
  setRecord(memory.sends, 0, [0, 1, LOOPBACK, 5001, 0]);
  setRecord(memory.writes, 0, [0, 1]);
  out[`send.${name}`] = attempt(() => native.sendUdp(0, 1));
  out[`write.${name}`] = attempt(() => native.writeTun(0, 1));
}
setIovec(memory.sendIovecs, 0, [0, 0, 10]);
setIovec(memory.writeIovecs, 0, [0, 0, 10]);
const iovecs = memory.sendIovecs.length / 3;
const badRecords = {
  firstNegative: [-1, 1],
  countZero: [0, 0],
  countNegative: [0, -1],
  countHuge: [0, 1025],
  firstPastEnd: [iovecs, 1],
  rangePastEnd: [iovecs - 1, 2],
  overflow: [2147483647, 2147483647],
};
for (const [name, [first, count]] of Object.entries(badRecords)) {
  setRecord(memory.sends, 0, [first, count, LOOPBACK, 5001, 0]);
  setRecord(memory.writes, 0, [first, count]);
  out[`send.${name}`] = attempt(() => native.sendUdp(0, 1));
  out[`write.${name}`] = attempt(() => native.writeTun(0, 1));
}
setRecord(memory.sends, 0, [0, 1, LOOPBACK, 0, 0]);
out['send.portZero'] = attempt(() => native.sendUdp(0, 1));
setRecord(memory.sends, 0, [0, 1, LOOPBACK, 5001, 65536]);
out['send.segmentHuge'] = attempt(() => native.sendUdp(0, 1));

// Each record has its slot, else attach() refuses the slab. Slots are so far apart, and the first inbound one begins at a page:
const outboundDistance = SLOT_BYTES + OUTBOUND_SKEW_BYTES;
const inboundDistance = SLOT_BYTES + INBOUND_SKEW_BYTES;
const two = { tunPackets: ints(16), datagrams: ints(16) };
const attachTwo = (slabs) => attempt(() => native.attach({ ...handles, ...memory, ...two, ...slabs }));
const isAttachable = (inboundSlab) =>
  attempt(() => native.attach({ ...handles, ...memory, datagrams: ints(8), inboundSlab })).code === undefined;
const room = bytes(inboundDistance + SLOT_BYTES + 2 * PAGE_BYTES);
let page = 0;
while (page < PAGE_BYTES && !isAttachable(room.subarray(page, page + SLOT_BYTES))) page++;
const fromPage = (behind, length) => room.subarray(page + behind, page + behind + length);
out.attachTwoSlots = attachTwo({
  outboundSlab: bytes(outboundDistance + SLOT_BYTES),
  inboundSlab: fromPage(0, inboundDistance + SLOT_BYTES),
});
out.attachOutboundSlot = attachTwo({ outboundSlab: bytes(outboundDistance + SLOT_BYTES - 1) });
out.attachInboundSlot = attachTwo({ inboundSlab: fromPage(0, inboundDistance + SLOT_BYTES - 1) });
out.attachInboundPage = attachTwo({ inboundSlab: fromPage(1, inboundDistance + SLOT_BYTES + PAGE_BYTES - 2) });
out.attachSmallSlabs = attachTwo({ outboundSlab: bytes(100), inboundSlab: bytes(100) });

// A limit smaller than a slot, record arrays of no records: nothing is read, nothing overrun.
native.attach({ ...handles, ...memory });
out.readSmallLimit = attempt(() => native.readTun(1, 100, 65536, 0, 0));
native.attach({
  ...handles,
  ...memory,
  tunPackets: ints(0),
  datagrams: ints(7),
  outboundSlab: bytes(100),
  inboundSlab: bytes(0),
});
out.readNoRecords = attempt(() => readTun(memory, 1));
out.receiveNoRecords = attempt(() => native.receiveUdp(1));
out.attachNoClock = attempt(() => native.attach({ ...handles, ...memory, clock: ints(0) }));

native.detach();
for (const fd of Object.values(handles)) native.close(fd);

// --- a thread that ends without closing anything leaves no descriptor behind ---
const before = openFds();
const code = `
  const { createRequire } = require('node:module');
  const native = require(${JSON.stringify(new URL(`../../native/build/${process.env.RUDDER_NATIVE_BUILD}/rudder_native.node`, import.meta.url).pathname)});
  for (let i = 0; i < 5; i++) native.openEvent();
  native.openEcho(0, 0, 0, 0, 65536);
  const handles = { tun: native.openTun('t1'), udp: native.openUdp(${LOOPBACK}, 5002, 65536), event: native.openEvent() };
  const slabs = ['outboundSlab', 'inboundSlab', 'headers'].map((name) => [name, new Uint8Array(new SharedArrayBuffer(70000))]);
  const records = ['tunPackets', 'datagrams', 'sends', 'sendIovecs', 'writes', 'writeIovecs', 'checksums', 'clock'];
  const memory = [...slabs, ...records.map((name) => [name, new Int32Array(new SharedArrayBuffer(32))])];
  native.attach({ ...handles, ...Object.fromEntries(memory) });
  try {
    native.openRing();
  } catch {} // not on every host
`;
const worker = new Worker(code, { eval: true });
await new Promise((resolve) => worker.on('exit', resolve));
out.leakedFds = openFds() - before;

// --- the table is finite, and says so ---
const events = [];
out.manyEvents = attempt(() => {
  for (let i = 0; i < 100; i++) events.push(native.openEvent());
});
out.eventsOpened = events.length;

process.stdout.write(JSON.stringify(out));
