// A sealed wire on a real socket: what C seals is opened by node:crypto, and the other way round.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { nowMs } from '../../dist/backend/packet-path/tables/clock.js';
import * as layout from '../../dist/backend/packet-path/tables/session-layout.js';
import { takeMail, waitingMail } from '../../dist/backend/wireguard/sessions/mailbox.js';
import { createSessionTable } from '../../dist/backend/wireguard/sessions/session-table.js';
import { attempt, ints, LOOPBACK, native, openPath, setIovec } from './setup.mjs';

const UDP_READABLE = 2;
const MTU = 1420;
const PEERS = 9;
const LAST_RECORD = 255;
const REMOTE_INDEX = 0x01020304;
const out = {};

// --- what node:crypto makes of it ---
const nonceOf = (counter) => {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64LE(BigInt.asUintN(64, counter), 4);
  return nonce;
};
function seal(key, index, counter, text) {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(4, 0);
  header.writeInt32LE(index, 4);
  header.writeBigUInt64LE(BigInt.asUintN(64, counter), 8);
  const cipher = createCipheriv('chacha20-poly1305', key, nonceOf(counter), { authTagLength: 16 });
  return Buffer.concat([header, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}
function open(key, datagram) {
  const counter = datagram.readBigUInt64LE(8);
  const decipher = createDecipheriv('chacha20-poly1305', key, nonceOf(counter), { authTagLength: 16 });
  decipher.setAuthTag(datagram.subarray(-16));
  const text = Buffer.concat([decipher.update(datagram.subarray(16, -16)), decipher.final()]);
  return { type: datagram.readUInt32LE(0), index: datagram.readInt32LE(4), counter: Number(counter), text };
}
/** An IPv4 packet as far as its length goes. */
function packet(length, fill = length % 251) {
  const bytes = Buffer.alloc(length, fill);
  bytes[0] = 0x45;
  if (length >= 4) bytes.writeUInt16BE(length, 2);
  return bytes;
}

// --- the path, a table of sessions, and a peer at the host's socket ---
const { memory, handles } = openPath(5000);
const host = dgram.createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
host.bind(6000, '127.0.0.1');
await once(host, 'listening');
const received = [];
host.on('message', (message) => received.push(message));
const hostReceives = async (count) => {
  while (received.length < count) await once(host, 'message');
  return received.splice(0);
};
const macKey = randomBytes(32);
const table = createSessionTable(PEERS);
out.notYet = attempt(() => native.receiveSealed(1));
native.attachSealed(table.memory);
out.twice = attempt(() => native.attachSealed(table.memory));
table.configure({ mtu: MTU, rejectAfterMs: 180_000, macKey });
native.wait(0, 0, 0);
const { sessions } = table.memory;
const tallyOf = () =>
  Object.fromEntries(
    Object.entries(layout)
      .filter(([name]) => name.startsWith('TALLY_') && name !== 'TALLY_INTS')
      .map(([name, at]) => [name.slice(6).toLowerCase(), sessions[layout.HEADER_TALLY + at]])
      .filter(([, amount]) => amount !== 0),
  );

function newSession(line, role = 'current', bornAt = nowMs()) {
  const keys = { sendKey: randomBytes(32), receiveKey: randomBytes(32) };
  const index = table.reserve(line);
  table.install(index, { ...keys, remoteIndex: REMOTE_INDEX, bornAt, role });
  return { index, ...keys };
}

/** Queues messages of packets, which lie one behind the other: equal ones, and a shorter last one. */
function queue(messages, first = 0) {
  let at = 0;
  messages.forEach(({ line, packets }, i) => {
    const bytes = Buffer.concat(packets);
    memory.outboundSlab.set(bytes, at);
    setIovec(memory.sendIovecs, first + i, [0, at, bytes.length]);
    const segment = packets.length === 1 ? 0 : packets[0].length;
    memory.sends.set([first + i, 1, 0, 0, segment, 0, 0, line], (first + i) * 8);
    at += bytes.length;
  });
}
const message = (line, ...packets) => ({ line, packets });
const many = (count, length) => Array.from({ length: count }, (_, i) => packet(length, i));

// --- out: single packets of every padding, trains, several peers, more than there is room for ---
const peer = table.addPeer();
const second = table.addPeer();
table.setEndpoint(peer, { address: LOOPBACK, port: 6000 });
table.setEndpoint(second, { address: LOOPBACK, port: 6000 });
out.endpoint = table.endpoint(peer);
out.unknownEndpoint = table.endpoint(second + 1) ?? 'none';
const session = newSession(peer);
const other = newSession(second);
const lengths = [1, 20, 21, 31, 32, 33, 64, 1407, 1408, 1409, 1420];
const plain = [
  ...lengths.map((length) => message(peer, packet(length))),
  message(second, packet(500)),
  message(peer, ...many(40, 1420), packet(77)),
  message(second, ...many(3, 100)),
];
queue(plain);
out.sealed = native.sealUdp(0, plain.length);
out.sealTally = tallyOf();
out.sent = native.sendSealed(0, plain.length);
const outgoing = (await hostReceives(11 + 1 + 41 + 3)).map((datagram, i) =>
  open(i === 11 || i > 52 ? other.sendKey : session.sendKey, datagram),
);
const expected = plain.flatMap(({ packets }) => packets);
out.wrongTexts = outgoing.filter(({ text }, i) => !text.subarray(0, expected[i].length).equals(expected[i])).length;
out.wrongPadding = outgoing.filter(
  ({ text }, i) =>
    text.length !== Math.min(MTU, Math.ceil(expected[i].length / 16) * 16) ||
    text.subarray(expected[i].length).some((byte) => byte !== 0),
).length;
out.types = [...new Set(outgoing.map(({ type }) => type))];
out.indices = [...new Set(outgoing.map(({ index }) => index))];
out.counters = outgoing.map(({ counter }) => counter);
out.activity = Object.entries(table.activity(peer)).map(([name, at]) => [name, at !== 0]);

const large = Array.from({ length: 40 }, () => message(peer, ...many(44, 1420)));
queue(large.slice(0, 36));
const parts = [];
for (let done = 0; done < 36; done += parts.at(-1)) parts.push(native.sealUdp(done, 36 - done));
out.sealedInParts = parts;
out.sendNotSealed = native.sendSealed(0, 1);
queue([message(peer, packet(1420))], LAST_RECORD);
const before = native.sendSealed(36 - parts.at(-1), 1);
out.sealedAlone = native.sealUdp(LAST_RECORD, 1);
out.sentAlone = native.sendSealed(LAST_RECORD, 1);
out.sentBehind = native.sendSealed(36 - parts.at(-1) + before, 1);
const behind = (await hostReceives(44 + 1 + 44)).map((datagram) => open(session.sendKey, datagram));
out.numbersOnce = new Set([...out.counters, ...behind.map(({ counter }) => counter)]).size;
queue([message(peer, packet(65_500)), message(peer, packet(100))]);
out.sealedTooLarge = native.sealUdp(0, 2);
out.sentTooLarge = native.sendSealed(0, 2);
out.sentBehindTooLarge = native.sendSealed(1, 1);
await hostReceives(1);

const bad = (name, record) => {
  memory.sends.set(record, 0);
  out[`bad.${name}`] = attempt(() => native.sealUdp(0, 1));
};
setIovec(memory.sendIovecs, 0, [0, 0, 100]);
setIovec(memory.sendIovecs, 1, [0, 0, 100]);
bad('nobody', [0, 1, 0, 0, 0, 0, 0, 0]);
bad('a peer behind', [0, 1, 0, 0, 0, 0, 0, PEERS + 1]);
bad('two pieces of one packet', [0, 2, 0, 0, 0, 0, 0, peer]);
bad('no pieces', [0, 0, 0, 0, 0, 0, 0, peer]);
bad('a negative segment', [0, 1, 0, 0, -1, 0, 0, peer]);
bad('pieces behind', [1024, 1, 0, 0, 0, 0, 0, peer]);

// --- a key that must not be used: none, too old, used up; and a number is never given twice ---
const third = table.addPeer();
table.setEndpoint(third, { address: LOOPBACK, port: 6000 });
function trySending(line, packets = [packet(50)]) {
  queue([message(line, ...packets)]);
  native.sealUdp(0, 1);
  const tally = tallyOf();
  return [native.sendSealed(0, 1), tally];
}
out.noSession = trySending(third);
out.noSessionAgain = trySending(third, many(3, 60));
const attention = () => table.takeAttention() ?? 'none';
out.attention = attention();
out.noAttention = attention();
let woken = 0;
table.onWake(() => {
  woken++;
  native.signalEvent(handles.event);
});
const staged = newSession(third);
out.woken = woken;
out.signalled = native.wait(0, 1000, 0);
native.attend();
out.stagedTally = tallyOf();
out.stagedSent = (await hostReceives(4))
  .map((datagram) => open(staged.sendKey, datagram))
  .map(({ counter, text }) => [counter, text.length]);
out.signalledLater = native.wait(0, 0, 0);

table.sendKeepalive(third);
table.sendKeepalive(third);
native.attend();
out.keepaliveTally = tallyOf();
out.keepalive = (await hostReceives(1)).map((datagram) => open(staged.sendKey, datagram).text.length);
table.release(staged.index);
out.released = [...sessions.subarray(layout.HEADER_INTS + third * layout.LINE_INTS)]
  .slice(16, 16 + 28)
  .every((word) => word === 0);
trySending(third, many(100, 50));
out.bounded = trySending(third, many(40, 50))[1];
table.dropStaged(third);
native.attend();
out.droppedStaged = tallyOf();
const old = newSession(third, 'current', (nowMs() - 180_100) & 0x7fffffff);
out.tooOld = trySending(third)[0];
table.release(old.index);
out.ahead = trySending(third, [packet(30)])[0];
newSession(third, 'current', (nowMs() + 20) & 0x7fffffff);
native.attend();
await hostReceives(2);
const slotOf = (index) => layout.HEADER_INTS + ((index >>> 2) & 0xffff) * layout.LINE_INTS + 16 + (index & 3) * 28;
const last = newSession(third);
// Two numbers are left: 2^64 - 2^13 - 1 is the limit.
sessions.set([-(2 ** 13) - 3, -1], slotOf(last.index) + layout.SLOT_SEND_COUNTER);
const ends = [trySending(third)[0], trySending(third)[0], trySending(third)[0], trySending(third, many(3, 40))[0]];
out.usedUp = ends;
out.lastCounters = (await hostReceives(2)).map((datagram) => String(datagram.readBigUInt64LE(8)));
table.dropStaged(third);
native.attend();
tallyOf();

// The oldest goes when there is no room: 4 peers with 60 KB each, and one more.
const crowd = Array.from({ length: 5 }, () => table.addPeer());
out.crowd = crowd.map((line) => trySending(line, many(40, 1420))[1]).map((tally) => tally.staged_dropped ?? 0);
for (const line of crowd) table.dropStaged(line);
native.attend();
out.crowdDropped = tallyOf().staged_dropped;
while (table.takeAttention() !== undefined);

// --- in ---
const toPath = (bytes) => new Promise((resolve) => host.send(bytes, 5000, '127.0.0.1', resolve));
async function receive(datagrams, max = 64) {
  const opened = [];
  const tally = {};
  for (let at = 0; at < datagrams.length; at += max) {
    for (const datagram of datagrams.slice(at, at + max)) await toPath(datagram);
    native.wait(UDP_READABLE, 1000, 0);
    const count = native.receiveSealed(max);
    for (const [name, amount] of Object.entries(tallyOf())) tally[name] = (tally[name] ?? 0) + amount;
    for (let i = 0; i < count; i++) {
      const [offset, length, line] = table.memory.opened.subarray(3 * i, 3 * i + 3);
      opened.push({ text: Buffer.from(memory.inboundSlab.subarray(offset, offset + length)), line });
    }
  }
  return { opened, tally };
}
const incoming = [20, 21, 64, 1000, 1420].map((length) => packet(length));
const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 15)]);
{
  const { opened, tally } = await receive(
    incoming.map((text, i) => seal(session.receiveKey, session.index, BigInt(i), padded(text))),
  );
  out.openedRight =
    opened.every(({ text, line }, i) => text.equals(incoming[i]) && line === peer) && opened.length === 5;
  out.openedTally = tally;
}
{
  // Not IPv4, and a length that is not there: JavaScript judges.
  const odd = [Buffer.alloc(40, 0x60), Buffer.alloc(40, 0x45), Buffer.alloc(3, 0x45)];
  const { opened } = await receive(odd.map((text, i) => seal(session.receiveKey, session.index, BigInt(10 + i), text)));
  out.odd = opened.map(({ text }) => text.length);
}
{
  const { opened, tally } = await receive([seal(session.receiveKey, session.index, 20n, Buffer.alloc(0))]);
  out.emptyPacket = [opened.length, tally];
}
// Roaming: only what is authentic moves the endpoint.
const elsewhere = dgram.createSocket('udp4');
elsewhere.bind(6001, '127.0.0.1');
await once(elsewhere, 'listening');
const fromElsewhere = (bytes) => new Promise((resolve) => elsewhere.send(bytes, 5000, '127.0.0.1', resolve));
const genuine = seal(session.receiveKey, session.index, 30n, packet(20));
const forged = Buffer.from(genuine);
forged[20] ^= 1;
const roamed = [];
for (const bytes of [forged, genuine, genuine]) {
  await fromElsewhere(bytes);
  native.wait(UDP_READABLE, 1000, 0);
  native.receiveSealed(64);
  roamed.push([table.endpoint(peer).port, Object.keys(tallyOf())]);
}
out.roamed = roamed;
table.setEndpoint(peer, { address: LOOPBACK, port: 6000 });

