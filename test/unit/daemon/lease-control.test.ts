import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Registry } from '../../../src/control/etcd/registry.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { RudderError } from '../../../src/core/errors.js';
import type { LastKnown } from '../../../src/core/last-known.js';
import { formatLeaseValue } from '../../../src/core/lease.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';
import { type LeaseControl, type LeaseControlOptions, startLeaseControl } from '../../../src/daemon/lease-control.js';
import { udp } from '../../helpers/leases.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';
import { suspend } from '../control/fake-boot-clock.js';

vi.mock('../../../src/control/boot-clock.js', () => import('../control/fake-boot-clock.js'));

const configJson = '{"Network":"10.42.0.0/16"}';
const NAME = '10.42.7.0-24';
const identity = { publicIp: parseIpv4('192.0.2.7')!, nodeId: 'n', backend: udp() };
const VALUE = formatLeaseValue(identity);
const refused = new RudderError('etcd-refused', 'etcd denies');

/** While it looks for something, vi.waitFor() moves the clock by some hundredths of a second. */
const about = (seconds: number) => expect.closeTo(seconds, 0);

let registry: MemoryRegistry;
let log: RecordingLog;
let currents: boolean[];
let control: LeaseControl;

// Only the clock: the registry answers in microtasks.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  registry = createMemoryRegistry();
  registry.putRaw('config', configJson);
  log = createRecordingLog();
  currents = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await control.stop();
});

function start(changes: Partial<LeaseControlOptions> = {}): LeaseControl {
  control = startLeaseControl({
    registry,
    config: parseCommonConfig(configJson),
    settings: { problemOf: () => undefined },
    configKey: '/corp/net/config',
    identity,
    own: { subnet: parseSubnet('10.42.7.0/24')!, holding: { revision: 1, ttlId: '0' }, created: true },
    fallback: undefined,
    degraded: undefined,
    ttlSeconds: 3600,
    checkConfig: async () => undefined,
    onCurrent: (isCurrent) => currents.push(isCurrent),
    peers: { apply: () => undefined },
    log,
    ...changes,
  });
  return control;
}

const fallbackOf = (changes: Partial<LastKnown> = {}): LastKnown => ({
  source: 'here',
  configJson,
  nodeId: 'n',
  publicIp: identity.publicIp,
  subnet: parseSubnet('10.42.7.0/24')!,
  revision: 1,
  ttlId: '99',
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
  expect(control.state()).toMatchObject({ staleSeconds: 0, etcdProblem: undefined });
  registry.disconnect();
  await vi.waitFor(() => expect(currents).toEqual([true, false]));
  expect(control.state()).toMatchObject({ isCurrent: false, staleSeconds: about(0), etcdProblem: 'connection lost' });
  vi.advanceTimersByTime(11_000);
  expect(control.state()).toMatchObject({ isCurrent: false, staleSeconds: about(11) });
  await vi.waitFor(() => expect(control.state()).toMatchObject({ staleSeconds: 0, contactAgeSeconds: about(0) }));
  expect(control.state().etcdProblem).toBeUndefined();
});

it('a host that was suspended has a lease that has run on, and old news', async () => {
  const holding = (await registry.createLease(NAME, VALUE, 3600))!;
  start({ own: { subnet: parseSubnet('10.42.7.0/24')!, holding, created: true } });
  await vi.waitFor(() => expect(currents).toEqual([true]));
  expect(control.state()).toMatchObject({ leaseRemainingSeconds: about(3600), contactAgeSeconds: about(0) });
  registry.listLeases = () => Promise.reject(refused);
  registry.disconnect();
  await vi.waitFor(() => expect(currents).toEqual([true, false]));
  suspend(3000);
  expect(control.state()).toMatchObject({
    leaseRemainingSeconds: about(600),
    contactAgeSeconds: about(3000),
    staleSeconds: about(3000),
  });
  suspend(1000);
  expect(control.state().leaseRemainingSeconds).toBe(0);
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
  await vi.waitFor(() => expect(control.state().etcdProblem).toBe('etcd denies'));
  vi.advanceTimersByTime(11_000);
  const before = lists;
  await vi.waitFor(() => expect(lists).toBeGreaterThan(before), 5000);
  expect(control.state()).toMatchObject({ isCurrent: false, etcdProblem: 'etcd denies', contactAgeSeconds: about(0) });
  expect(control.state().staleSeconds).toBeGreaterThanOrEqual(11);
  expect(currents).toEqual([]);
});

it('says why its own key cannot be written, until it can', async () => {
  registry.putRaw(NAME, VALUE);
  let isRefused = true;
  const createLease: Registry['createLease'] = (...args) =>
    isRefused ? Promise.reject(refused) : registry.createLease(...args);
  start({ registry: { ...registry, createLease } });
  await vi.waitFor(() => expect(currents).toEqual([true]));
  expect(control.state()).toMatchObject({ ownKey: 'written', leaseProblem: undefined });
  registry.deleteRaw(NAME);
  await vi.waitFor(() => expect(control.state()).toMatchObject({ ownKey: 'gone', leaseProblem: 'etcd denies' }));
  isRefused = false;
  await vi.waitFor(() => expect(control.state()).toMatchObject({ ownKey: 'written', leaseProblem: undefined }), 3000);
});

