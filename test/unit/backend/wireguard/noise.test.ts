import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateIdentity, type Identity, identityOf } from '../../../../src/backend/wireguard/protocol/keys.js';
import {
  createInitiation,
  createResponse,
  type Initiated,
  type Remote,
  readInitiation,
  readResponse,
  readTimestamp,
} from '../../../../src/backend/wireguard/protocol/noise.js';
import { dh } from '../../../../src/backend/wireguard/protocol/primitives.js';
import { createTimestamps, KEPT_WITHIN_MS } from '../../../../src/backend/wireguard/protocol/tai64n.js';

const NO_PSK: Buffer = Buffer.alloc(32);
const TIMESTAMP = Buffer.from('400000005f5e100a00000000', 'hex');

function remote(own: Identity, other: Identity, presharedKey: Buffer = NO_PSK): Remote {
  const secret = dh(own.privateKey, other.publicKey);
  return { publicKey: other.publicKey, presharedKey, staticSecret: () => secret };
}

function pair(pskA = NO_PSK, pskB = pskA) {
  const [a, b] = [generateIdentity(), generateIdentity()];
  return { a, b, ofB: remote(a, b, pskA), ofA: remote(b, a, pskB) };
}

function initiation({ a, ofB }: ReturnType<typeof pair>, ephemeral = generateIdentity()) {
  return createInitiation(a, ofB, { ephemeral, timestamp: TIMESTAMP, index: 0x0102_0304 })!;
}

function answer({ b, ofA }: ReturnType<typeof pair>, message: Buffer, ephemeral = generateIdentity()) {
  const introduced = readInitiation(b, message);
  const asked = introduced && readTimestamp(introduced, ofA, message);
  return asked && createResponse(asked, ofA, { ephemeral, index: 0x0506_0708 });
}

const copyOf = ({ ephemeral, chain, hash }: Initiated): Initiated => ({ ephemeral, chain: Buffer.from(chain), hash });

