import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { publicKeyOf } from '../../../src/cluster/identity.js';
import { loadNodeKey } from '../../../src/state/node-key.js';
import { createRecordingLog } from '../../helpers/recording-log.js';
import { describeWith } from '../../helpers/requires.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-key-'));
  path = join(directory, 'node.key');
});
afterEach(() => rmSync(directory, { recursive: true }));

async function load() {
  const log = createRecordingLog();
  const key = publicKeyOf(await loadNodeKey(directory, log));
  return { key, told: log.lines.map(({ message }) => message) };
}

it('is made once, for its owner alone, and is the same from then on', async () => {
  const { key, told } = await load();
  expect(told).toEqual([]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await load()).toEqual({ key, told: [] });
});

it.each([0o640, 0o604, 0o620])('is made anew if others could read or write it (%o)', async (mode) => {
  const { key } = await load();
  chmodSync(path, mode);
  const again = await load();
  expect(again.key).not.toBe(key);
  expect(again.told).toEqual([expect.stringContaining('open to')]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('is made anew if it is none, and told without a word of it', async () => {
  writeFileSync(path, 'nonsense', { mode: 0o600 });
  const { told } = await load();
  expect(told).toEqual([expect.stringContaining('cannot be read')]);
  expect(readFileSync(path, 'utf8')).toContain('PRIVATE KEY');
});

describeWith(['root'], 'a node key of another user', () => {
  it('is made anew: he knows it', async () => {
    const { key } = await load();
    chownSync(path, 65534, 65534);
    const again = await load();
    expect(again.key).not.toBe(key);
    expect(again.told).toEqual([expect.stringContaining('open to')]);
  });
});
