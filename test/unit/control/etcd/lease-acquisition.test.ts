import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TakenLease } from '../../../../src/control/etcd/lease-acquisition.js';
import { type AcquireOptions, acquireLease } from '../../../../src/control/etcd/lease-acquisition.js';
import { NO_TTL } from '../../../../src/control/etcd/registry.js';
import { formatLeaseValue } from '../../../../src/core/lease.js';
import { formatSubnet } from '../../../../src/core/subnet.js';
import { udp } from '../../../helpers/leases.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import {
  CONFIG,
  entryOf,
  FLANNEL_VALUE,
  ME,
  MY_VALUE,
  pass,
  peerValue,
  refused,
  stateOf,
  subnet,
  TINY,
  TINY_NAMES,
  unavailable,
  valuesIn,
  warningsOf,
} from './cluster.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));
vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const TTL = 3600;
const NAME = '10.240.26.0-24';
const PEER_VALUE = peerValue('10.1.1.77');

let registry: MemoryRegistry;
let log: RecordingLog;
let stop: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  registry = createMemoryRegistry(() => Date.now());
  log = createRecordingLog();
  stop = new AbortController();
  return () => vi.useRealTimers();
});
afterEach(() => {
  stop.abort();
  vi.restoreAllMocks();
});

function acquire(options: Partial<AcquireOptions> = {}): Promise<TakenLease> {
  const defaults = { registry, config: CONFIG, identity: ME, savedSubnet: undefined, ttlSeconds: TTL, log };
  return acquireLease({ ...defaults, random: () => 0, ...options }, stop.signal);
}

/** Checks that the key is ours and that what acquireLease told of it is true. */
async function expectMine(own: TakenLease, name: string): Promise<void> {
  expect(formatSubnet(own.subnet).replace('/', '-')).toBe(name);
  expect(await entryOf(registry, name)).toEqual({ name, value: MY_VALUE, ...own.holding });
}

describe('a node with something else to go on with', () => {
  it.each([unavailable(), refused()])('is told the first failure, without a word: $code', async (error) => {
    vi.spyOn(registry, 'listLeases').mockRejectedValue(error);
    await expect(acquire({ isHasty: true })).rejects.toBe(error);
    expect(log.lines).toEqual([]);
  });
});

describe('a node without a lease', () => {
  it('creates one in a free subnet, with the TTL', async () => {
    const own = await acquire();
    expect(own.created).toBe(true);
    await expectMine(own, '10.240.1.0-24');
    expect(await registry.timeToLive(own.holding.ttlId)).toEqual({ remainingSeconds: TTL, grantedSeconds: TTL });
    expect((await registry.listLeases()).entries).toHaveLength(1);
  });

  it('chooses at random', async () => {
    await expectMine(await acquire({ random: () => 0.5 }), '10.240.51.0-24');
  });

  it('gets its saved subnet if that is free', async () => {
    await expectMine(await acquire({ savedSubnet: subnet('10.240.99.0/24') }), '10.240.99.0-24');
  });

  it.each([
    ['leased', '10.240.99.0-24', PEER_VALUE],
    ['named by a key that is no lease', '10.240.99.0-24', 'garbage'],
    ['inside a larger one', '10.240.96.0-22', PEER_VALUE],
  ])('gets another subnet if its saved one is %s', async (_, name, value) => {
    registry.putRaw(name, value);
    await expectMine(await acquire({ savedSubnet: subnet('10.240.99.0/24') }), '10.240.1.0-24');
    expect((await entryOf(registry, name))?.value).toBe(value);
  });

  it.each([
    '10.99.0.0/24',
    '10.240.99.0/25',
    '10.240.0.0/24',
  ])('does not use saved %s, which the config does not hand out', async (saved) => {
    await expectMine(await acquire({ savedSubnet: subnet(saved) }), '10.240.1.0-24');
  });

  it('leaves every other key alone, whatever it holds', async () => {
    const before = { [TINY_NAMES[0]]: PEER_VALUE, [TINY_NAMES[2]]: 'garbage', 'no subnet': MY_VALUE.slice(1) };
    for (const [name, value] of Object.entries(before)) registry.putRaw(name, value);
    await expectMine(await acquire({ config: TINY }), TINY_NAMES[1]);
    expect(await valuesIn(registry)).toEqual({ ...before, [TINY_NAMES[1]]: MY_VALUE });
  });
});