describe('a handshake', () => {
  it('gives both ends the same keys, each of them one to send by', () => {
    const nodes = pair();
    const { message, state } = initiation(nodes);
    const introduced = readInitiation(nodes.b, message)!;
    expect(introduced.publicKey).toEqual(nodes.a.publicKey);
    const asked = readTimestamp(introduced, nodes.ofA, message)!;
    expect(asked).toMatchObject({ timestamp: TIMESTAMP, index: 0x0102_0304 });
    const answered = createResponse(asked, nodes.ofA, { ephemeral: generateIdentity(), index: 0x0506_0708 })!;
    const read = readResponse(nodes.a, nodes.ofB, state, answered.message)!;
    expect(read.index).toBe(0x0506_0708);
    expect(read.keys).toEqual({ send: answered.keys.receive, receive: answered.keys.send });
    expect(read.keys.send).not.toEqual(read.keys.receive);
    expect(answered.message.readInt32LE(8)).toBe(0x0102_0304);
  });

  it('is the same for the same keys and time', () => {
    const key = (byte: number) => identityOf(Buffer.alloc(32, byte));
    const [a, b] = [key(1), key(2)];
    const psk = Buffer.alloc(32, 9);
    const nodes = { a, b, ofB: remote(a, b, psk), ofA: remote(b, a, psk) };
    const { message, state } = initiation(nodes, key(3));
    const answered = answer(nodes, message, key(4))!;
    expect(message.toString('hex')).toMatchSnapshot('initiation, without its macs');
    expect(answered.message.toString('hex')).toMatchSnapshot('response, without its macs');
    const { keys } = readResponse(a, nodes.ofB, state, answered.message)!;
    expect(`${keys.send.toString('hex')} ${keys.receive.toString('hex')}`).toMatchSnapshot('keys of the initiator');
  });

  it('ends without keys if the preshared keys differ, and may still be answered rightly', () => {
    const nodes = pair(randomBytes(32), randomBytes(32));
    const { message, state } = initiation(nodes);
    const wrong = answer(nodes, message)!;
    expect(readResponse(nodes.a, nodes.ofB, state, wrong.message)).toBeUndefined();
    const right = answer({ ...nodes, ofA: remote(nodes.b, nodes.a, nodes.ofB.presharedKey) }, message)!;
    expect(readResponse(nodes.a, nodes.ofB, state, right.message)!.keys.send).toEqual(right.keys.receive);
  });

  it('is not to be had with a static key of low order, nor an ephemeral one', () => {
    const nodes = pair();
    const low = { publicKey: Buffer.alloc(32), presharedKey: NO_PSK, staticSecret: () => undefined };
    const { a, b, ofA } = nodes;
    expect(createInitiation(a, low, { ephemeral: generateIdentity(), timestamp: TIMESTAMP, index: 1 })).toBeUndefined();
    const { message } = initiation(nodes);
    message.fill(0, 8, 40);
    expect(readInitiation(b, message)).toBeUndefined();
    const { message: good, state } = initiation(nodes);
    const asked = readTimestamp(readInitiation(b, good)!, ofA, good)!;
    const options = { ephemeral: generateIdentity(), index: 1 };
    expect(createResponse({ ...asked, ephemeral: Buffer.alloc(32) }, ofA, options)).toBeUndefined();
    const answered = answer(nodes, good)!;
    answered.message.fill(0, 12, 44);
    expect(readResponse(a, nodes.ofB, state, answered.message)).toBeUndefined();
  });

  it('is refused when any bit of an initiation is another', () => {
    const nodes = pair();
    const { message } = initiation(nodes);
    // What comes before is not authentic by itself (type, index): the macs are, which cookie.ts looks at.
    fc.assert(
      fc.property(fc.integer({ min: 8 * 8, max: 116 * 8 - 1 }), (bit) => {
        const changed = Buffer.from(message);
        changed[bit >> 3] ^= 1 << (bit & 7);
        // The highest bit of an X25519 key has no meaning, but the hash sees it.
        expect(answer(nodes, changed)).toBeUndefined();
      }),
      { numRuns: 60 },
    );
  });

  it('is refused when any bit of a response is another, and goes on with the true one', () => {
    const nodes = pair();
    const { message, state } = initiation(nodes);
    const { message: reply } = answer(nodes, message)!;
    fc.assert(
      fc.property(fc.integer({ min: 12 * 8, max: 60 * 8 - 1 }), (bit) => {
        const changed = Buffer.from(reply);
        changed[bit >> 3] ^= 1 << (bit & 7);
        expect(readResponse(nodes.a, nodes.ofB, state, changed)).toBeUndefined();
      }),
      { numRuns: 60 },
    );
    expect(readResponse(nodes.a, nodes.ofB, copyOf(state), reply)).toBeDefined();
  });

  it('is not for anybody else', () => {
    const [nodes, others] = [pair(), pair()];
    const { message } = initiation(nodes);
    expect(readInitiation(others.b, message)).toBeUndefined();
    // By somebody who knows our key, but not that of the one it says to be.
    const introduced = readInitiation(nodes.b, message)!;
    expect(readTimestamp(introduced, remote(nodes.b, others.a), message)).toBeUndefined();
  });
});

describe('timestamps', () => {
  const DAY = 86_400_000;

  it('are TAI64N, as coarse as those of others', () => {
    const at = (ms: number) =>
      createTimestamps(() => ms, undefined)
        .next()
        .toString('hex');
    expect(at(1_000_000_000_000)).toBe('400000003b9aca0a00000000');
    expect(at(1_000_000_000_016)).toBe('400000003b9aca0a00000000');
    expect(at(1_000_000_000_017)).toBe('400000003b9aca0a01000000');
    expect(at(1_000_000_000_999)).toBe('400000003b9aca0a3b000000');
  });

  it('are later than all before, whatever the clock does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4 * DAY }), { minLength: 2 }), (clock) => {
        let now = 0;
        const source = createTimestamps(() => now, undefined);
        const stamps = clock.map((ms) => {
          now = ms;
          return source.next();
        });
        for (const [i, stamp] of stamps.entries()) if (i > 0) expect(stamp.compare(stamps[i - 1])).toBe(1);
        expect(stamps.every((stamp) => stamp.readUInt32BE(8) < 1e9)).toBe(true);
      }),
    );
  });

  it('of a start are later than those of the last one, though the clock has gone back a day', () => {
    const before = createTimestamps(() => 10 * DAY, undefined);
    before.next();
    const kept = before.last();
    // What is not kept in time.
    for (let i = 0; i < 10; i++) before.next();
    const last = before.next();
    expect(before.last() - kept).toBeLessThan(KEPT_WITHIN_MS);
    expect(
      createTimestamps(() => 9 * DAY, kept)
        .next()
        .compare(last),
    ).toBe(1);
  });

  it('follow the clock again when it has not gone back', () => {
    const source = createTimestamps(() => 10 * DAY + 1000, 10 * DAY);
    source.next();
    expect(source.last()).toBeLessThan(10 * DAY + 1100);
  });
});
