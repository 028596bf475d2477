import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { askDaemon, tryDaemon } from '../../../src/ops/control-client.js';

let directory: string;
let server: Server | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-client-'));
});
afterEach(() => {
  server?.close();
  rmSync(directory, { recursive: true });
});

function serve(listener: RequestListener): Promise<string> {
  const path = join(directory, 'rudder.sock');
  server = createServer(listener);
  return new Promise((resolve) => server?.listen(path, () => resolve(path)));
}

it('gives the answer with its code', async () => {
  const path = await serve((_, response) => response.writeHead(503).end('{"starting":"x"}'));
  expect(await askDaemon(path, 'GET', '/status')).toEqual({ code: 503, body: { starting: 'x' } });
});

it.each<[string, RequestListener]>([
  ['nothing', (_, response) => response.writeHead(408).end()],
  ['what is no JSON', (_, response) => response.end('<html>')],
  [
    'half an answer',
    (_, response) => response.writeHead(200, { 'content-length': 9 }).write('{"a":', () => response.destroy()),
  ],
])('takes %s for no answer of a rudder', async (_, listener) => {
  const path = await serve(listener);
  await expect(askDaemon(path, 'GET', '/status')).rejects.toMatchObject({ code: 'not-running' });
});

it.each<[string, () => Promise<string>, object]>([
  ['nobody', async () => join(directory, 'rudder.sock'), { is: 'absent' }],
  [
    'one that has ended',
    async () => {
      const path = join(directory, 'rudder.sock');
      spawnSync(
        process.execPath,
        [
          '-e',
          `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
        ],
        { stdio: 'ignore' },
      );
      return path;
    },
    { is: 'absent' },
  ],
  ['one that says nothing', () => serve(() => undefined), { is: 'silent', seconds: 0 }],
  ['one that answers rubbish', () => serve((_, response) => response.end('<html>')), { is: 'garbled' }],
  [
    'one that answers',
    () => serve((_, response) => response.end('{}')),
    { is: 'answer', answer: { code: 200, body: {} } },
  ],
])('tells %s apart', async (_, make, expected) => {
  expect(await tryDaemon(await make(), 'GET', '/status', '', 100)).toMatchObject(expected);
});

it.skipIf(process.getuid?.() !== 0)('tells a socket apart that is for others', async () => {
  const path = await serve((_, response) => response.end('{}'));
  chmodSync(directory, 0o755);
  chmodSync(path, 0o600);
  process.seteuid?.(65_534);
  try {
    expect(await tryDaemon(path, 'GET', '/status')).toEqual({ is: 'not permitted' });
    await expect(askDaemon(path, 'GET', '/status')).rejects.toThrow(
      /cannot be asked on .*: the socket is for root alone/,
    );
  } finally {
    process.seteuid?.(0);
  }
});
