import { describe, expect, it } from 'vitest';
import { generateIdentity } from '../../../../src/backend/wireguard/protocol/keys.js';
import { COOKIE_REPLY, DATA, INITIATION, RESPONSE } from '../../../../src/backend/wireguard/protocol/messages.js';
import { createWorld, type Node } from '../../../helpers/wireguard/world.js';

const SECOND = 1000;
const KEEPALIVE_BYTES = 32;

function two(options: Parameters<Node['knows']>[1] = {}) {
  const world = createWorld();
  const [a, b] = [world.addNode('a'), world.addNode('b')];
  a.knows(b, options);
  b.knows(a, options);
  return { world, a, b };
}

describe('a session', () => {
  it('comes with the first packet, which is not lost', () => {
    const { world, a, b } = two();
    a.say(b, 'one');
    a.say(b, 'two');
    world.run(10);
    expect(b.received).toEqual(['one', 'two']);
    b.say(a, 'back');
    world.run(10);
    expect(a.received).toEqual(['back']);
    expect(world.sentOfType(INITIATION)).toHaveLength(1);
    expect(a.sessionOf(b)).toMatchObject({ hasSession: true, tryingForMs: undefined });
    expect(b.sessionOf(a)!.handshakeAgeMs).toBeLessThan(20);
  });

  it('does not send by the responder until the initiator has shown that it has the key', () => {
    const { world, a, b } = two();
    world.lose(({ bytes }) => bytes[0] === DATA);
    a.say(b, 'lost');
    world.run(10);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([true, false]);
    b.say(a, 'waits');
    world.lose(() => false);
    a.say(b, 'two');
    world.run(10);
    expect([a.received, b.received]).toEqual([['waits'], ['two']]);
  });

  it('is confirmed by its initiator at once, though it has nothing to say', () => {
    const { world, a, b } = two({ keepaliveMs: 25 * SECOND });
    b.say(a, 'one');
    world.run(10);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([true, true]);
  });

  it('is made once when both begin at the same moment', () => {
    const { world, a, b } = two();
    a.say(b, 'from a');
    b.say(a, 'from b');
    world.run(20);
    expect([a.received, b.received]).toEqual([['from b'], ['from a']]);
    expect(world.sentOfType(INITIATION)).toHaveLength(2);
    // And goes on through rekeys, a second apart: nothing is lost.
    const stop = world.every(SECOND, 0, () => {
      a.say(b, 'x');
      b.say(a, 'y');
    });
    world.run(400 * SECOND);
    stop();
    world.run(SECOND);
    expect(a.received.length).toBeGreaterThan(398);
    expect(a.received.length - b.received.length).toBe(0);
    expect([...a.drops, ...b.drops]).toEqual([]);
  });

  it('is tried again after 5 s, and with a little chance, when messages are lost', () => {
    const { world, a, b } = two();
    world.lose(({ bytes }) => bytes[0] === RESPONSE);
    a.say(b, 'patience');
    world.run(20 * SECOND);
    expect(b.received).toEqual([]);
    const times = world.sentOfType(INITIATION).length;
    expect(times).toBe(4);
    world.lose(() => false);
    world.run(6 * SECOND);
    expect(b.received).toEqual(['patience']);
  });

  it('is given up after 90 s, with what has waited for it; the next packet begins anew', () => {
    const { world, a, b } = two();
    world.lose(() => true);
    a.say(b, 'lost');
    world.run(100 * SECOND);
    const tries = world.sentOfType(INITIATION).length;
    expect(tries).toBeGreaterThan(15);
    expect(tries).toBeLessThanOrEqual(19);
    world.run(100 * SECOND);
    expect(world.sentOfType(INITIATION)).toHaveLength(tries);
    expect(a.sessionOf(b)!.tryingForMs).toBeUndefined();
    world.lose(() => false);
    a.say(b, 'found');
    world.run(SECOND);
    expect(b.received).toEqual(['found']);
  });

  it('keeps the 128 newest of the packets that wait', () => {
    const { world, a, b } = two();
    for (let i = 0; i < 200; i++) a.say(b, `${i}`);
    world.run(10);
    expect(b.received).toEqual(Array.from({ length: 128 }, (_, i) => `${72 + i}`));
  });
});

describe('keys', () => {
  it('are made anew every 120 s by their initiator while packets go, and no packet is lost', () => {
    const { world, a, b } = two();
    const stop = world.every(100, 0, () => a.say(b, 'x'));
    world.run(600 * SECOND);
    stop();
    world.run(SECOND);
    expect(b.received).toHaveLength(6001);
    const initiations = world.sentOfType(INITIATION);
    expect(initiations).toHaveLength(5);
    expect(initiations.every(({ from }) => from.address === a.at.address)).toBe(true);
    expect([...a.drops, ...b.drops, ...a.refusals, ...b.refusals]).toEqual([]);
  });

  it('are made anew by who only listens, before they end', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    // The responder sends; it does not begin a handshake.
    const stop = world.every(SECOND, 0, () => b.say(a, 'y'));
    world.run(400 * SECOND);
    stop();
    world.run(SECOND);
    expect(a.received.length).toBeGreaterThan(399);
    expect(world.sentOfType(INITIATION).every(({ from }) => from.address === a.at.address)).toBe(true);
  });

  it('end after 180 s without packets, on both sides, and the next packet makes new ones', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    world.run(181 * SECOND);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([false, false]);
    const { length } = world.sent;
    world.run(600 * SECOND);
    expect(world.sent).toHaveLength(length);
    b.say(a, 'y');
    world.run(10);
    expect(a.received).toEqual(['y']);
  });
});

