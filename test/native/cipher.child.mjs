// The cipher against node:crypto, in each code that this CPU has: what it says of all that differs goes to stdout.
import { createCipheriv, createHash } from 'node:crypto';
import { CIPHERS, JOB_INTS, native } from '../../dist/system/native.js';
import { attempt } from './setup.mjs';

const TAG_BYTES = 16;
const MOST_JOBS = 1024;
const isThorough = process.env.RUDDER_TEST_THOROUGH === '1';
const out = { differences: {}, ciphers: [] };
// Repeatable: bytes that follow from a number.
let seed = 0;
function bytesOf(length) {
  const parts = [];
  for (let have = 0; have < length; have += 32) parts.push(createHash('sha256').update(String(seed++)).digest());
  return Buffer.concat(parts).subarray(0, length);
}

function nonceOf(counter) {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64LE(counter, 4);
  return nonce;
}

/** What node:crypto makes of it: the sealed text and the tag. */
function expected(key, counter, text) {
  const cipher = createCipheriv('chacha20-poly1305', key, nonceOf(counter), { authTagLength: TAG_BYTES });
  return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

/** Lays packets out in memory, at odd addresses, and says where. @returns bytes, records and each one's place */
function layOut(packets, padTo) {
  const stride = Math.max(...packets.map(({ text }) => text.length)) + 200;
  const bytes = new Uint8Array(32 * packets.length + 2 * stride * packets.length);
  const jobs = new Int32Array(packets.length * JOB_INTS);
  const keys = new Map();
  packets.forEach(({ key, counter, text }, i) => {
    const keyAt = keys.get(key) ?? 32 * keys.size;
    keys.set(key, keyAt);
    bytes.set(key, keyAt);
    const source = 32 * packets.length + i * stride + (i % 7);
    const target = source + stride * packets.length + (i % 3);
    bytes.set(text, source);
    const low = Number(counter & 0xffffffffn) | 0;
    const high = Number(counter >> 32n) | 0;
    jobs.set([source, text.length, target, padTo(text.length), keyAt, low, high, 0], i * JOB_INTS);
  });
  return { bytes, jobs };
}

const job = (jobs, i) => {
  const [source, text, target, length, , , , isAuthentic] = jobs.subarray(i * JOB_INTS, (i + 1) * JOB_INTS);
  return { source, text, target, length, isAuthentic };
};

/** Seals and opens, in place and not; returns what is not as node:crypto has it. */
function differences(packets, padTo = (length) => length) {
  const wrong = [];
  for (let at = 0; at < packets.length; at += MOST_JOBS) {
    const some = packets.slice(at, at + MOST_JOBS);
    const { bytes, jobs } = layOut(some, padTo);
    native.sealAll(bytes, jobs, some.length);
    some.forEach(({ key, counter, text }, i) => {
      const { target, length } = job(jobs, i);
      const padded = Buffer.concat([text, Buffer.alloc(length - text.length)]);
      const sealed = Buffer.from(bytes.subarray(target, target + length + TAG_BYTES));
      if (!sealed.equals(expected(key, counter, padded))) wrong.push(`sealed ${text.length}`);
      if (bytes[target + length + TAG_BYTES] !== 0) wrong.push(`sealed beyond ${text.length}`);
      // Then opened where it lies; each third one with a bit of it turned.
      jobs.set([target, length, target, length], i * JOB_INTS);
      if (i % 3 === 2) bytes[target + ((i * 31) % (length + TAG_BYTES))] ^= 1 << (i % 8);
    });
    const before = bytes.slice();
    const authentic = native.openAll(bytes, jobs, some.length);
    if (authentic !== some.filter((_, i) => i % 3 !== 2).length) wrong.push(`${authentic} authentic`);
    some.forEach(({ text }, i) => {
      const { target, length, isAuthentic } = job(jobs, i);
      const opened = Buffer.from(bytes.subarray(target, target + length));
      const padded = Buffer.concat([text, Buffer.alloc(length - text.length)]);
      if (isAuthentic !== (i % 3 === 2 ? 0 : 1)) wrong.push(`verdict ${text.length}`);
      else if (isAuthentic ? !opened.equals(padded) : !opened.equals(before.subarray(target, target + length)))
        wrong.push(`opened ${text.length}`);
    });
  }
  return [...new Set(wrong)].slice(0, 10);
}

const packet = (length, key = bytesOf(32), counter = BigInt(seed * 7919)) => ({ key, counter, text: bytesOf(length) });
const upTo = (most, step = 1, from = 0) =>
  Array.from({ length: Math.floor((most - from) / step) + 1 }, (_, i) => from + i * step);

/** Texts whose sealed blocks lead Poly1305 to a number of choice: where carries and the modulus matter. */
function edgeCases() {
  const p = 2n ** 130n - 5n;
  const mod = (a) => ((a % p) + p) % p;
  const inverse = (a) => power(a, p - 2n);
  const power = (base, exponent) => {
    let result = 1n;
    for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = mod(b * b)) if (e & 1n) result = mod(result * b);
    return result;
  };
  const littleEndian = (bytes) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const toBytes = (number) => Buffer.from(number.toString(16).padStart(32, '0'), 'hex').reverse();
  const ends = [
    ...upTo(6).map(BigInt),
    ...upTo(6, 1, 1).map((n) => p - BigInt(n)),
    2n ** 128n - 1n,
    2n ** 128n,
    2n ** 129n - 1n,
    2n ** 129n,
  ];
  const packets = [];
  for (const end of ends) {
    for (let found = 0; found < 5; ) {
      const key = bytesOf(32);
      const counter = BigInt(seed);
      const stream = createCipheriv('chacha20', key, Buffer.concat([Buffer.alloc(4), nonceOf(counter)])).update(
        Buffer.alloc(96),
      );
      const r = littleEndian(stream.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
      const r1 = inverse(r);
      const lengths = (32n << 64n) + 2n ** 128n;
      const first = littleEndian(bytesOf(16)) + 2n ** 128n;
      const second = mod(mod(end * r1 - lengths) * r1 - first * r);
      if (second < 2n ** 128n || second >= 2n ** 129n) continue;
      const sealed = Buffer.concat([toBytes(first - 2n ** 128n), toBytes(second - 2n ** 128n)]);
      packets.push({ key, counter, text: sealed.map((byte, i) => byte ^ stream[64 + i]) });
      found++;
    }
  }
  return packets;
}

/** Wide limbs of all ones: the largest sums that there are. */
function extremes() {
  const packets = [];
  for (const byte of [0x00, 0xff]) {
    for (const length of [0, 16, 63, 64, 65, 256, 1420, 1424]) {
      for (let i = 0; i < 9; i++)
        packets.push({
          key: Buffer.alloc(32, byte),
          counter: 2n ** 64n - 1n - BigInt(i),
          text: Buffer.alloc(length, byte),
        });
    }
  }
  return packets;
}

const key = bytesOf(32);
const cases = {
  'each length, of one key': upTo(200).map((length) => packet(length, key)),
  'each length, each of a key of its own': upTo(200).map((length) => packet(length)),
  'lengths in steps': upTo(1500, 13, 200).map((length) => packet(length, key)),
  'many of one length': [1420, 1440, 64, 61, 0].flatMap((length) => upTo(150).map(() => packet(length, key))),
  'groups of every size': upTo(40).flatMap((size) => upTo(size).map(() => packet(100 + 16 * (size % 9), key))),
  'mixed lengths and keys': upTo(600).map((i) => packet((i * 7919) % 1500, i % 5 === 0 ? bytesOf(32) : key)),
  'a large one': [packet(65475, key), packet(20, key), packet(65475)],
  'Poly1305 at its edges': edgeCases(),
  'all ones, and the last counters': extremes(),
};
if (isThorough) cases['each length to 1500'] = upTo(1500).flatMap((length) => [packet(length, key), packet(length)]);

out.threads = native.useCipherThreads(Number(process.env.RUDDER_TEST_THREADS ?? 0));
for (const [code, name] of CIPHERS.entries()) {
  if (native.useCipher(code) !== code) continue;
  out.ciphers.push(name);
  for (const [what, packets] of Object.entries(cases)) out.differences[`${name}: ${what}`] = differences(packets);
  const padded = (length) => Math.min(1420, Math.ceil(length / 16) * 16);
  out.differences[`${name}: padded`] = differences(
    upTo(1420, 3).map((length) => packet(length, key)),
    padded,
  );
}
out.best = CIPHERS[native.useCipher(-1)];
out.inUse = CIPHERS[native.cipher()];

// RFC 8439, A.1 test vector 2: the first block of the stream behind the one-time key, of a key and a nonce of zeroes.
{
  const { bytes, jobs } = layOut([{ key: Buffer.alloc(32), counter: 0n, text: Buffer.alloc(64) }], (length) => length);
  native.sealAll(bytes, jobs, 1);
  const { target } = job(jobs, 0);
  out.stream = Buffer.from(bytes.subarray(target, target + 64)).toString('hex');
}

// BLAKE2s of 16 bytes with a key: RFC 7693 has no such vector, but a sequence of bytes to make them of (appendix E).
function sequence(length, start) {
  const bytes = new Uint8Array(length);
  let [a, b] = [Math.imul(0xdead4bad, start), 1];
  for (let i = 0; i < length; i++) {
    const t = (a + b) | 0;
    [a, b] = [b, t];
    bytes[i] = t >>> 24;
  }
  return bytes;
}
out.macs = [0, 3, 64, 65, 255, 1024].map((length) => {
  const result = new Uint8Array(16);
  native.mac(sequence(16, 16), sequence(length, length), result);
  return Buffer.from(result).toString('hex');
});

// What is refused.
const bytes = new Uint8Array(100);
const good = [32, 8, 48, 8, 0, 0, 0, 0];
const refuse = (name, changes, call = 'sealAll') => {
  const record = [...good];
  for (const [at, value] of changes) record[at] = value;
  out[`refuse.${name}`] = attempt(() => native[call](bytes, new Int32Array(record), 1));
};
refuse('nothing', []);
refuse('a source before', [[0, -1]]);
refuse('a source behind', [[0, 93]]);
refuse('a target without room for the tag', [[2, 77]]);
refuse('a negative length', [
  [3, -8],
  [1, -8],
]);
refuse('more text than is sealed', [[1, 9]]);
refuse('a key behind', [[4, 69]]);
refuse('a tag behind', [[0, 77]], 'openAll');
refuse('another text than is opened', [[1, 7]], 'openAll');
out['refuse.too many'] = attempt(() => native.sealAll(bytes, new Int32Array(8), 2));
out['refuse.no bytes'] = attempt(() => native.sealAll([], new Int32Array(8), 1));
out['refuse.no key'] = attempt(() => native.mac(new Uint8Array(0), bytes, new Uint8Array(16)));
out['refuse.a long key'] = attempt(() => native.mac(new Uint8Array(33), bytes, new Uint8Array(16)));
out['refuse.a short result'] = attempt(() => native.mac(new Uint8Array(32), bytes, new Uint8Array(15)));
out['refuse.threads'] = attempt(() => native.useCipherThreads(9));
out['refuse.a cipher'] = attempt(() => native.useCipher(CIPHERS.length));
out.noThreads = native.useCipherThreads(0);
process.stdout.write(JSON.stringify(out));