// A key that does not send yet, and whose peer shows that it has it.
while (table.takeAttention() !== undefined);
const next = newSession(peer, 'next');
await receive([seal(next.receiveKey, next.index, 0n, packet(20)), seal(next.receiveKey, next.index, 1n, packet(20))]);
const confirmed = attention();
out.confirmed = confirmed.line === peer && confirmed.confirmed.includes(next.index) && !confirmed.wantsSession;
out.confirmedOnce = attention();
out.stillCurrent = sessions[layout.HEADER_INTS + peer * layout.LINE_INTS] === session.index;
table.setRole(next.index, 'current');
out.promoted = sessions[layout.HEADER_INTS + peer * layout.LINE_INTS] === next.index;

// --- what is hostile: nothing of it is delivered, and each is counted once ---
const reasons = {};
async function hostile(name, datagrams, reason) {
  const { opened, tally } = await receive(datagrams);
  const { news, ...counted } = tally;
  reasons[name] =
    opened.length === 0 && counted[reason] === datagrams.length && Object.keys(counted).length === 1
      ? 'ok'
      : { opened: opened.length, of: datagrams.length, counted };
}
const good = seal(session.receiveKey, session.index, 100n, packet(100));
await receive([good]);
await hostile('replayed', Array(5).fill(good), 'replay');
const flipped = (bytes, at, bit = 0) => {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1 << bit;
  return copy;
};
const fresh = seal(session.receiveKey, session.index, 101n, packet(100));
await hostile(
  'a bit flipped in text, tag or counter',
  Array.from({ length: (fresh.length - 8) * 8 }, (_, i) => flipped(fresh, 8 + (i >> 3), i & 7)).filter(
    (_, i) => i >= 64 || i < 56,
  ),
  'bad_tag',
);
await hostile(
  'another index',
  Array.from({ length: 32 }, (_, i) => flipped(fresh, 4 + (i >> 3), i & 7)),
  'no_session',
);
await hostile(
  'another type',
  [1, 2, 3, 5, 6, 7].flatMap((bit) => [0, 1, 2, 3].map((at) => flipped(fresh, at, bit))),
  'malformed',
);
await hostile(
  'truncated',
  Array.from({ length: 90 }, (_, i) => fresh.subarray(0, fresh.length - 1 - i)).filter(({ length }) => length >= 32),
  'bad_tag',
);
await hostile(
  'too short',
  Array.from({ length: 32 }, (_, i) => fresh.subarray(0, i)),
  'malformed',
);
await hostile(
  'longer',
  [1, 15, 16, 1000].map((more) => Buffer.concat([fresh, Buffer.alloc(more)])),
  'bad_tag',
);
await hostile('of another key', [seal(other.receiveKey, session.index, 102n, packet(100))], 'bad_tag');
await hostile('our own, sent back', [seal(session.sendKey, session.index, 103n, packet(100))], 'bad_tag');
await hostile(
  'a counter at the limit',
  [2n ** 64n - 2n ** 13n - 1n, 2n ** 64n - 1n].map((counter) =>
    seal(session.receiveKey, session.index, counter, packet(100)),
  ),
  'no_session',
);
await hostile(
  'random',
  Array.from({ length: 300 }, (_, i) => randomBytes(i * 4)).filter(
    (bytes) => bytes.length < 32 || bytes.readUInt32LE(0) > 4,
  ),
  'malformed',
);
await hostile(
  'random data',
  Array.from({ length: 300 }, (_, i) => Buffer.concat([Buffer.from([4, 0, 0, 0]), randomBytes(28 + i * 3)])),
  'no_session',
);
{
  const expired = newSession(third, 'next', (nowMs() - 180_100) & 0x7fffffff);
  await hostile('an old key', [seal(expired.receiveKey, expired.index, 0n, packet(20))], 'no_session');
  table.release(expired.index);
  await hostile('a key given up', [seal(expired.receiveKey, expired.index, 0n, packet(20))], 'no_session');
  const reserved = table.reserve(third);
  await hostile('a handshake under way', [seal(Buffer.alloc(32), reserved, 0n, packet(20))], 'no_session');
  table.release(reserved);
}
{
  const { opened } = await receive([fresh]);
  out.stillGood = opened.length;
}