describe('the own lease', () => {
  it('is the one with our node id, before one with only our PublicIP', async () => {
    registry.putRaw('10.240.5.0-24', FLANNEL_VALUE, 60);
    registry.putRaw(NAME, MY_VALUE, 60);
    const before = (await entryOf(registry, NAME))!;
    const own = await acquire({ savedSubnet: subnet('10.240.99.0/24') });
    expect(own.created).toBe(false);
    await expectMine(own, NAME);
    expect(own.holding.ttlId).not.toBe(before.ttlId);
    expect(await registry.timeToLive(own.holding.ttlId)).toEqual({ remainingSeconds: TTL, grantedSeconds: TTL });
    expect((await entryOf(registry, '10.240.5.0-24'))?.value).toBe(FLANNEL_VALUE);
  });

  it('says from now on whether our ports are mapped', async () => {
    registry.putRaw(NAME, MY_VALUE, 60);
    const own = await acquire({ identity: { ...ME, backend: udp(true) } });
    expect(own.created).toBe(false);
    expect((await entryOf(registry, NAME))?.value).toBe(formatLeaseValue({ ...ME, backend: udp(true) }));
  });

  it('is that of the last run, of two that are ours', async () => {
    for (const name of ['10.240.5.0-24', NAME, '10.240.99.0-24']) registry.putRaw(name, MY_VALUE, 60);
    await expectMine(await acquire({ savedSubnet: subnet('10.240.26.0/24') }), NAME);
  });

  it("is flannel's with our PublicIP, and gets our value and TTL", async () => {
    registry.putRaw('10.240.5.0-24', PEER_VALUE, 60);
    registry.putRaw(NAME, FLANNEL_VALUE, 60);
    const own = await acquire();
    expect(own.created).toBe(false);
    await expectMine(own, NAME);
    expect((await registry.timeToLive(own.holding.ttlId))?.grantedSeconds).toBe(TTL);
  });

  it.each([
    ["flannel's", FLANNEL_VALUE],
    ['ours', MY_VALUE],
    ['of another node id at our PublicIP', peerValue('10.1.1.26', 'lost state')],
  ])('stays permanent if it is a reservation: %s', async (_, value) => {
    registry.putRaw(NAME, value);
    const own = await acquire();
    expect(own).toMatchObject({ created: false, holding: { ttlId: NO_TTL } });
    await expectMine(own, NAME);
    await pass(2 * TTL);
    expect((await entryOf(registry, NAME))?.value).toBe(MY_VALUE);
  });

  it.each([
    ['another length', '10.240.26.0-25'],
    ['another network', '10.99.26.0-24'],
    ['the first subnet', '10.240.0.0-24'],
  ])('of %s, which does not fit the config any more, is replaced', async (_, name) => {
    registry.putRaw(name, MY_VALUE, 60);
    const own = stateOf(acquire({ savedSubnet: subnet(name.replace('-', '/')) }));
    await pass(1);
    expect(own.value).toMatchObject({ created: true });
    await expectMine(own.value!, '10.240.1.0-24');
    expect(await valuesIn(registry)).toEqual({ '10.240.1.0-24': MY_VALUE });
    expect(warningsOf(log)).toMatchObject([{ fields: { lease: name } }]);
  });
});

describe('a stop while the write is under way', () => {
  /** etcd has written, and its answer comes a moment after the stop. */
  function answerLate(): void {
    const create = registry.createLease;
    registry.createLease = async (...args) => {
      const holding = await create(...args);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return holding;
    };
  }

  it('takes back the lease that was created nevertheless', async () => {
    answerLate();
    const stopped = expect(acquire()).rejects.toThrow('aborted');
    await vi.advanceTimersByTimeAsync(50);
    expect((await registry.listLeases()).entries).toHaveLength(1);
    stop.abort();
    await vi.advanceTimersByTimeAsync(100);
    await stopped;
    expect((await registry.listLeases()).entries).toEqual([]);
  });

  it('waits no longer for an answer than a stop may take', async () => {
    registry.createLease = () => new Promise(() => undefined);
    let ended = false;
    const stopped = acquire().catch(() => {
      ended = true;
    });
    await vi.advanceTimersByTimeAsync(50);
    stop.abort();
    await vi.advanceTimersByTimeAsync(500);
    expect(ended).toBe(true);
    await stopped;
  });
});
