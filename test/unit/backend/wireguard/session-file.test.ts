import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createSessionKeeper, loadSessionMemory } from '../../../../src/backend/wireguard/session-file.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-sessions-'));
  path = join(directory, 'wireguard-sessions.json');
});
afterEach(() => rmSync(directory, { recursive: true }));

const NOTHING = { timestampMs: undefined, peers: [] };

it('what was kept is what is found, by its owner alone', async () => {
  const log = createRecordingLog();
  const memory = { timestampMs: 1_800_000_000_000, peers: ['a'.repeat(44), 'b'.repeat(44)] };
  await createSessionKeeper(directory, log)(memory);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await loadSessionMemory(directory, log)).toEqual(memory);
  expect(log.lines).toEqual([]);
});

it('what is the same is written once', async () => {
  const keep = createSessionKeeper(directory, createRecordingLog());
  await keep({ timestampMs: 1, peers: [] });
  const { ino } = statSync(path);
  await keep({ timestampMs: 1, peers: [] });
  expect(statSync(path).ino).toBe(ino);
  await keep({ timestampMs: 2, peers: [] });
  expect(statSync(path).ino).not.toBe(ino);
});

it('nothing, and nonsense, is nothing: the latter is told', async () => {
  const log = createRecordingLog();
  expect(await loadSessionMemory(directory, log)).toEqual(NOTHING);
  expect(log.lines).toEqual([]);
  for (const text of ['', '{}', '{"timestampMs":-1,"peers":[]}', '{"timestampMs":1,"peers":[7]}', '[]']) {
    writeFileSync(path, text);
    expect(await loadSessionMemory(directory, log), text).toEqual(NOTHING);
  }
  expect(log.lines).toHaveLength(5);
});

it('what cannot be written is told, and tried again', async () => {
  const log = createRecordingLog();
  const keep = createSessionKeeper(join(path, 'below'), log);
  writeFileSync(path, '');
  await keep({ timestampMs: 1, peers: [] });
  expect(log.lines.map(({ message }) => message)).toEqual([
    'what is known of sessions cannot be kept for the next start',
  ]);
  rmSync(path);
  await keep({ timestampMs: 1, peers: [] });
  expect(readFileSync(join(path, 'below', 'wireguard-sessions.json'), 'utf8')).toContain('"timestampMs":1');
});
