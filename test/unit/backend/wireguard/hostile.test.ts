import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createCookieHolder } from '../../../../src/backend/wireguard/protocol/cookie.js';
import { createMessage, INITIATION, RESPONSE } from '../../../../src/backend/wireguard/protocol/messages.js';
import { createSourceLimit } from '../../../../src/backend/wireguard/protocol/source-limit.js';
import { STANDARD_TIMING } from '../../../../src/backend/wireguard/protocol/timing.js';
import { createWorld } from '../../../helpers/wireguard/world.js';

const STRANGER = { address: 666, port: 666 };

/** Two nodes that have spoken, and all that has passed between them. */
function spoken() {
  const world = createWorld();
  const [a, b] = [world.addNode('a'), world.addNode('b')];
  a.knows(b);
  b.knows(a);
  a.say(b, 'one');
  world.run(5);
  b.say(a, 'two');
  world.run(5);
  return { world, a, b, passed: [...world.sent] };
}

type Spoken = ReturnType<typeof spoken>;

function expectUnmoved({ world, a, b, passed }: Spoken): void {
  expect([a.received, b.received]).toEqual([['two'], ['one']]);
  expect(world.sent).toHaveLength(passed.length);
  expect([a.endpointOf(b), b.endpointOf(a)]).toEqual([b.at, a.at]);
  a.say(b, 'three');
  world.run(5);
  expect(b.received).toEqual(['one', 'three']);
}

describe('hostile messages', () => {
  it('of random bytes have no effect and no answer', () => {
    const nodes = spoken();
    const type = fc.integer({ min: 0, max: 5 });
    const size = fc.oneof(fc.constantFrom(148, 92, 64, 32), fc.integer({ min: 0, max: 200 }));
    fc.assert(
      fc.property(type, size, fc.infiniteStream(fc.integer({ min: 0, max: 255 })), (kind, length, stream) => {
        const bytes = Buffer.from([...stream.take(length)]);
        if (length >= 4) bytes.writeUInt32LE(kind, 0);
        for (const { at } of [nodes.a, nodes.b]) nodes.world.inject({ bytes, from: STRANGER, to: at });
      }),
      { numRuns: 300 },
    );
    expectUnmoved(nodes);
  });

  it('with one bit of a true one changed have no effect and no answer', () => {
    const nodes = spoken();
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (which, where) => {
        const { bytes, to } = nodes.passed[which % nodes.passed.length];
        const bit = where % (bytes.length * 8);
        const changed = Buffer.from(bytes);
        changed[bit >> 3] ^= 1 << (bit & 7);
        nodes.world.inject({ bytes: changed, from: STRANGER, to });
      }),
      { numRuns: 400 },
    );
    expectUnmoved(nodes);
  });

  it('that are true ones again, cut short or made longer, have no effect and no answer', () => {
    const nodes = spoken();
    for (const { bytes, to } of nodes.passed) {
      nodes.world.inject({ bytes, from: STRANGER, to });
      for (let length = 0; length < bytes.length; length += 3) {
        nodes.world.inject({ bytes: bytes.subarray(0, length), from: STRANGER, to });
      }
      nodes.world.inject({ bytes: Buffer.concat([bytes, Buffer.alloc(16)]), from: STRANGER, to });
    }
    expectUnmoved(nodes);
  });

  it('with a valid mac1, which anybody can make who knows the public key, have no effect', () => {
    const nodes = spoken();
    const { b, world } = nodes;
    const signer = createCookieHolder(b.identity.publicKey, { timing: STANDARD_TIMING, now: () => 0 });
    for (const [type, size] of [
      [INITIATION, 148],
      [RESPONSE, 92],
    ] as const) {
      for (let i = 0; i < 50; i++) {
        const bytes = createMessage(type, size);
        randomBytes(size - 36).copy(bytes, 4);
        signer.sign(bytes);
        world.inject({ bytes, from: STRANGER, to: b.at });
      }
    }
    expect(new Set(b.refusals)).toEqual(new Set(['forged', 'unexpected']));
    expectUnmoved(nodes);
  });

  it('with a valid mac1 are asked for a cookie under load, and cost no more', () => {
    const nodes = spoken();
    const { b, world, passed } = nodes;
    b.isLoaded = true;
    const signer = createCookieHolder(b.identity.publicKey, { timing: STANDARD_TIMING, now: () => 0 });
    for (let i = 0; i < 50; i++) {
      const bytes = createMessage(INITIATION, 148);
      randomBytes(112).copy(bytes, 4);
      signer.sign(bytes);
      world.inject({ bytes, from: STRANGER, to: b.at });
    }
    expect(b.refusals).toEqual(Array.from({ length: 50 }, () => 'under load'));
    expect(world.sent).toHaveLength(passed.length + 50);
  });

  it('of cookies do not put an old one in the place of a new one, nor a forged one', () => {
    const world = createWorld();
    const [a, b] = [world.addNode('a'), world.addNode('b')];
    a.knows(b);
    b.knows(a);
    b.isLoaded = true;
    a.say(b, 'x');
    world.run(1000);
    const [reply] = world.sent.filter(({ bytes }) => bytes[0] === 3);
    world.inject(reply);
    const forged = Buffer.from(reply.bytes);
    forged[40] ^= 1;
    world.inject({ ...reply, bytes: forged });
    expect(a.refusals).toEqual(['forged', 'forged']);
    world.run(6000);
    expect(b.received).toEqual(['x']);
  });
});

describe('the limit of sources', () => {
  it('remembers no more than so many, and forgets who is quiet', () => {
    let now = 0;
    const allows = createSourceLimit(() => now);
    for (let i = 0; i < 20_000; i++) expect(allows(i)).toBe(true);
    for (let i = 0; i < 4; i++) expect(allows(7)).toBe(true);
    expect(allows(19_999)).toBe(true);
    for (let i = 0; i < 3; i++) allows(19_999);
    expect(allows(19_999)).toBe(false);
    now += 50;
    expect(allows(19_999)).toBe(true);
    expect(allows(19_999)).toBe(false);
    now += 2000;
    expect(allows(1)).toBe(true);
    expect(allows(19_999)).toBe(true);
  });
});
