import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { askDaemon } from '../../../src/ops/control-client.js';

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
