// Hostile datagrams for a node of WireGuard, from wherever this runs: settings as JSON on stdin, {address, port, publicKey,
// genuine: [base64...], count, aSecond}. Prints how many were sent.
import { createHash, randomBytes, randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { blake2s } from '@noble/hashes/blake2.js';

const { address, port, publicKey, genuine, count, aSecond } = JSON.parse(await text(process.stdin));
const BATCH = 100;
/** So many different ones, by turns: to make one with a mac1 costs more than to send it. */
const DIFFERENT = 8000;

const macKey = createHash('blake2s256')
  .update(Buffer.concat([Buffer.from('mac1----'), Buffer.from(publicKey, 'base64')]))
  .digest();
const real = genuine.map((bytes) => Buffer.from(bytes, 'base64'));
const ofType = (type, size) => Buffer.concat([Buffer.from([type, 0, 0, 0]), randomBytes(size - 4)]);
function withMac1(type, size) {
  const bytes = ofType(type, size);
  bytes.set(blake2s(bytes.subarray(0, size - 32), { key: macKey, dkLen: 16 }), size - 32);
  return bytes;
}
function flipped(bytes) {
  const other = Buffer.from(bytes);
  other[4 + randomInt(other.length - 4)] ^= 1 << randomInt(8);
  return other;
}
function elsewhere(bytes) {
  const other = Buffer.from(bytes);
  randomBytes(4).copy(other, 4);
  return other;
}

const KINDS = [
  (bytes) => bytes, // replayed, and in another order than it was sent in
  flipped,
  (bytes) => bytes.subarray(0, randomInt(bytes.length)), // truncated
  elsewhere, // of an index that is nobody's
  () => randomBytes(randomInt(1500)),
  () => ofType(4, 32 + 16 * randomInt(80)),
  () => withMac1(1, 148),
  () => withMac1(2, 92),
  () => ofType(1 + randomInt(3), [148, 92, 64][randomInt(3)]),
  () => ofType(3, 64),
];
const datagrams = Array.from({ length: DIFFERENT }, (_, i) => KINDS[i % KINDS.length](real[randomInt(real.length)]));

const socket = dgram.createSocket('udp4');
socket.bind(0);
await once(socket, 'listening');
const start = performance.now();
for (let sent = 0; sent < count; sent += BATCH) {
  const some = Array.from({ length: Math.min(BATCH, count - sent) }, (_, i) => datagrams[(sent + i) % DIFFERENT]);
  await Promise.all(some.map((bytes) => new Promise((resolve) => socket.send(bytes, port, address, resolve))));
  const due = start + (1000 * sent) / aSecond;
  if (due > performance.now()) await delay(due - performance.now());
}
socket.close();
console.log(count);
