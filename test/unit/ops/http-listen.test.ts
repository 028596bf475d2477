import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { askDaemon } from '../../../src/ops/control-client.js';
import { keepOnSocket } from '../../../src/ops/http-listen.js';
import { jsonAnswer } from '../../../src/ops/http-request.js';
import { createHttpServer } from '../../../src/ops/http-server.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

let directory: string;
let path: string;
let log: RecordingLog;
let kept: { close(): void };
let other: Server | undefined;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-listen-'));
  path = join(directory, 'rudder.sock');
  log = createRecordingLog();
  kept = await keepOnSocket(() => createHttpServer(async () => jsonAnswer(200, { well: true })), path, log, 20);
});
afterEach(() => {
  kept.close();
  other?.close();
  other = undefined;
  rmSync(directory, { recursive: true, force: true });
});

const answers = async () => (await askDaemon(path, 'GET', '/x')).body;
const messages = () => log.lines.map(({ message }) => message);

it.each<[string, () => void]>([
  ['deleted', () => rmSync(path)],
  [
    'replaced by a file',
    () => {
      rmSync(path);
      writeFileSync(path, '');
    },
  ],
])('a socket that was %s is made anew, for its owner alone, and told', async (_, harm) => {
  expect(await answers()).toEqual({ well: true });
  harm();
  // What asks may have a connection of before.
  await vi.waitFor(() => expect(messages()).toEqual(['the control socket was gone: made anew']), 5000);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await answers()).toEqual({ well: true });
});

it('one that cannot be made anew is told once, and made when it can be', async () => {
  rmSync(directory, { recursive: true });
  await vi.waitFor(() => expect(messages()).toEqual(['the control socket is gone, and cannot be made anew']), 5000);
  mkdirSync(directory);
  await vi.waitFor(async () => expect(await answers()).toEqual({ well: true }), 5000);
});

it('the socket of another one who answers there is left alone', async () => {
  rmSync(path);
  other = createServer((socket) =>
    socket.on('error', () => undefined).end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'),
  ).listen(path);
  await vi.waitFor(() => expect(messages()).toEqual(['the control socket is gone, and cannot be made anew']), 5000);
  expect(await answers()).toEqual({});
  kept.close();
});

it('is there no longer when it is closed', () => {
  kept.close();
  expect(existsSync(path)).toBe(false);
});