// --- messages of handshakes ---
function withMac(type, size, fields = {}) {
  const bytes = Buffer.alloc(size, 7);
  bytes.writeUInt32LE(type, 0);
  for (const [at, index] of Object.entries(fields)) bytes.writeInt32LE(index, Number(at));
  const mac = new Uint8Array(16);
  native.mac(macKey, bytes.subarray(0, size - 32), mac);
  bytes.set(mac, size - 32);
  return bytes;
}
const pending = table.reserve(third);
const initiation = withMac(1, 148);
const response = withMac(2, 92, { 8: pending });
const cookie = withMac(3, 64, { 4: pending });
const cookieForResponse = withMac(3, 64, { 4: session.index });
await receive([initiation, response, cookie, cookieForResponse]);
out.waiting = waitingMail(table.memory);
const mails = Array.from({ length: 4 }, () => takeMail(table.memory));
out.mails = mails.every(
  ({ bytes, source }, i) =>
    source.port === 6000 &&
    source.address === LOOPBACK &&
    Buffer.from(bytes).equals([initiation, response, cookie, cookieForResponse][i]),
);
out.noMail = takeMail(table.memory) ?? 'none';
await hostile(
  'a wrong mac1',
  Array.from({ length: 116 + 16 - 4 }, (_, i) => flipped(initiation, 4 + i, i % 8)),
  'bad_mac',
);
await hostile('an answer with a wrong mac1', [flipped(response, 30), flipped(response, 60)], 'bad_mac');
await hostile(
  'an answer to nobody',
  [
    withMac(2, 92, { 8: session.index }),
    withMac(2, 92, { 8: 0 }),
    withMac(2, 92, { 8: pending + 1 }),
    withMac(3, 64, { 4: -1 }),
  ],
  'no_session',
);
await hostile(
  'messages of another size',
  [1, 2, 3].flatMap((type) => [32, 63, 65, 91, 93, 147, 149, 1000].map((size) => withMac(type, size))),
  'malformed',
);
{
  const { tally } = await receive(Array(300).fill(initiation));
  out.flood = tally;
  const { tally: between } = await receive([seal(session.receiveKey, session.index, 200n, packet(20))]);
  out.dataBehindFlood = between;
  for (let i = 0; i < 64; i++) takeMail(table.memory);
  out.emptied = waitingMail(table.memory);
}
out.reasons = reasons;

