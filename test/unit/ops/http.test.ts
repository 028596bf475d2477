import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect, Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { askDaemon } from '../../../src/ops/control-client.js';
import { serveHttp } from '../../../src/ops/http.js';
import type { Status } from '../../../src/ops/status.js';
import { freePort } from '../../helpers/etcd.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';
import { describeWith } from '../../helpers/requires.js';
import { createStatus } from '../../helpers/status.js';

let directory: string;
let socketPath: string;
let port: number;
let http: { close(): void };
let log: RecordingLog;
/** Both servers. */
let servers: Server[];
let status: () => Promise<Status>;
/** How often it was asked for. */
let looks: number;
const levels: string[] = [];
const eventsAsked: [after: number, waitMs: number][] = [];
const EVENT = {
  id: 8,
  time: '2026-11-27T10:00:00.000Z',
  kind: 'node.ready',
  subject: null,
  line: 'ready',
  fields: {},
} as const;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-http-'));
  chmodSync(directory, 0o755); // as /run/rudder: the socket's own mode has to do
  socketPath = join(directory, 'rudder.sock');
  port = await freePort();
  log = createRecordingLog();
  status = async () => createStatus();
  looks = 0;
  const listen = vi.spyOn(Server.prototype, 'listen');
  http = await serveHttp({
    socketPath,
    tcp: { address: '127.0.0.1', port },
    status: () => {
      looks++;
      return status();
    },
    survey: async () => ({ nodes: [] }),
    rotateKey: async () => ({ publicKey: 'another' }),
    cluster: () => ({ nodes: [] }),
    history: (after, subnet) => (subnet === 'nobody' ? undefined : { after, subnet }),
    historyOf: async (subnet) => ({ of: subnet }),
    events: async (after, waitMs) => {
      eventsAsked.push([after, waitMs]);
      return [EVENT];
    },
    store: { kind: 'etcd', settings: { endpoints: ['http://10.1.1.1:2379'], prefix: '/x' } },
    setLogLevel: (level) => void levels.push(level),
    log,
  });
  servers = listen.mock.contexts as Server[];
  listen.mockRestore();
});
afterEach(() => {
  http.close();
  rmSync(directory, { recursive: true });
});

function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ code: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      text(response).then((body) => resolve({ code: response.statusCode ?? 0, body }), reject);
    })
      .on('error', reject)
      .end();
  });
}

const REQUEST = 'GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** A connection that has sent this and waits. */
function open(bytes: string | Buffer = ''): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject).once('connect', () => {
      socket.off('error', reject).on('error', () => undefined);
      if (bytes === '') resolve(socket);
      else socket.write(bytes, () => resolve(socket));
    });
  });
}

/** Sends these bytes and no more; what came back when the other side ended it. */
function converse(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('error', reject);
    text(socket).then(resolve, reject);
  });
}