describe('a session that is asked for without a packet', () => {
  it('stands at both ends', () => {
    const { world, a, b } = two();
    a.ask(b);
    world.run(10);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([true, true]);
    expect(a.sessionOf(b)).toMatchObject({ hasSession: true, tryingForMs: undefined });
  });

  it('is asked for once, if nobody answers', () => {
    const { world, a, b } = two();
    world.lose(() => true);
    a.ask(b);
    world.run(3 * SECOND);
    expect(a.sessionOf(b)!.tryingForMs).toBeLessThanOrEqual(3 * SECOND);
    a.ask(b);
    world.run(100 * SECOND);
    expect(world.sentOfType(INITIATION)).toHaveLength(1);
    expect(a.sessionOf(b)!.tryingForMs).toBeUndefined();
    a.ask(b);
    world.run(SECOND);
    expect(world.sentOfType(INITIATION)).toHaveLength(2);
  });

  it('is tried for as long as any, when a packet comes for it', () => {
    const { world, a, b } = two();
    world.lose(() => true);
    a.ask(b);
    world.run(SECOND);
    a.say(b, 'x');
    world.run(60 * SECOND);
    expect(world.sentOfType(INITIATION).length).toBeGreaterThan(10);
    world.lose(() => false);
    world.run(6 * SECOND);
    expect(b.received).toEqual(['x']);
  });
});

describe('signs of life', () => {
  const keepalives = (world: ReturnType<typeof createWorld>, from: Node) =>
    world.sentOfType(DATA).filter((d) => d.bytes.length === KEEPALIVE_BYTES && d.from.address === from.at.address);

  it('are sent 10 s after data that nothing has answered, and once', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(9 * SECOND);
    expect(keepalives(world, b)).toHaveLength(0);
    world.run(2 * SECOND);
    expect(keepalives(world, b)).toHaveLength(1);
    world.run(100 * SECOND);
    expect(keepalives(world, b)).toHaveLength(1);
    expect(world.sentOfType(INITIATION)).toHaveLength(1);
  });

  it('are not sent when data goes back', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    const { length } = keepalives(world, a);
    const stop = world.every(SECOND, 0, () => {
      a.say(b, 'x');
      b.say(a, 'y');
    });
    world.run(60 * SECOND);
    stop();
    expect([keepalives(world, a).length, keepalives(world, b).length]).toEqual([length, 0]);
  });

  it('go all the time with a persistent keepalive, and from the start', () => {
    const { world, a, b } = two({ keepaliveMs: 25 * SECOND });
    world.run(SECOND);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([true, true]);
    world.run(600 * SECOND);
    expect([a.hasSession(b), b.hasSession(a)]).toEqual([true, true]);
    const times = keepalives(world, a).length + keepalives(world, b).length;
    expect(times).toBeGreaterThan(22);
    expect(times).toBeLessThan(40);
  });
});

describe('a peer that is restarted in the middle of a flow', () => {
  it('is found out after 15 s of silence by who sends', () => {
    const { world, a, b } = two();
    a.say(b, 'before');
    world.run(SECOND);
    b.stop();
    const again = world.addNode('b', { identity: b.identity });
    again.at = b.at;
    again.knows(a);
    const stop = world.every(SECOND, 0, () => a.say(again, 'x'));
    world.run(14 * SECOND);
    expect(again.received).toEqual([]);
    expect(again.drops.length).toBeGreaterThan(10);
    world.run(3 * SECOND);
    stop();
    expect(again.received.length).toBeGreaterThan(0);
  });

  it('carries on at once when it sends itself', () => {
    const { world, a, b } = two();
    a.say(b, 'before');
    world.run(SECOND);
    b.stop();
    const again = world.addNode('b', { identity: b.identity });
    again.at = b.at;
    again.knows(a);
    again.say(a, 'here again');
    world.run(10);
    a.say(again, 'x');
    world.run(10);
    expect(a.received).toEqual(['here again']);
    expect(again.received).toEqual(['x']);
  });

  it('is locked out when its clock has gone back, unless it has kept its last timestamp', () => {
    for (const kept of [undefined, 1_000_000]) {
      const { world, a, b } = two();
      b.say(a, 'before');
      world.run(SECOND);
      b.stop();
      const again = world.addNode('b', { identity: b.identity, wallMs: () => 500_000, kept });
      again.at = b.at;
      again.knows(a);
      again.say(a, 'here again');
      world.run(SECOND);
      expect(a.received.includes('here again')).toBe(kept !== undefined);
      expect(a.refusals).toEqual(kept === undefined ? ['replayed'] : []);
    }
  });
});