// --- the window beside a plain set: numbers in disorder, twice, far ahead and far behind ---
{
  const windowed = newSession(second, 'next');
  let random = 12345;
  const next = (most) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % most;
  };
  const seen = new Set();
  let greatest = -1;
  const wrong = [];
  const steps = [
    () => greatest + 1,
    () => greatest + 1 + next(100),
    () => Math.max(0, greatest - next(8300)),
    () => Math.max(0, greatest - 8150 - next(30)),
    () => next(greatest + 1),
    () => greatest + next(40_000),
  ];
  const numbers = [];
  for (let i = 0; i < 3000; i++) {
    const number = Math.max(0, steps[i < 50 ? next(4) : next(i % 300 === 0 ? 6 : 5)]());
    const isNew = !seen.has(number) && (number > greatest || greatest - number < 8192 - 32);
    numbers.push([number, isNew]);
    if (isNew) seen.add(number);
    greatest = Math.max(greatest, number);
  }
  for (let at = 0; at < numbers.length; at += 50) {
    const some = numbers.slice(at, at + 50);
    const { opened } = await receive(
      some.map(([number]) =>
        seal(windowed.receiveKey, windowed.index, BigInt(number), packet(20 + 4 * (number % 256))),
      ),
    );
    const wanted = some.filter(([, isNew]) => isNew).map(([number]) => 20 + 4 * (number % 256));
    if (JSON.stringify(wanted) !== JSON.stringify(opened.map(({ text }) => text.length))) wrong.push(at);
  }
  out.windowWrong = wrong;
  out.windowSeen = [seen.size > 500, numbers.length - seen.size > 500];
}