describe('the TCP port', () => {
  it.each(['127.0.0.1', 'localhost', 'LOCALHOST:9478', '127.0.0.1:1'])('answers under the name %s', async (host) => {
    expect((await ask('GET', '/healthz', { host })).code).toBe(200);
  });

  it.each([
    'evil.example',
    'evil.example:9478',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.1.1.1',
    '[::1]',
  ])('does not answer a browser that was led here by the name "%s"', async (host) => {
    const { code, body } = await ask('GET', '/status', { host });
    expect(code).toBe(403);
    expect(body).not.toContain('10.240');
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'HEAD'])('changes nothing: no %s', async (method) => {
    for (const path of ['/status', '/metrics', '/']) expect((await ask(method, path)).code).toBe(405);
    for (const path of ['/log-level', '/keys/rotate']) expect((await ask(method, path)).code).toBe(404);
    expect(levels).toEqual([]);
  });

  it.each([
    '/constructor',
    '/__proto__',
    '/../../etc/passwd',
    '/%2e%2e/page.js',
    `/${'x'.repeat(5000)}`,
  ])('has nothing at %s', async (path) => {
    const { code, body } = await ask('GET', path);
    expect(code).toBe(404);
    expect(body.length).toBeLessThan(200);
  });

  it('serves the page, whose scripts and styles are its own, and all that it asks for', async () => {
    const { body } = await ask('GET', '/');
    const files = [...body.matchAll(/(?:src|href)="([\w.-]+)"/g)].map(([, file]) => file);
    expect(files).toEqual(expect.arrayContaining(['page.css', 'page.js', 'uPlot.iife.min.js', 'uPlot.min.css']));
    for (const file of files) expect((await ask('GET', `/${file}`)).code).toBe(200);
    const policy = (await converse('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')).match(
      /content-security-policy: (.*)/i,
    );
    expect(policy?.[1]).toContain("default-src 'none'");
    expect(policy?.[1]).not.toContain('unsafe');
    expect(body).not.toMatch(/ style=|<style|<script>| on\w+=/);
    expect(JSON.parse((await ask('GET', '/cluster')).body)).toEqual({ nodes: [] });
  });

  it('tells the history of the node and of a peer, and what has happened, for which nobody waits here', async () => {
    expect(JSON.parse((await ask('GET', '/history')).body)).toEqual({ after: -1 });
    expect(JSON.parse((await ask('GET', '/history?peer=10.240.1.0/24&after=7')).body)).toEqual({
      after: 7,
      subnet: '10.240.1.0/24',
    });
    expect((await ask('GET', '/history?peer=nobody')).code).toBe(404);
    // Steps are counted: there is none between two.
    expect(JSON.parse((await ask('GET', '/history?after=7.5')).body)).toEqual({ after: 7 });
    expect(JSON.parse((await ask('GET', '/history?of=10.240.1.0/24')).body)).toEqual({ of: '10.240.1.0/24' });
    eventsAsked.length = 0;
    expect(JSON.parse((await ask('GET', '/events?after=7&wait=20')).body)).toEqual([EVENT]);
    expect(eventsAsked).toEqual([[7, 0]]);
  });

  it('takes headers of 8 KB and no more', async () => {
    expect((await ask('GET', '/healthz', { padding: 'x'.repeat(7000) })).code).toBe(200);
    expect((await ask('GET', '/healthz', { padding: 'x'.repeat(9000) })).code).toBe(431);
  });

  it('gives garbage an error and goes on', async () => {
    expect(await converse('\0\x01\x02 not HTTP\r\n\r\n')).toMatch(/^HTTP\/1\.1 400/);
    expect((await ask('GET', '/healthz')).code).toBe(200);
  });

  it('survives a connection that cannot be accepted, and tells of it at a bounded rate', async () => {
    expect(servers).toHaveLength(2);
    // What node does with what accept(2) has answered.
    for (const server of servers) for (let i = 0; i < 100; i++) server.emit('error', new Error('accept ENFILE'));
    const warnings = log.lines.filter(({ level }) => level === 'warn');
    expect(warnings).toEqual([expect.objectContaining({ message: 'a request was not taken' })]);
    expect((await ask('GET', '/healthz')).code).toBe(200);
  });

  it('cuts off a client that does not finish its headers', async () => {
    const before = performance.now();
    expect(await converse('GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ')).toMatch(/^HTTP\/1\.1 408/);
    expect(performance.now() - before).toBeLessThan(9000);
  }, 15_000);

  it('answers requests that come together one by one, in their order', async () => {
    const paths = ['/healthz', '/nowhere', '/page.js', '/status', '/'];
    const bytes = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join('');
    const answers = await converse(`${bytes}GET /readyz HTTP/1.0\r\n\r\nGET /status HTTP/1.1\r\n`);
    expect(answers.match(/^HTTP\/1\.1 \d+/gm)).toEqual(
      [200, 404, 200, 200, 200, 200].map((code) => `HTTP/1.1 ${code}`),
    );
    expect(answers.match(/^content-type: \S+/gim)?.[2]).toMatch('text/javascript');
    expect(answers.endsWith('{"ready":true,"problems":[],"warnings":[]}\n')).toBe(true);
  });

  it('answers a client that has closed its side of the connection', async () => {
    const closing = new Promise<void>((resolve) => {
      servers[1].once('connection', (socket: Socket) => socket.once('end', resolve));
    });
    status = () => closing.then(() => createStatus());
    const socket = await open();
    socket.end(REQUEST);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200/);
  });

  it('reads no further while a request is under way', async () => {
    let end: () => void = () => undefined;
    status = () => new Promise((resolve) => (end = () => resolve(createStatus())));
    const socket = await open(REQUEST);
    await expect.poll(() => looks).toBe(1);
    // More than the buffers of both sides hold.
    const size = 64 * 2 ** 20;
    socket.write(Buffer.alloc(size, REQUEST));
    const unsent: number[] = [];
    await expect.poll(() => unsent.push(socket.writableLength) > 1 && unsent.at(-1) === unsent.at(-2)).toBe(true);
    expect(socket.writableLength).toBeGreaterThan(size / 2);
    end();
    await once(socket, 'readable');
    socket.destroy();
  });

  it('takes one look for all who ask', async () => {
    const before = performance.now();
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask('GET', '/status')));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([200]));
    expect(looks).toBeLessThanOrEqual(1 + (performance.now() - before) / 1000);
  });

  it('tells of failures at a bounded rate', async () => {
    status = () => Promise.reject(new Error('EMFILE'));
    for (let i = 0; i < 50; i++) {
      expect(await ask('GET', '/status')).toEqual({ code: 500, body: '{"error":"EMFILE"}\n' });
    }
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });

  it.each([
    ['have sent nothing', ''],
    ['do not finish their request', 'GET /healthz HTTP/1.1\r\nHost: '],
    ['have had an answer', REQUEST],
    ['want more and more', REQUEST.repeat(1000)],
  ])('lets a probe in beside 64 clients that %s, and holds no more', async (_, bytes) => {
    const sockets = await Promise.all(Array.from({ length: 64 }, () => open(bytes)));
    let closed = 0;
    for (const socket of sockets) socket.once('close', () => closed++).resume();
    if (bytes.endsWith('\n')) await expect.poll(() => sockets.every(({ bytesRead }) => bytesRead > 0)).toBe(true);
    for (let i = 0; i < 3; i++) expect((await ask('GET', '/healthz')).code).toBe(200);
    // A probe leaves its place to the next one.
    await expect.poll(() => closed).toBe(1);
    for (const socket of sockets) socket.destroy();
  });

  it('lets a probe in beside 64 clients that want more and more and come back when they are cut off', async () => {
    const sockets = new Set<Socket>();
    let isOver = false;
    let answered = 0;
    function flood(): void {
      const socket = connect(port, '127.0.0.1', () => socket.write(REQUEST.repeat(1000)));
      sockets.add(socket.resume().on('error', () => undefined));
      socket.once('data', () => answered++);
      socket.on('close', () => {
        sockets.delete(socket);
        if (!isOver) flood();
      });
    }
    for (let i = 0; i < 64; i++) flood();
    // At any moment some of them are on their way back.
    await expect.poll(() => answered).toBeGreaterThanOrEqual(64);
    for (let i = 0; i < 3; i++) expect((await ask('GET', '/healthz')).code).toBe(200);
    isOver = true;
    for (const socket of sockets) socket.destroy();
  });

  it('lets nobody in while as many as it holds all wait for their first answer', async () => {
    status = () => new Promise(() => undefined);
    const sockets = await Promise.all(Array.from({ length: 64 }, () => open(REQUEST)));
    const [first] = sockets;
    await expect.poll(() => looks).toBe(1);
    await expect(ask('GET', '/healthz')).rejects.toThrow();
    expect(first.destroyed).toBe(false);
    for (const socket of sockets) socket.destroy();
    status = async () => createStatus();
  });
});

