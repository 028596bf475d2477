import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ask } from '../../../src/cluster/ask.js';
import { publicKeyOf } from '../../../src/cluster/identity.js';
import { CLUSTER_PORT, serveMembers } from '../../../src/cluster/serve.js';
import type { PeerView, Summary } from '../../../src/cluster/summary.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

/** Each on an address of its own of loopback, as if it were the overlay. */
const SERVER = '127.85.0.1';
const MEMBER = '127.85.0.2';
const STRANGER = '127.85.0.3';

const newKey = () => generateKeyPairSync('x25519').privateKey;
const view: PeerView = {
  subnet: '10.42.2.0/24',
  heardSeconds: 1,
  answeredSeconds: 1,
  misses: 0,
  rttMs: 1,
  obstacle: null,
};
const summary: Summary = { host: 'one', version: '1', ready: true, peers: [view] };

let serverKey: KeyObject;
let memberKey: KeyObject;
let probed: string[];
let server: { close(): void };

beforeEach(async () => {
  [serverKey, memberKey] = [newKey(), newKey()];
  probed = [];
  server = serveMembers({
    address: parseIpv4(SERVER)!,
    key: serverKey,
    keyOf: (address) => (address === parseIpv4(MEMBER) ? publicKeyOf(memberKey) : undefined),
    summary: async () => summary,
    relay: async () => undefined,
    probe: async (subnet) => {
      probed.push(subnet);
      return subnet === view.subnet ? view : undefined;
    },
    log: createRecordingLog(),
  });
  await vi.waitFor(() => expect(asMember('/summary')).resolves.toEqual(summary), 5000);
});
afterEach(() => server.close());

const asked = () => ({ address: parseIpv4(SERVER)!, publicKey: publicKeyOf(serverKey) });
const asMember = (question: string, key = memberKey, from = MEMBER) =>
  ask({ address: parseIpv4(from)!, key }, asked(), question);

/** What comes back of these bytes, from that address. */
function raw(from: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let told = '';
    const socket = connect({ host: SERVER, port: CLUSTER_PORT, localAddress: from }, () => socket.write(bytes));
    socket.on('data', (chunk) => {
      told += chunk;
    });
    socket.on('error', reject).on('close', () => resolve(told));
  });
}

describe('a member', () => {
  it('has its question answered', async () => {
    expect(await asMember('/probe/10.42.2.0-24')).toEqual(view);
    expect(probed).toEqual(['10.42.2.0/24']);
  });

  it('orders ten probes a second, and no more', async () => {
    const orders = Array.from({ length: 30 }, () => asMember('/probe/10.42.2.0-24'));
    const results = await Promise.allSettled(orders);
    const refused = results.filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(10);
    expect(probed.length + refused.length).toBe(30);
  });

  it('is told what it asks wrongly', async () => {
    await expect(asMember('/nonsense')).rejects.toThrow(/answered 404/);
    await expect(asMember('/probe/10.42.9.0-24')).rejects.toThrow(/answered 404/);
    await expect(asMember('/relay/10.42.9.0-24')).rejects.toThrow(/answered 404/);
  });
});

describe('nobody else has an answer, nor makes it probe:', () => {
  it('a host with no address of a member', async () => {
    expect(await raw(STRANGER, 'GET /challenge HTTP/1.1\r\nHost: x\r\n\r\n')).toBe('');
    await expect(asMember('/summary', memberKey, STRANGER)).rejects.toThrow(/member/);
  });

  it('a container that is masqueraded as its host: it has the address, and not the key', async () => {
    await expect(asMember('/probe/10.42.2.0-24', newKey())).rejects.toThrow(/member/);
    expect(probed).toEqual([]);
  });

  it("who repeats a member's question from another address, or for another thing", async () => {
    const { challenge } = JSON.parse(
      (await raw(MEMBER, 'GET /challenge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).split('\r\n\r\n')[1],
    );
    const { macOf, secretWith } = await import('../../../src/cluster/identity.js');
    const mac = macOf(secretWith(memberKey, publicKeyOf(serverKey))!, `/summary/${challenge}`);
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    expect(await raw(MEMBER, get(`/summary/${challenge}/${mac}`))).toMatch(/^HTTP\/1.1 200/);
    expect(await raw(STRANGER, get(`/summary/${challenge}/${mac}`))).toBe('');
    expect(await raw(MEMBER, get(`/probe/10.42.2.0-24/${challenge}/${mac}`))).toBe('');
    expect(await raw(MEMBER, get(`/summary/${'x'.repeat(43)}/${mac}`))).toBe('');
    expect(await raw(MEMBER, get('/summary'))).toBe('');
    expect(probed).toEqual([]);
  });
});

it('a node without a key is told to take no questions', async () => {
  const asker = { address: parseIpv4(MEMBER)!, key: memberKey };
  await expect(ask(asker, { address: parseIpv4(SERVER)!, publicKey: undefined }, '/summary')).rejects.toThrow(/no key/);
});
