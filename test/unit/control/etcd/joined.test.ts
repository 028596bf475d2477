import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type JoinedOptions, keepJoined } from '../../../../src/control/etcd/joined.js';
import type { Registry } from '../../../../src/control/etcd/registry.js';
import type { Joined } from '../../../../src/control/membership.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { RudderError } from '../../../../src/core/errors.js';
import type { LastKnown } from '../../../../src/core/last-known.js';
import { formatLeaseValue } from '../../../../src/core/lease.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';
import { udp } from '../../../helpers/leases.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import { suspend } from '../fake-boot-clock.js';

vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const configJson = '{"Network":"10.42.0.0/16"}';
const NAME = '10.42.7.0-24';
const identity = { publicIp: parseIpv4('192.0.2.7')!, nodeId: 'n', backend: udp() };
const VALUE = formatLeaseValue(identity);
const refused = new RudderError('registry-refused', 'etcd denies');

/** While it looks for something, vi.waitFor() moves the clock by some hundredths of a second. */
const about = (seconds: number) => expect.closeTo(seconds, 0);

let registry: MemoryRegistry;
let log: RecordingLog;
let currents: boolean[];
let joined: Joined;

// Only the clock: the registry answers in microtasks.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  registry = createMemoryRegistry();
  log = createRecordingLog();
  currents = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await joined.stop();
});

function start(changes: Partial<JoinedOptions> = {}): Joined {
  joined = keepJoined({
    registry,
    config: parseCommonConfig(configJson),
    problemOf: () => undefined,
    identity,
    own: { subnet: parseSubnet('10.42.7.0/24')!, holding: { revision: 1, ttlId: '0' }, created: true },
    fallback: undefined,
    degraded: undefined,
    ttlSeconds: 3600,
    onCurrent: (isCurrent) => currents.push(isCurrent),
    onPeers: () => undefined,
    onConfig: () => undefined,
    log,
    ...changes,
  });
  return joined;
}

const fallbackOf = (changes: Partial<LastKnown> = {}): LastKnown => ({
  source: 'here',
  configJson,
  nodeId: 'n',
  publicIp: identity.publicIp,
  subnet: parseSubnet('10.42.7.0/24')!,
  holding: { revision: 1, ttlId: '99' },
  validUntil: Date.now() + 600_000,
  ttlSeconds: 900,
  savedAt: Date.now(),
  keyDiffers: false,
  peers: [],
  ...changes,
});

const startDegraded = (from: Registry, degraded: string, fallback = fallbackOf(), ttlSeconds = 3600) =>
  start({
    registry: from,
    own: { subnet: fallback.subnet, holding: { revision: 1, ttlId: '99' }, created: false },
    degraded,
    fallback,
    ttlSeconds,
  });

/** A registry that cannot be reached. */
const away: () => Registry = () => ({
  ...registry,
  getConfig: () => Promise.reject(refused),
  listLeases: () => Promise.reject(refused),
  keepAlive: () => Promise.reject(refused),
});

it('counts how long peers have been stale from when the watch broke, not from the last event', async () => {
  start();
  await vi.waitFor(() => expect(currents).toEqual([true]));
  vi.advanceTimersByTime(100_000);
  expect(joined.state()).toMatchObject({ staleSeconds: 0, problem: undefined });
  registry.disconnect();
  await vi.waitFor(() => expect(currents).toEqual([true, false]));
  expect(joined.state()).toMatchObject({ isCurrent: false, staleSeconds: about(0), problem: 'connection lost' });
  vi.advanceTimersByTime(11_000);
  expect(joined.state()).toMatchObject({ isCurrent: false, staleSeconds: about(11) });
  await vi.waitFor(() => expect(joined.state()).toMatchObject({ staleSeconds: 0, contactAgeSeconds: about(0) }));
  expect(joined.state().problem).toBeUndefined();
});

it('a host that was suspended has a lease that has run on, and old news', async () => {
  const holding = (await registry.createLease(NAME, VALUE, 3600))!;
  start({ own: { subnet: parseSubnet('10.42.7.0/24')!, holding, created: true } });
  await vi.waitFor(() => expect(currents).toEqual([true]));
  expect(joined.state()).toMatchObject({ lease: { remainingSeconds: about(3600) }, contactAgeSeconds: about(0) });
  registry.listLeases = () => Promise.reject(refused);
  registry.disconnect();
  await vi.waitFor(() => expect(currents).toEqual([true, false]));
  suspend(3000);
  expect(joined.state()).toMatchObject({
    lease: { remainingSeconds: about(600) },
    contactAgeSeconds: about(3000),
    staleSeconds: about(3000),
  });
  suspend(1000);
  expect(joined.state().lease.remainingSeconds).toBe(0);
});