// --- to ourselves, in trains: UDP_GRO hands over what was sealed in one piece ---
{
  const self = table.addPeer();
  table.setEndpoint(self, { address: LOOPBACK, port: 5000 });
  const key = randomBytes(32);
  const index = table.reserve(self);
  table.install(index, { sendKey: key, receiveKey: key, remoteIndex: index, bornAt: nowMs(), role: 'current' });
  native.attend();
  native.probeUdpGso(handles.udp);
  native.setUdpGro(handles.udp, 1);
  const trains = [many(44, 1420), [...many(20, 1380), packet(40)], [packet(500)], [...many(60, 100), packet(64)]];
  queue(trains.map((packets) => message(self, ...packets)));
  native.sealUdp(0, 4);
  out.trainsSent = native.sendSealed(0, 4);
  native.wait(UDP_READABLE, 1000, 0);
  const count = native.receiveSealed(16);
  const texts = trains.flat();
  out.trainsOpened = [count, texts.length];
  out.trainsWrong = texts.filter((text, i) => {
    const [offset, length, line] = table.memory.opened.subarray(3 * i, 3 * i + 3);
    return line !== self || !text.equals(memory.inboundSlab.subarray(offset, offset + length));
  }).length;
  native.setUdpGro(handles.udp, 0);
}

