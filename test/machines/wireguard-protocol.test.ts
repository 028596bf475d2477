import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { generateIdentity, type Identity, privateKeyText } from '../../src/backend/wireguard/protocol/keys.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import {
  type GoPeer,
  type GoSettings,
  makeHosts,
  type Relay,
  removeHosts,
  startGoPeer,
  startRelay,
} from '../helpers/wireguard/go-peer.js';
import { type PureNode, type PureOptions, startPureNode } from '../helpers/wireguard/pure-node.js';

/** So that a rekey and a silence take seconds. An initiation of ours is early then, and wireguard-go takes it. */
const SHORT = { rekeyAfterMs: 1500, rejectAfterMs: 30_000, rekeyTimeoutMs: 500, keepaliveMs: 1000 };
const ENDPOINT = '10.1.1.1:51820';

describeWith(['root', 'tun', 'wireguard-go'], 'the protocol beside wireguard-go', () => {
  const [own, other] = [generateIdentity(), generateIdentity()];
  let relay: Relay;
  let go: GoPeer;
  let node: PureNode;

  beforeAll(async () => {
    makeHosts();
    relay = await startRelay();
  });
  afterEach(async () => {
    node.stop();
    await go.stop();
  });
  afterAll(() => {
    relay.stop();
    removeHosts();
  });

  async function startBoth(goes: Partial<GoSettings> = {}, ours: Partial<PureOptions> = {}): Promise<void> {
    go = await startGoPeer(goSettings(other, own, goes));
    node = startPureNode(relay, { own, peerKey: other.publicKey, ...ours });
  }

  const answered = (sequence: number, deadlineMs = 5000) =>
    waitFor(`an answer to ping ${sequence}`, () => node.answered.has(sequence), deadlineMs);

  it('begins a session, and packets of all sizes come back', async () => {
    await startBoth();
    const sizes = [0, 1, 8, 15, 16, 17, 56, 100, 1000, 1391, 1392];
    for (const [i, size] of sizes.entries()) node.ping(i, size);
    for (const i of sizes.keys()) await answered(i);
    expect(Number(go.show('latest-handshakes').split('\t')[1])).toBeGreaterThan(0);
    expect(node.drops).toEqual([]);
  });

  it('answers a session that wireguard-go begins', async () => {
    await startBoth({ endpoint: ENDPOINT });
    expect(await go.pings()).toBe(true);
    expect(await go.pings(1392)).toBe(true);
    expect(node.handshakesSent()).toBe(1);
  });

  it('begins at the same moment as wireguard-go', async () => {
    await startBoth({ endpoint: ENDPOINT });
    const theirs = go.pings();
    node.ping(1);
    expect(await theirs).toBe(true);
    await answered(1);
  });

  it('changes keys all the while, and nothing is lost', async () => {
    await startBoth({}, { timing: SHORT });
    let count = 0;
    const handshakes = new Set<string>();
    const pings = setInterval(() => node.ping(++count), 20);
    try {
      await waitFor(
        'five handshakes',
        async () => {
          handshakes.add(go.show('latest-handshakes'));
          return node.handshakesSent() >= 5 && handshakes.size >= 4;
        },
        20_000,
      );
    } finally {
      clearInterval(pings);
    }
    await answered(count);
    expect(node.answered.size).toBe(count);
    expect([...node.drops, ...node.refusals]).toEqual([]);
  });

  it('has nothing without the preshared key, and all with it', async () => {
    const presharedKey = randomBytes(32);
    await startBoth({ presharedKey: presharedKey.toString('base64') }, { timing: SHORT });
    node.ping(1);
    await waitFor('three vain tries', () => node.handshakesSent() >= 3, 5000);
    expect(node.answered.size).toBe(0);
    node.stop();
    node = startPureNode(relay, { own, peerKey: other.publicKey, presharedKey });
    node.ping(2);
    await answered(2);
  });

  it('finds out that wireguard-go was restarted in the middle of a flow', async () => {
    await startBoth({}, { timing: SHORT });
    node.ping(1);
    await answered(1);
    await go.stop();
    go = await startGoPeer(goSettings(other, own, {}));
    let count = 1;
    const pings = setInterval(() => node.ping(++count), 50);
    try {
      await waitFor('an answer', () => node.answered.size > 1, 10_000);
    } finally {
      clearInterval(pings);
    }
  });

  it('goes on after a restart of its own, though wireguard-go has other keys', async () => {
    await startBoth();
    node.ping(1);
    await answered(1);
    node.stop();
    node = startPureNode(relay, { own, peerKey: other.publicKey });
    node.ping(2);
    await answered(2, 1000);
    expect(await go.pings()).toBe(true);
  });

  it('is found after it has moved, and finds wireguard-go after that has', async () => {
    await startBoth();
    node.ping(1);
    await answered(1);
    await relay.bind(4444);
    node.ping(2);
    await answered(2);
    expect(go.show('endpoints')).toContain('10.1.1.1:4444');
    go.set('listen-port 5555');
    expect(await go.pings()).toBe(true);
    expect(node.endpoint().port).toBe(5555);
    node.ping(3);
    await answered(3);
    await relay.bind(51820);
  });

  it('asks for a cookie under load, and wireguard-go comes back with it', async () => {
    await startBoth({ endpoint: ENDPOINT });
    node.setLoaded(true);
    const pings = (async () => {
      for (let i = 0; i < 20; i++) if (await go.pings()) return true;
      return false;
    })();
    await waitFor('a first try', () => node.refusals.includes('under load'), 5000);
    expect(await pings).toBe(true);
    expect(node.refusals).toEqual(['under load']);
  });

  it('keeps a session open that nobody uses', async () => {
    await startBoth({ endpoint: ENDPOINT, keepalive: 1 }, { timing: SHORT });
    await waitFor('a session', () => node.session().hasSession, 5000);
    const age = () => node.session().handshakeAgeMs!;
    await delay(3000);
    expect(age()).toBeGreaterThan(2500);
    expect(node.drops).toEqual([]);
  });
});

function goSettings(own: Identity, peer: Identity, more: Partial<GoSettings>): GoSettings {
  return { privateKey: privateKeyText(own), peerKey: peer.publicKey.toString('base64'), ...more };
}
