import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serveHttp } from '../../src/ops/http.js';
import { createRecordingLog } from '../helpers/recording-log.js';
import { createStatus } from '../helpers/status.js';
import { RUDDER } from './cli.js';

/** A pipe holds 64 KB: what a command has said beyond that shall not be lost when it ends. */
const PEERS = 3000;
let directory: string;
let daemon: { close(): void };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-large-'));
  const status = createStatus();
  const large = { ...status, peers: Array.from({ length: PEERS }, () => status.peers[0]) };
  daemon = await serveHttp({
    socketPath: join(directory, 'rudder.sock'),
    tcp: undefined,
    status: async () => large,
    survey: async () => ({}),
    events: async () => [],
    cluster: () => ({}),
    history: () => undefined,
    historyOf: async () => undefined,
    store: undefined,
    setLogLevel: () => undefined,
    log: createRecordingLog(),
  });
});
afterAll(() => {
  daemon.close();
  rmSync(directory, { recursive: true });
});

it('a status of thousands of peers is told whole to who reads it from a pipe, however late', async () => {
  const command = `"${process.execPath}" "${RUDDER}" status --json --subnet-file="${directory}/subnet.env" | (sleep 1; cat)`;
  const { stdout } = await execa('sh', ['-c', command]);
  expect(JSON.parse(stdout).peers).toHaveLength(PEERS);
});
