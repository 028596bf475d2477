import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { keepLastKnown } from '../../../src/daemon/last-known-keeper.js';
import { udp } from '../../helpers/leases.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

const own = {
  source: 'http://127.0.0.1:2379/x',
  nodeId: 'me',
  subnet: parseSubnet('10.42.7.0/24')!,
  configJson: '{"Network":"10.42.0.0/16"}',
};
const lease = (third: number): Lease => ({
  subnet: parseSubnet(`10.42.${third}.0/24`)!,
  publicIp: parseIpv4(`192.0.2.${third}`)!,
  nodeId: undefined,
  backend: udp(),
});

const HELD = { holding: { revision: 5, ttlId: '1' }, remainingSeconds: 3600, ttlSeconds: 3600, ownKey: 'written' };

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'last-known-'));
  // Only the interval: what is saved is saved by a real file system.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true });
});

function startKeeper() {
  const path = join(directory, 'last-known.json');
  const state = {
    publicIp: parseIpv4('192.0.2.7')!,
    lease: HELD,
    peers: [lease(1)],
  };
  const keeper = keepLastKnown(directory, own, { state: () => state as never }, createRecordingLog());
  const saved = () => vi.waitFor(async () => JSON.parse(await readFile(path, 'utf8')));
  return { path, state, keeper, saved };
}

it('saves at once, and again only when there is something new', async () => {
  const { path, keeper, saved } = startKeeper();
  expect(await saved()).toMatchObject({ subnet: '10.42.7.0/24', peers: [{ subnet: '10.42.1.0/24' }] });
  rmSync(path);
  vi.advanceTimersByTime(5000);
  await keeper.stop(true);
  expect(existsSync(path)).toBe(false);
});

it.each([
  ['peers', { peers: [lease(1), lease(2)] }, { peers: [{ subnet: '10.42.1.0/24' }, { subnet: '10.42.2.0/24' }] }],
  ['another own address', { publicIp: parseIpv4('192.0.2.8')! }, { publicIp: '192.0.2.8' }],
  ['a renewed lease', { lease: { ...HELD, remainingSeconds: 3630 } }, { subnet: '10.42.7.0/24' }],
])('saves %s within five seconds', async (_, change, expected) => {
  const { path, state, keeper, saved } = startKeeper();
  await saved();
  rmSync(path);
  Object.assign(state, change);
  vi.advanceTimersByTime(5000);
  expect(await saved()).toMatchObject(expected);
  await keeper.stop(true);
});

it('says when it was saved and of which TTL, so that a wrong clock is found out', async () => {
  const { keeper, saved } = startKeeper();
  const { savedAt, validUntil, ttlSeconds, keyDiffers } = await saved();
  expect(validUntil - savedAt).toBe(3_600_000);
  expect({ ttlSeconds, keyDiffers, isNow: Math.abs(Date.now() - savedAt) < 5000 }).toEqual({
    ttlSeconds: 3600,
    keyDiffers: false,
    isNow: true,
  });
  await keeper.stop(true);
});

it.each([
  [
    'is gone, and with it the lease',
    { lease: { ...HELD, ownKey: 'gone', remainingSeconds: 0 } },
    { left: 0, keyDiffers: false },
  ],
  ['says something else', { lease: { ...HELD, ownKey: 'differs' } }, { left: 3_600_000, keyDiffers: true }],
])('remembers that the own key %s', async (_, change, expected) => {
  const { path, state, keeper, saved } = startKeeper();
  await saved();
  rmSync(path);
  Object.assign(state, change);
  vi.advanceTimersByTime(5000);
  const { validUntil, savedAt, keyDiffers } = await saved();
  expect({ left: validUntil - savedAt, keyDiffers }).toEqual(expected);
  await keeper.stop(true);
});

it('forgets a subnet that is not its own any more', async () => {
  const { path, keeper, saved } = startKeeper();
  await saved();
  await keeper.stop(false);
  expect(existsSync(path)).toBe(false);
});