// --- memory that is not as it has to be ---
native.attach({ ...handles, ...memory });
const refuse = (name, changes) => {
  out[`attach.${name}`] = attempt(() => native.attachSealed({ ...table.memory, ...changes }));
};
refuse('no sessions', { sessions: undefined });
refuse('one line', { sessions: ints(64 + 128) });
refuse('too many lines', { sessions: ints(64 + 128 * 65537) });
refuse('an odd address', { sessions: ints(64 + 128 * 10 + 1).subarray(1) });
refuse('too few windows', { windows: ints(4 * 256 * (PEERS + 1) - 1) });
refuse('a small mailbox', { mailbox: ints(64 * 40 - 1) });
refuse('a ring of another size', { attention: ints(17) });
refuse('a small ring', { attention: ints(8) });
refuse('unequal rings', { requests: ints(32) });
refuse('memory that can go', { opened: new Int32Array(9) });
out.attachNothing = attempt(() => native.attachSealed());
native.attachSealed(table.memory);
out.sendDatagram = attempt(() => native.sendDatagram(handles.udp, LOOPBACK, 6000, Buffer.from('a handshake')));
out.sentDatagram = (await hostReceives(1)).map(String);
out.sendNowhere = attempt(() => native.sendDatagram(handles.udp, LOOPBACK, 0, Buffer.from('a handshake')));
out.sendTooLarge = attempt(() => native.sendDatagram(handles.udp, LOOPBACK, 6000, Buffer.alloc(65_508)));
native.detach();
out.detached = attempt(() => native.attend());
host.close();
elsewhere.close();
process.stdout.write(JSON.stringify(out));