describe('where a peer is', () => {
  it('is where it has sent from last', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    b.at = { address: 77, port: 7 };
    b.say(a, 'moved');
    world.run(10);
    expect(a.endpointOf(b)).toEqual({ address: 77, port: 7 });
    a.say(b, 'there');
    world.run(10);
    expect(b.received).toEqual(['x', 'there']);
  });

  it('is learnt by a handshake too', () => {
    const world = createWorld();
    const [a, b] = [world.addNode('a'), world.addNode('b')];
    a.knows(b);
    b.knows(a, { endpoint: 'unknown' });
    // Nobody to send to.
    b.say(a, 'waits');
    world.run(SECOND);
    expect(world.sent).toEqual([]);
    a.say(b, 'x');
    world.run(10);
    expect(a.received).toEqual(['waits']);
  });

  it('does not change by what is forged or replayed', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    const elsewhere = { address: 99, port: 9 };
    for (const { bytes, to } of [...world.sent]) {
      world.inject({ bytes, to, from: elsewhere });
      const forged = Buffer.from(bytes);
      forged[forged.length - 20] ^= 1;
      world.inject({ bytes: forged, to, from: elsewhere });
    }
    expect(a.endpointOf(b)).toEqual(b.at);
    expect(b.endpointOf(a)).toEqual(a.at);
    expect(b.received).toEqual(['x']);
  });
});

describe('the preshared key', () => {
  it('must be the same', () => {
    const world = createWorld();
    const [a, b] = [world.addNode('a'), world.addNode('b')];
    a.knows(b, { psk: Buffer.alloc(32, 1) });
    b.knows(a, { psk: Buffer.alloc(32, 2) });
    a.say(b, 'x');
    world.run(SECOND);
    expect(b.received).toEqual([]);
    expect(a.refusals).toEqual(['forged']);
    b.forget(a);
    b.knows(a, { psk: Buffer.alloc(32, 1) });
    world.run(6 * SECOND);
    expect(b.received).toEqual(['x']);
  });
});

describe('a peer with another key', () => {
  it('is another peer: nothing of the old one is taken', () => {
    const { world, a, b } = two();
    a.say(b, 'x');
    world.run(SECOND);
    a.forget(b);
    b.say(a, 'to whom it may concern');
    world.run(10);
    expect(a.drops).toEqual(['no session']);
    const other = world.addNode('b', { identity: generateIdentity() });
    b.stop();
    other.at = b.at;
    other.knows(a);
    a.knows(other);
    a.say(other, 'hello');
    world.run(10);
    expect(other.received).toEqual(['hello']);
  });
});

describe('under load', () => {
  it('a cookie is asked for, and who has it is answered', () => {
    const { world, a, b } = two();
    b.isLoaded = true;
    a.say(b, 'x');
    world.run(SECOND);
    expect(world.sentOfType(COOKIE_REPLY)).toHaveLength(1);
    expect(b.refusals).toEqual(['under load']);
    world.run(5 * SECOND);
    expect(b.received).toEqual(['x']);
    expect(world.sentOfType(COOKIE_REPLY)).toHaveLength(1);
  });

  it('a response is answered by a cookie too', () => {
    const { world, a, b } = two();
    a.isLoaded = true;
    a.say(b, 'x');
    world.run(6 * SECOND);
    expect(a.refusals).toEqual(['under load']);
    expect(b.received).toEqual(['x']);
  });

  /** One that is loaded, and an initiation with the cookie that it has given. */
  function loaded() {
    const { world, a, b } = two();
    b.isLoaded = true;
    a.say(b, 'x');
    world.run(6 * SECOND);
    const [, second] = world.sentOfType(INITIATION);
    b.refusals.length = 0;
    return { world, b, second };
  }

  it('a cookie is of one address, and of one time', () => {
    const { world, b, second } = loaded();
    world.inject({ ...second, from: { address: 66, port: 6 } });
    expect(b.refusals).toEqual(['under load']);
    b.refusals.length = 0;
    world.inject(second);
    expect(b.refusals).toEqual(['replayed']);
    world.run(121 * SECOND);
    b.refusals.length = 0;
    world.inject(second);
    expect(b.refusals).toEqual(['under load']);
  });

  it('no more than 20 a second of one address cost anything', () => {
    const { world, b, second } = loaded();
    for (let i = 0; i < 1000; i++) {
      world.inject(second);
      world.run(1);
    }
    const count = b.refusals.filter((why) => why === 'replayed').length;
    expect(count).toBeGreaterThan(15);
    expect(count).toBeLessThan(30);
  });
});
