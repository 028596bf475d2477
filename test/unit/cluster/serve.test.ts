import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ask } from '../../../src/cluster/ask.js';
import { macOf, publicKeyOf, secretWith } from '../../../src/cluster/identity.js';
import { CLUSTER_PORT, serveMembers } from '../../../src/cluster/serve.js';
import type { PeerView, Summary } from '../../../src/cluster/summary.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

/** Each on an address of its own of loopback, as if it were the overlay. */
const SERVER = '127.85.0.1';
const MEMBER = '127.85.0.2';
const STRANGER = '127.85.0.3';
/** A member too. */
const OTHER = '127.85.0.4';

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
let looks: number;
let server: { close(): void };

const history = () => ({ stepSeconds: 10, endsAt: '', curves: {} });

beforeEach(async () => {
  [serverKey, memberKey] = [newKey(), newKey()];
  [probed, looks] = [[], 0];
  server = serveMembers({
    address: parseIpv4(SERVER)!,
    isAtBridge: false,
    guarded: Promise.resolve(),
    key: serverKey,
    keyOf: (address) => ([MEMBER, OTHER].map(parseIpv4).includes(address) ? publicKeyOf(memberKey) : undefined),
    summary: async () => {
      looks++;
      return summary;
    },
    relay: async () => undefined,
    history,
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
  ask({ address: parseIpv4(from)!, key, nodes: 3, isAtBridge: false }, asked(), question);

/** What comes back of these bytes, from that address, until the end. */
async function raw(from: string, bytes: string): Promise<string> {
  return (await dial(from)).say(bytes);
}

interface Call {
  /** Says this, and gives what was heard until the answer is whole, or the end. */
  say(bytes: string): Promise<string>;
  close(): void;
}

function dial(from: string): Promise<Call> {
  return new Promise((resolve, reject) => {
    let heard = '';
    let settle = (_text: string) => {};
    const socket = connect({ host: SERVER, port: CLUSTER_PORT, localAddress: from });
    socket.on('data', (chunk) => {
      heard += chunk;
      if (heard.endsWith('}\n')) settle(heard);
    });
    socket.on('close', () => settle(heard)).on('error', reject);
    socket.on('connect', () =>
      resolve({
        say(bytes) {
          heard = '';
          return new Promise((heardAll) => {
            settle = heardAll;
            if (socket.destroyed) heardAll('');
            else socket.write(bytes, () => undefined);
          });
        },
        close: () => void socket.destroy(),
      }),
    );
  });
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
const challengeOn = async (call: Call) =>
  JSON.parse((await call.say(get('/challenge'))).split('\r\n\r\n')[1]).challenge;
const signed = (question: string, challenge: string, from = MEMBER, to = SERVER) => {
  const about = `${question}/nonce/${challenge}`;
  const secret = secretWith(memberKey, publicKeyOf(serverKey))!;
  return `${about}/${macOf(secret, { is: 'question', from, to, about })}`;
};

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

  it('shares a summary with all who ask at the same time, unless a probe was ordered meanwhile', async () => {
    looks = 0;
    await new Promise((resolve) => setTimeout(resolve, 500)); // that of beforeEach
    await Promise.all(Array.from({ length: 20 }, () => asMember('/summary')));
    expect(looks).toBeLessThanOrEqual(2);
    const before = looks;
    await asMember('/probe/10.42.2.0-24');
    await asMember('/summary');
    expect(looks).toBe(before + 1);
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

  it.each([
    ['no HTTP', 'x\r\n\r\n'],
    ['a cut request', 'GET /challenge HTTP/1.1\r\nHost: x\r\n'],
    ['no head that ends', `GET / HTTP/1.1\r\nHost: ${'x'.repeat(9000)}`],
    ['a body', 'POST /challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n'],
  ])('who sends %s, also from the address of a member', { timeout: 10_000 }, async (_, bytes) => {
    expect(await raw(STRANGER, bytes)).toBe('');
    expect(await raw(MEMBER, bytes)).toBe('');
  });

  it("who repeats a member's question, on its connection or another, or asks another with its MAC", async () => {
    const call = await dial(MEMBER);
    const question = signed('/summary', await challengeOn(call));
    expect(await call.say(get(question))).toMatch(/^HTTP\/1.1 200/);
    expect(await call.say(get(question))).toBe('');
    for (const path of [question, question.replace('/summary', '/probe/10.42.2.0-24'), '/summary', '/']) {
      const another = await dial(MEMBER);
      await challengeOn(another);
      expect(await another.say(get(path)), path).toBe('');
      expect(await raw(MEMBER, get(path)), path).toBe('');
      expect(await raw(STRANGER, get(path)), path).toBe('');
    }
    const changed = await dial(MEMBER);
    const path = signed('/summary', await challengeOn(changed)).replace('/summary', '/probe/10.42.2.0-24');
    expect(await changed.say(get(path))).toBe('');
    expect(probed).toEqual([]);
  });

  it("who gives it its own question back: it asks him for what it was asked, at a port that is not the member's", async () => {
    const call = await dial(MEMBER);
    const reflected = signed('/probe/10.42.2.0-24', await challengeOn(call), SERVER, MEMBER);
    expect(await call.say(get(reflected))).toBe('');
    // The same of a member with another address, whose lease says the same key.
    const copied = await dial(OTHER);
    expect(await copied.say(get(signed('/probe/10.42.2.0-24', await challengeOn(copied))))).toBe('');
    expect(probed).toEqual([]);
  });

  it('nor do they keep a member out: strangers have no connection, who shares an address with one only some', async () => {
    const crowd = await Promise.all([STRANGER, OTHER].flatMap((from) => Array.from({ length: 100 }, () => dial(from))));
    try {
      expect(await asMember('/summary')).toEqual(summary);
      // Whose requests are dealt with, or wait for their turn, do not either.
      for (const call of crowd) void call.say(get('/summary/a/b/c'));
      expect(await asMember('/summary')).toEqual(summary);
    } finally {
      for (const call of crowd) call.close();
    }
  });
});

it('a node without a key is told to take no questions', async () => {
  const asker = { address: parseIpv4(MEMBER)!, key: memberKey, nodes: 3, isAtBridge: false };
  await expect(ask(asker, { address: parseIpv4(SERVER)!, publicKey: undefined }, '/summary')).rejects.toThrow(/no key/);
});

it('that a bridge is not there yet is no news, and that a device is not there is', async () => {
  const options = { key: serverKey, keyOf: () => undefined, summary: async () => summary };
  const others = { relay: async () => undefined, probe: async () => undefined, history };
  for (const isAtBridge of [true, false]) {
    const log = createRecordingLog();
    const absent = serveMembers({
      ...options,
      ...others,
      address: parseIpv4('192.0.2.9')!,
      isAtBridge,
      guarded: Promise.resolve(),
      log,
    });
    const level = isAtBridge ? 'debug' : 'warn';
    await vi.waitFor(
      () => expect(log.lines).toMatchObject([{ level, message: 'other nodes cannot ask this one' }]),
      5000,
    );
    absent.close();
  }
});

it('nothing listens before others are kept from the port, nor ever if it is closed before', async () => {
  server.close();
  for (const isClosed of [false, true]) {
    let guard = () => {};
    const guarded = new Promise<void>((resolve) => {
      guard = resolve;
    });
    const options = { key: serverKey, keyOf: () => publicKeyOf(memberKey), summary: async () => summary };
    const others = { relay: async () => undefined, probe: async () => undefined, history, log: createRecordingLog() };
    server = serveMembers({ ...options, ...others, address: parseIpv4(SERVER)!, isAtBridge: false, guarded });
    await expect(asMember('/summary')).rejects.toThrow(/no rudder answers/);
    if (isClosed) server.close();
    guard();
    if (isClosed) await expect(asMember('/summary')).rejects.toThrow(/no rudder answers/);
    else await vi.waitFor(() => expect(asMember('/summary')).resolves.toEqual(summary), 5000);
    server.close();
  }
});