describe('a start without etcd', () => {
  it('tells of no contact, why, and of the lease as it was saved; a refusal does not end it', async () => {
    startDegraded(away(), 'certificate has expired');
    expect(control.state()).toMatchObject({
      contactAgeSeconds: undefined,
      etcdProblem: 'certificate has expired',
      leaseRemainingSeconds: about(600),
      ttlSeconds: 900,
      ownKey: 'written',
      config: { state: 'unknown', detail: null },
    });
    await vi.waitFor(() => expect(control.state().etcdProblem).toBe(refused.message));
    expect(control.state()).toMatchObject({ contactAgeSeconds: undefined, isCurrent: false });
    expect(control.isLost()).toBe(false);
  });

  it('remembers that the own key said something else', () => {
    startDegraded(away(), 'gone', fallbackOf({ keyDiffers: true }));
    expect(control.state().ownKey).toBe('differs');
  });

  it('does not have more of the lease for a shorter TTL of now', () => {
    startDegraded(away(), 'gone', fallbackOf(), 60);
    expect(control.state()).toMatchObject({ leaseRemainingSeconds: about(600), ttlSeconds: 900 });
  });
});

describe('the own key', () => {
  it('that is gone while etcd refuses writes leaves no lease', async () => {
    const holding = (await registry.createLease(NAME, VALUE, 3600))!;
    const readOnly: Registry = { ...registry, createLease: () => Promise.reject(refused) };
    start({ registry: readOnly, own: { subnet: parseSubnet('10.42.7.0/24')!, holding, created: false } });
    await vi.waitFor(() => expect(currents).toEqual([true]));
    expect(control.state()).toMatchObject({ ownKey: 'written', leaseRemainingSeconds: about(3600) });
    registry.deleteRaw(NAME);
    await vi.waitFor(() => expect(control.state()).toMatchObject({ ownKey: 'gone', leaseRemainingSeconds: 0 }));
  });

  it("whose renewal is answered is etcd's word", async () => {
    const keepAlive = vi.fn(async () => true);
    const silent = { ...away(), keepAlive };
    startDegraded(silent, 'gone');
    await vi.waitFor(() => expect(keepAlive).toHaveBeenCalled());
    await vi.waitFor(() => expect(control.state().contactAgeSeconds).toEqual(about(0)));
  });
});

describe('the network config in etcd', () => {
  const warnings = () => log.lines.filter(({ message }) => /network config/.test(message));

  it.each<[string, string | undefined, string, RegExp | null]>([
    ['written in another way', '{ "network": "10.42.0.0/16", "SubnetLen": 24 }', 'current', null],
    [
      'changed',
      '{"Network":"10.42.0.0/16","SubnetLen":26}',
      'changed',
      /^SubnetLen 24 becomes 26, .*: a restart applies it and leases another subnet than 10\.42\.7\.0\/24$/,
    ],
    [
      'changed without moving us',
      '{"Network":"10.42.0.0/16","Backend":{"Port":9000}}',
      'changed',
      /^Backend.Port 8285 becomes 9000: a restart applies it and keeps the subnet$/,
    ],
    [
      'invalid',
      '{"Network":"10.42.0.0/99"}',
      'invalid',
      /10\.42\.0\.0\/99.*; correct the key \/corp\/net\/config with etcdctl.*: a restart goes on with the config in use/,
    ],
    [
      'deleted',
      undefined,
      'deleted',
      /^the key \/corp\/net\/config is deleted: a restart goes on with the config in use/,
    ],
  ])('%s', async (_, json, state, detail) => {
    start();
    await vi.waitFor(() => expect(currents).toEqual([true]));
    if (json === undefined) registry.deleteRaw('config');
    else registry.putRaw('config', json);
    await vi.waitFor(() => expect(control.state().config.state).toBe(state));
    if (detail === null) {
      expect(warnings()).toEqual([]);
      return;
    }
    expect(control.state().config.detail).toMatch(detail);
    expect(warnings()).toMatchObject([{ level: 'warn', fields: { state } }]);
    registry.putRaw('config', configJson);
    await vi.waitFor(() => expect(control.state().config).toEqual({ state: 'current', detail: null }));
  });

  it('that this host could not have is invalid: a restart would not apply it', async () => {
    start({ checkConfig: () => Promise.reject(new RudderError('network-config', 'it covers the default gateway')) });
    await vi.waitFor(() => expect(currents).toEqual([true]));
    registry.putRaw('config', '{"Network":"10.0.0.0/16"}');
    await vi.waitFor(() => expect(control.state().config.state).toBe('invalid'));
    expect(control.state().config.detail).toMatch(/^it covers the default gateway: a restart goes on with/);
  });
});
