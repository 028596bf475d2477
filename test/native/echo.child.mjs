// ICMP echo on loopback, and from a TUN device on which anything can come. Prints what each call did.
import { execFileSync } from 'node:child_process';
import { readSync, writeSync } from 'node:fs';
import { openEchoSocket } from '../../dist/system/echo.js';
import { attempt, ip, native } from './setup.mjs';

const out = {};
const address = (text) => text.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);
ip('link', 'set', 'lo', 'up', 'mtu', '1400');

/** What a socket receives until there are so many, or a second is over. */
async function receive(socket, count) {
  const echoes = [];
  for (const end = performance.now() + 1000; echoes.length < count && performance.now() < end; ) {
    echoes.push(...socket.receive());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return echoes;
}
const told = ({ type, source, id, sequence, payloadBytes }) => [type, source, id, sequence, payloadBytes];
const sorted = (echoes) => echoes.map(told).sort();

// --- a request, the kernel's reply, and when ---
const any = openEchoSocket();
const bound = openEchoSocket({ address: address('127.0.0.2') });
const sentAt = any.send(address('127.0.0.1'), 7, 65535, 100);
const echoes = await receive(any, 2);
out.echoes = sorted(echoes);
out.times = echoes.every(({ receivedAt }) => receivedAt >= sentAt && receivedAt <= Date.now() * 1000 + 1000);
out.isNow = Math.abs(Date.now() * 1000 - sentAt) < 1e6;
out.notForBound = bound.receive().length;
// From its address, and only what is sent to it.
bound.send(address('127.0.0.1'), 8, 1);
out.bound = sorted(await receive(bound, 1));
out.boundSeenByAny = sorted(await receive(any, 2));
any.send(address('127.0.0.1'), 9, 2, 65507);
out.largest = sorted(await receive(any, 2));
out.nothing = any.receive();

// --- DF ---
const whole = openEchoSocket({ dontFragment: true });
whole.send(address('127.0.0.1'), 10, 1, 1400 - 28);
out.fits = sorted(await receive(whole, 2));
out.tooLarge = attempt(() => whole.send(address('127.0.0.1'), 10, 2, 1400 - 27));

// --- refusals ---
ip('route', 'add', 'unreachable', '10.8.0.0/16');
out.noRoute = attempt(() => any.send(address('10.9.0.1'), 1, 1));
out.noHost = attempt(() => any.send(address('10.8.0.1'), 1, 1));
execFileSync('iptables', ['-A', 'OUTPUT', '-d', '127.0.0.9', '-j', 'DROP']);
out.dropped = attempt(() => any.send(address('127.0.0.9'), 1, 1));
out.notOurs = attempt(() => openEchoSocket({ address: address('10.9.0.1') }));

// --- a mark, by which rules route ---
ip('rule', 'add', 'fwmark', '8285', 'lookup', '8285');
ip('route', 'add', '10.9.0.0/16', 'dev', 'lo', 'src', '127.0.0.1', 'table', '8285');
const marked = openEchoSocket({ mark: 8285 });
out.marked = attempt(() => marked.send(address('10.9.0.1'), 1, 1)).code ?? 'sent';
const alsoMarked = openEchoSocket({ mark: -1 });
out.otherMark = attempt(() => alsoMarked.send(address('10.9.0.1'), 1, 1)).code;
for (const socket of [bound, whole, marked, alsoMarked]) socket.close();
const near = openEchoSocket({ ttl: 1 });
any.receive();

// --- what comes from elsewhere, right and wrong ---
const tun = native.openTun('t0');
ip('link', 'set', 't0', 'addrgenmode', 'none');
ip('address', 'add', '10.99.0.1/24', 'dev', 't0');
ip('link', 'set', 't0', 'up');
function checksum(bytes) {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~(sum + (sum >>> 16)) & 0xffff;
}
near.send(address('10.99.0.9'), 1, 1);
near.close();
const packet = Buffer.alloc(200);
out.ttl = packet.subarray(0, readSync(tun, packet))[10 + 8];
/** Behind a vnet header of zeroes. */
function arrives({ type = 0, code = 0, sequence = 1, payload = 5, cut = 0, wrong = 0, options = 0 }) {
  const message = Buffer.alloc(8 + payload, 0x55);
  message.set([type, code, 0, 0, 0, 77]);
  message.writeUInt16BE(sequence, 6);
  message.writeUInt16BE((checksum(message) + wrong) & 0xffff, 2);
  const header = Buffer.alloc(20 + options, 1); // options: no operation
  header.set([0x45 + options / 4, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 99, 0, 2, 10, 99, 0, 1]);
  header.writeUInt16BE(header.length + message.length - cut, 2);
  header.writeUInt16BE(checksum(header), 10);
  writeSync(tun, Buffer.concat([Buffer.alloc(10), header, message.subarray(0, message.length - cut)]));
}
const unwanted = { wrong: 1, code: 1, other: 40, error: 3, cut: 6, half: 3 };
arrives({ wrong: unwanted.wrong });
arrives({ code: unwanted.code });
arrives({ type: unwanted.other });
arrives({ type: unwanted.error });
arrives({ payload: 0, cut: unwanted.cut });
arrives({ cut: unwanted.half });
arrives({ sequence: 2, payload: 6 });
arrives({ sequence: 3, payload: 7, options: 8 });
arrives({ type: 8, sequence: 4, payload: 0 });
out.arrived = sorted(await receive(any, 3));
out.silence = any.receive().length;

// --- as many as fit, and no more packets than it may read at once ---
const fd = native.openEcho(0, 0, 0, 0, 1 << 20);
for (let i = 0; i < 5; i++) arrives({ sequence: i });
const room = new Float64Array(6 * 2 + 5);
out.fitting = [0, 1, 2, 3].map(() => native.receiveEchoes(fd, room));
out.restOfRoom = [...room.subarray(12)];
out.noRoom = native.receiveEchoes(fd, new Float64Array(5));
for (let i = 0; i < 260; i++) arrives({ type: 40 });
arrives({ sequence: 9 });
out.bounded = [native.receiveEchoes(fd, room), native.receiveEchoes(fd, room), room[3]];
const shared = new Float64Array(new SharedArrayBuffer(64, { maxByteLength: 128 }));
arrives({ sequence: 11 });
out.onShared = [native.receiveEchoes(fd, shared), shared[3]];
const gone = new Float64Array(12);
structuredClone(gone.buffer, { transfer: [gone.buffer] });
out.detached = native.receiveEchoes(fd, gone);
native.close(fd);

// --- arguments ---
const event = native.openEvent();
const echo = native.openEcho(0, 0, 0, 0, 65536);
out.refused = {
  openNothing: attempt(() => native.openEcho()),
  openAddress: attempt(() => native.openEcho(2 ** 31, 0, 0, 0, 65536)),
  openMark: attempt(() => native.openEcho(0, 0.5, 0, 0, 65536)),
  openFragment: attempt(() => native.openEcho(0, 0, 2, 0, 65536)),
  openTtl: attempt(() => native.openEcho(0, 0, 0, 256, 65536)),
  openBuffer: attempt(() => native.openEcho(0, 0, 0, 0, 1)),
  sendNothing: attempt(() => native.sendEcho(echo)),
  sendEvent: attempt(() => native.sendEcho(event, 1, 1, 1, 1)),
  sendId: attempt(() => native.sendEcho(echo, 1, 65536, 1, 1)),
  sendSequence: attempt(() => native.sendEcho(echo, 1, 1, -1, 1)),
  sendPayload: attempt(() => native.sendEcho(echo, 1, 1, 1, 65508)),
  receiveEvent: attempt(() => native.receiveEchoes(event, room)),
  receiveNothing: attempt(() => native.receiveEchoes(echo, undefined)),
  receiveFloats: attempt(() => native.receiveEchoes(echo, new Float32Array(12))),
  receiveArray: attempt(() => native.receiveEchoes(echo, [0, 0, 0, 0, 0, 0])),
  receiveProxy: attempt(() => native.receiveEchoes(echo, new Proxy(room, {}))),
};
native.close(echo);
out.refused.receiveClosed = attempt(() => native.receiveEchoes(echo, room));
native.close(event);
any.close();
process.stdout.write(JSON.stringify(out));