describeWith(['root'], 'the control socket', () => {
  const put = `const { request } = require('node:http');
    request({ socketPath: process.argv[1], method: 'PUT', path: '/log-level' }, (r) => { console.log(r.statusCode); r.resume(); })
      .on('error', (e) => console.log(e.code)).end('debug');`;
  /** Not execFileSync: the server lives in this process. */
  const putAs = async (...wrapper: string[]) => {
    const [program, ...args] = [...wrapper, process.execPath, '-e', put, socketPath];
    return (await promisify(execFile)(program, args, { timeout: 20_000 })).stdout.trim();
  };

  it('is for root alone', async () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect(await putAs('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')).toBe('EACCES');
    expect(levels).toEqual([]);
    expect(await putAs('env')).toBe('200');
    expect(levels).toEqual(['debug']);
  });

  it('tells which etcd the node uses, as the port does not', async () => {
    expect(await askDaemon(socketPath, 'GET', '/etcd')).toEqual({
      code: 200,
      body: { endpoints: ['http://10.1.1.1:2379'], prefix: '/x' },
    });
    expect((await ask('GET', '/etcd')).code).toBe(404);
  });
});

it('tells events after one, for which one may wait on the control socket, and not for ever', async () => {
  eventsAsked.length = 0;
  expect(await askDaemon(socketPath, 'GET', '/events?after=7&wait=9999')).toEqual({ code: 200, body: [EVENT] });
  await askDaemon(socketPath, 'GET', '/events?after=-1&wait=x');
  expect(eventsAsked).toEqual([
    [7, 20_000],
    [0, 0],
  ]);
});

it('a key is changed by who may speak to the socket', async () => {
  const answer = await askDaemon(socketPath, 'PUT', '/keys/rotate', '');
  expect(answer).toMatchObject({ code: 200, body: { publicKey: 'another' } });
});
