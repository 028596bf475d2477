import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect, Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { serveHttp } from '../../../src/ops/http.js';
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
const levels: string[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-http-'));
  chmodSync(directory, 0o755); // as /run/rudder: the socket's own mode has to do
  socketPath = join(directory, 'rudder.sock');
  port = await freePort();
  log = createRecordingLog();
  const listen = vi.spyOn(Server.prototype, 'listen');
  http = await serveHttp({
    socketPath,
    tcp: { address: '127.0.0.1', port },
    status: async () => createStatus(),
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
    expect((await ask(method, '/log-level')).code).toBe(404);
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

  it('holds a bounded number of connections', async () => {
    const sockets: Socket[] = [];
    let refused = 0;
    const open = () =>
      new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1');
        sockets.push(socket);
        socket.on('error', () => undefined).on('close', () => refused++);
        socket.once('connect', () => resolve());
      });
    for (let i = 0; i < 100; i++) await open();
    await expect.poll(() => refused).toBe(100 - 64);
    for (const socket of sockets) socket.destroy();
    await expect.poll(async () => (await ask('GET', '/healthz').catch(() => undefined))?.code).toBe(200);
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
});
