import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { generateIdentity, privateKeyText } from '../../src/backend/wireguard/protocol/keys.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { exchange } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';
import {
  makeHosts,
  PEER,
  type Relay,
  removeHosts,
  run,
  startGoPeer,
  startRelay,
  US,
} from '../helpers/wireguard/go-peer.js';
import { startPureNode } from '../helpers/wireguard/pure-node.js';
import { nothingRefused, peerChange, startSealedNode } from '../helpers/wireguard/sealed-node.js';

/** Two rekeys of 120 s, and a little more. */
const MINUTES = 290_000;
const GIGABYTE = 1_000_000_000;

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

describeWith(['root', 'tun', 'wireguard-go'], 'the backend beside wireguard-go, with the times of the protocol', () => {
  let stateDir: string;
  beforeAll(() => {
    makeHosts();
    stateDir = mkdtempSync(join(tmpdir(), 'rudder-sealed-'));
  });
  afterAll(() => {
    removeHosts();
    rmSync(stateDir, { recursive: true });
  });

  it(
    'carries a gigabyte of TCP each way at once across two changes of keys',
    async () => {
      const other = generateIdentity();
      const node = await startSealedNode(stateDir, {}, [peerChange('added', other.publicKey.toString('base64'))]);
      const go = await startGoPeer({ privateKey: privateKeyText(other), peerKey: node.publicKey });
      run(US, 'ip address add 10.240.1.1/32 dev lo');
      const [inUs, inPeer] = [US, PEER].map((name) => ['ip', 'netns', 'exec', name]);
      const seconds = MINUTES / 1000 - 40;
      const transfers = await Promise.all([
        exchange(inUs, inPeer, 'tcp', '10.240.2.1', GIGABYTE, seconds),
        exchange(inPeer, inUs, 'tcp', '10.240.1.1', GIGABYTE, seconds),
      ]);
      for (const { sent, received } of transfers)
        expect(received).toMatchObject({ bytes: GIGABYTE, sha256: sent.sha256 });
      const { counters } = await node.report();
      expect(counters.in_handshakes).toBeGreaterThanOrEqual(3);
      await nothingRefused(node);
      await node.stop();
      await go.stop();
    },
    MINUTES + 30_000,
  );
});