it('is not current while etcd lists and does not watch, however often it lists', async () => {
  let lists = 0;
  start({
    registry: {
      ...registry,
      listLeases: () => registry.listLeases().finally(() => lists++),
      watch(_, handler) {
        queueMicrotask(() => handler.ended(refused));
        return { close: () => undefined };
      },
    },
  });
  await vi.waitFor(() => expect(joined.state().problem).toBe('etcd denies'));
  vi.advanceTimersByTime(11_000);
  const before = lists;
  await vi.waitFor(() => expect(lists).toBeGreaterThan(before), 5000);
  expect(joined.state()).toMatchObject({ isCurrent: false, problem: 'etcd denies', contactAgeSeconds: about(0) });
  expect(joined.state().staleSeconds).toBeGreaterThanOrEqual(11);
  expect(currents).toEqual([]);
});

it('says why its own key cannot be written, until it can', async () => {
  registry.putRaw(NAME, VALUE);
  let isRefused = true;
  const createLease: Registry['createLease'] = (...args) =>
    isRefused ? Promise.reject(refused) : registry.createLease(...args);
  start({ registry: { ...registry, createLease } });
  await vi.waitFor(() => expect(currents).toEqual([true]));
  expect(joined.state()).toMatchObject({ lease: { ownKey: 'written', problem: undefined } });
  registry.deleteRaw(NAME);
  await vi.waitFor(() => expect(joined.state()).toMatchObject({ lease: { ownKey: 'gone', problem: 'etcd denies' } }));
  isRefused = false;
  await vi.waitFor(
    () => expect(joined.state()).toMatchObject({ lease: { ownKey: 'written', problem: undefined } }),
    3000,
  );
});

describe('a start without etcd', () => {
  it('tells of no contact, why, and of the lease as it was saved; a refusal does not end it', async () => {
    startDegraded(away(), 'certificate has expired');
    expect(joined.state()).toMatchObject({
      contactAgeSeconds: undefined,
      problem: 'certificate has expired',
      lease: { remainingSeconds: about(600), ttlSeconds: 900, ownKey: 'written' },
    });
    await vi.waitFor(() => expect(joined.state().problem).toBe(refused.message));
    expect(joined.state()).toMatchObject({ contactAgeSeconds: undefined, isCurrent: false });
    expect(joined.isLost()).toBe(false);
  });

  it('remembers that the own key said something else', () => {
    startDegraded(away(), 'gone', fallbackOf({ keyDiffers: true }));
    expect(joined.state().lease.ownKey).toBe('differs');
  });

  it('does not have more of the lease for a shorter TTL of now', () => {
    startDegraded(away(), 'gone', fallbackOf(), 60);
    expect(joined.state()).toMatchObject({ lease: { remainingSeconds: about(600), ttlSeconds: 900 } });
  });
});

describe('the own key', () => {
  it('that is gone while etcd refuses writes leaves no lease', async () => {
    const holding = (await registry.createLease(NAME, VALUE, 3600))!;
    const readOnly: Registry = { ...registry, createLease: () => Promise.reject(refused) };
    start({ registry: readOnly, own: { subnet: parseSubnet('10.42.7.0/24')!, holding, created: false } });
    await vi.waitFor(() => expect(currents).toEqual([true]));
    expect(joined.state()).toMatchObject({ lease: { ownKey: 'written', remainingSeconds: about(3600) } });
    registry.deleteRaw(NAME);
    await vi.waitFor(() => expect(joined.state()).toMatchObject({ lease: { ownKey: 'gone', remainingSeconds: 0 } }));
  });

  it("whose renewal is answered is etcd's word", async () => {
    const keepAlive = vi.fn(async () => true);
    const silent = { ...away(), keepAlive };
    startDegraded(silent, 'gone');
    await vi.waitFor(() => expect(keepAlive).toHaveBeenCalled());
    await vi.waitFor(() => expect(joined.state().contactAgeSeconds).toEqual(about(0)));
  });
});
