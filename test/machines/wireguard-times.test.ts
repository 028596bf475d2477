import { afterAll, beforeAll, expect, it } from 'vitest';
import { generateIdentity, privateKeyText } from '../../src/backend/wireguard/protocol/keys.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { makeHosts, type Relay, removeHosts, startGoPeer, startRelay } from '../helpers/wireguard/go-peer.js';
import { startPureNode } from '../helpers/wireguard/pure-node.js';

/** Two rekeys of 120 s, and a little more. */
const MINUTES = 290_000;

describeWith(
  ['root', 'tun', 'wireguard-go'],
  'the protocol beside wireguard-go, with the times of the protocol',
  () => {
    let relay: Relay;
    beforeAll(async () => {
      makeHosts();
      relay = await startRelay();
    });
    afterAll(() => {
      relay.stop();
      removeHosts();
    });

    it.each([
      ['we begin', {}],
      ['wireguard-go begins', { endpoint: '10.1.1.1:51820' }],
    ])(
      'keeps a flow without a loss across two rekeys: %s',
      async (_, endpoint) => {
        const [own, other] = [generateIdentity(), generateIdentity()];
        const peerKey = own.publicKey.toString('base64');
        const go = await startGoPeer({ privateKey: privateKeyText(other), peerKey, ...endpoint });
        const node = startPureNode(relay, { own, peerKey: other.publicKey });
        if ('endpoint' in endpoint) expect(await go.pings()).toBe(true);
        let count = 0;
        const pings = setInterval(() => node.ping(++count), 50);
        const handshakes = new Set<string>();
        try {
          await waitFor(
            'the third handshake',
            () => {
              handshakes.add(go.show('latest-handshakes'));
              return [...handshakes].filter((line) => !line.endsWith('\t0')).length === 3;
            },
            MINUTES,
          );
        } finally {
          clearInterval(pings);
        }
        await waitFor('the last answer', () => node.answered.has(count), 5000);
        expect(node.answered.size).toBe(count);
        expect([...node.drops, ...node.refusals]).toEqual([]);
        node.stop();
        await go.stop();
      },
      MINUTES + 30_000,
    );
  },
);
