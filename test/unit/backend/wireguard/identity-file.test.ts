import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { identityFileIn } from '../../../../src/backend/wireguard/identity-file.js';
import { identityOf } from '../../../../src/backend/wireguard/protocol/keys.js';
import { loadKey, replaceKey } from '../../../../src/state/key-file.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-wireguard-'));
  path = join(directory, 'wireguard.key');
});
afterEach(() => rmSync(directory, { recursive: true }));

async function load() {
  const log = createRecordingLog();
  const { publicKey } = await loadKey(identityFileIn(directory), log);
  return { key: publicKey.toString('base64'), told: log.lines.map(({ message }) => message), log };
}

it('is made once, for its owner alone, and is the same from then on', async () => {
  const { key, told } = await load();
  expect(told).toEqual([]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await load()).toMatchObject({ key, told: [] });
});

it('is what `wg genkey` writes, with a line end or without', async () => {
  const bytes = randomBytes(32);
  const key = identityOf(bytes).publicKey.toString('base64');
  for (const text of [bytes.toString('base64'), `${bytes.toString('base64')}\n`]) {
    writeFileSync(path, text, { mode: 0o600 });
    expect(await load()).toMatchObject({ key, told: [] });
  }
});

it('is made anew if it is none, or others could read it, and told without a word of it', async () => {
  const secret = randomBytes(32).toString('base64');
  for (const [text, mode, why] of [
    ['nonsense', 0o600, 'is of another kind'],
    [`${secret}${secret}`, 0o600, 'is of another kind'],
    [secret, 0o644, 'open to'],
  ] as const) {
    writeFileSync(path, text);
    chmodSync(path, mode);
    const { told, log } = await load();
    expect(told).toEqual([expect.stringContaining(why)]);
    expect(JSON.stringify(log.lines)).not.toContain(secret);
    expect(readFileSync(path, 'utf8')).not.toContain(secret);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }
});

it('does not follow a link, and leaves what that leads to as it was', async () => {
  const other = join(directory, 'other');
  writeFileSync(other, randomBytes(32).toString('base64'), { mode: 0o600 });
  const before = readFileSync(other, 'utf8');
  symlinkSync(other, path);
  const { told } = await load();
  expect(told).toEqual([expect.stringContaining('cannot be read')]);
  expect(lstatSync(path).isSymbolicLink()).toBe(false);
  expect(readFileSync(other, 'utf8')).toBe(before);
});

it('is another one after a change of keys', async () => {
  const { key } = await load();
  const { publicKey } = await replaceKey(identityFileIn(directory));
  expect(publicKey.toString('base64')).not.toBe(key);
  expect((await load()).key).toBe(publicKey.toString('base64'));
});
