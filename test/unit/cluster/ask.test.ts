import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ask } from '../../../src/cluster/ask.js';
import { macOf, publicKeyOf, secretWith } from '../../../src/cluster/identity.js';
import { CLUSTER_PORT } from '../../../src/cluster/serve.js';
import { type Member, survey } from '../../../src/cluster/survey.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';

/**
 * What answers at a member's address may be a process of somebody's that took the port of a daemon that does not run, or a
 * member that was broken into.
 */
const [ASKER, ASKED] = ['127.85.3.1', '127.85.3.2'].map((text) => parseIpv4(text)!);
const [askerKey, askedKey] = [1, 2].map(() => generateKeyPairSync('x25519').privateKey);
const secret = secretWith(askedKey, publicKeyOf(askerKey))!;
const asker = { address: ASKER, key: askerKey, nodes: 3, isAtBridge: false };

let server: Server | undefined;
let sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets = [];
  server?.close();
});

/** @param reply bytes for a request; undefined: none */
async function answering(reply: (path: string, socket: Socket) => string | undefined): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      const answer = reply(String(chunk).split(' ')[1], socket);
      if (answer !== undefined) socket.write(answer);
    });
  });
  server.listen(CLUSTER_PORT, formatIpv4(ASKED));
  await once(server, 'listening');
}

const http = (body: string, code = 200, mac = '') =>
  `HTTP/1.1 ${code} x\r\ncontent-length: ${Buffer.byteLength(body)}\r\nrudder-mac: ${mac}\r\nconnection: keep-alive\r\n\r\n${body}`;
const CHALLENGE = http('{"challenge":"c"}');
const isChallenge = (path: string) => path === '/challenge';
/** As that node would answer. */
function rightly(path: string, body: string, code = 200): string {
  const about = `${path.slice(0, path.lastIndexOf('/'))} ${code}`;
  const [from, to] = [ASKED, ASKER].map(formatIpv4);
  return http(body, code, macOf(secret, { is: 'answer', from, to, about, body: Buffer.from(body) }));
}
const asking = () => ask(asker, { address: ASKED, publicKey: publicKeyOf(askedKey) }, '/summary');

const SUMMARY = '{"host":"n2","version":"1","ready":true,"peers":[]}';

describe('where nodes have their addresses by bridges', () => {
  const member = { address: ASKED, publicKey: publicKeyOf(askedKey) };

  it('the asker says which one is missing here', async () => {
    const [nobody, asking] = [parseIpv4('192.0.2.9')!, { ...asker, isAtBridge: true }];
    await expect(ask({ ...asking, address: nobody }, member, '/summary')).rejects.toThrow(
      'this host has not 192.0.2.9, by which nodes know who asks, the address of a bridge of containers: is there one here?',
    );
  });

  it('silence is told with the address that a bridge there would have', async () => {
    await answering(() => undefined);
    await expect(ask({ ...asker, isAtBridge: true }, member, '/summary')).rejects.toThrow(
      'no answer from 127.85.3.2, the address of a bridge of containers: is there one there?',
    );
  });
});

it('an answer of that node is taken', async () => {
  await answering((path) => (isChallenge(path) ? CHALLENGE : rightly(path, SUMMARY)));
  expect(await asking()).toMatchObject({ host: 'n2' });
});

describe('what is not of that node is no answer, and says so in one line:', () => {
  it.each<[string, string]>([
    ['no JSON', http('hello')],
    ['null', http('null')],
    ['a challenge that is none', http('{"challenge":"../../x"}')],
    ['another status', http('{"challenge":"c"}', 500)],
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['a change of protocols', 'HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ])('%s', async (_, bytes) => {
    await answering(() => bytes);
    await expect(asking()).rejects.toThrow(/not that node/);
  });

  it.each<[string, (path: string) => string]>([
    ['a summary without a MAC', () => http(SUMMARY)],
    ['a refusal without a MAC', () => http('{}', 404)],
    ['the MAC of the question', (path) => http(SUMMARY, 200, path.split('/').at(-1))],
    ['another status than was signed', (path) => rightly(path, SUMMARY, 404).replace(' 404 ', ' 200 ')],
    ['another text than was signed', (path) => rightly(path, SUMMARY).replace('n2', 'n3')],
  ])('%s', async (_, forge) => {
    await answering((path) => (isChallenge(path) ? CHALLENGE : forge(path)));
    await expect(asking()).rejects.toThrow(/not that node/);
  });

  it('an answer of earlier, to the same question with the same challenge', async () => {
    let recorded: string | undefined;
    await answering((path) => {
      if (isChallenge(path)) return CHALLENGE;
      recorded ??= rightly(path, SUMMARY);
      return recorded;
    });
    await asking();
    await expect(asking()).rejects.toThrow(/not that node/);
  });
});

describe('an answer comes to an end:', () => {
  it.each<[string, (path: string, socket: Socket) => string | undefined, RegExp]>([
    ['none at all', () => undefined, /no answer/],
    ['a head without end', (_, socket) => endless(socket, 'HTTP/1.1 200 x\r\n', 'x: y\r\n'), /./],
    ['news without end', (_, socket) => endless(socket, '', 'HTTP/1.1 103 x\r\n\r\n'), /no answer/],
    ['a long challenge', (_, socket) => endless(socket, 'HTTP/1.1 200 x\r\n\r\n', 'x'.repeat(65_536)), /too long/],
    [
      'a long answer',
      (path, socket) => (isChallenge(path) ? CHALLENGE : endless(socket, 'HTTP/1.1 200 x\r\n\r\n', 'x'.repeat(65_536))),
      /too long/,
    ],
    [
      'a slow one',
      (path, socket) => (isChallenge(path) ? CHALLENGE : endless(socket, 'HTTP/1.1 200 x\r\n\r\n', ' ', 50)),
      /no answer/,
    ],
  ])('%s', async (_, reply, words) => {
    await answering(reply);
    const began = performance.now();
    await expect(asking()).rejects.toThrow(words);
    expect(performance.now() - began).toBeLessThan(3000);
  });

  function endless(socket: Socket, head: string, piece: string, everyMs = 0): undefined {
    socket.write(head);
    const more = () => {
      if (socket.destroyed) return;
      socket.write(piece);
      setTimeout(more, everyMs);
    };
    more();
  }
});

describe('a member that was broken into', () => {
  const member: Member = {
    host: 'n2',
    subnet: '127.85.3.0/24',
    address: '192.0.2.2',
    overlayAddress: ASKED,
    publicKey: publicKeyOf(askedKey),
  };
  const own = { host: 'n1', subnet: '10.1.0.0/24', address: '', summary: null };

  it.each([
    ['no JSON', 'hello'],
    ['null', 'null'],
    ['numbers beyond range', SUMMARY.replace('[]', '[{"subnet":"a","heardSeconds":1e999}]')],
    ['texts without end', SUMMARY.replace('"n2"', `"${'x'.repeat(5000)}"`)],
    ['a thousand wrong peers', SUMMARY.replace('[]', JSON.stringify(Array(1000).fill({})))],
    ['a prototype', '{"__proto__":{"host":"n2","version":"1","ready":true,"peers":[]}}'],
  ])('is told to make no sense, in one short line: %s', async (_, body) => {
    await answering((path) => (isChallenge(path) ? CHALLENGE : rightly(path, body)));
    const { nodes } = await survey(own, [member], asker);
    expect(nodes[1]).toMatchObject({ summary: null, problem: expect.stringMatching(/^its answer makes no sense/) });
    expect(nodes[1].problem!.length).toBeLessThan(100);
  });
});
