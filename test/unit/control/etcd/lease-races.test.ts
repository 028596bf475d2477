import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TakenLease } from '../../../../src/control/etcd/lease-acquisition.js';
import { type AcquireOptions, acquireLease } from '../../../../src/control/etcd/lease-acquisition.js';
import { formatSubnet } from '../../../../src/core/subnet.js';
import { udp } from '../../../helpers/leases.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import {
  CONFIG,
  entryOf,
  ip,
  ME,
  MY_VALUE,
  pass,
  peerValue,
  refused,
  stateOf,
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
  setMaxListeners(50, stop.signal);
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

describe('a network without a free subnet', () => {
  it('is waited for, with one warning each half minute, and the first subnet freed is ours', async () => {
    for (const name of TINY_NAMES) registry.putRaw(name, PEER_VALUE);
    const own = stateOf(acquire({ config: TINY }));
    await pass(29);
    expect(own.settled).toBe(false);
    expect(warningsOf(log)).toHaveLength(1);
    expect(warningsOf(log)[0]).toMatchObject({ fields: { network: '10.240.0.0/28', suppressed: 0 } });
    await pass(90);
    expect(own.settled).toBe(false);
    expect(warningsOf(log).length).toBeGreaterThanOrEqual(3);
    expect(warningsOf(log).length).toBeLessThanOrEqual(4);

    registry.deleteRaw(TINY_NAMES[1]);
    await pass(6);
    expect(own.value).toMatchObject({ created: true });
    await expectMine(own.value!, TINY_NAMES[1]);
  });

  it('can be given up', async () => {
    for (const name of TINY_NAMES) registry.putRaw(name, PEER_VALUE);
    const own = stateOf(acquire({ config: TINY }));
    await pass(10);
    stop.abort(new Error('stopped'));
    await pass(0);
    expect(own.error).toBeInstanceOf(Error);
    registry.deleteRaw(TINY_NAMES[1]);
    await pass(30);
    expect(await valuesIn(registry)).not.toHaveProperty(TINY_NAMES[1]);
  });
});

describe('races', () => {
  it('20 nodes at once that all want the same get 20 different subnets', async () => {
    const nodes = Array.from({ length: 20 }, (_, i) => ({
      publicIp: ip(`10.1.1.${i + 1}`),
      nodeId: `node ${i}`,
      backend: udp(),
    }));
    const results = nodes.map((identity) => stateOf(acquire({ identity })));
    await pass(300);
    const subnets = results.map(({ value }) => value && formatSubnet(value.subnet));
    expect(new Set(subnets).size).toBe(20);
    expect(subnets).not.toContain(undefined);
    const { entries } = await registry.listLeases();
    const held = results.map(({ value }) => value!.holding.revision).sort((a, b) => a - b);
    expect(entries.map((entry) => entry.revision).sort((a, b) => a - b)).toEqual(held);
  });

  it('a subnet that is taken between our look and our write stays with its taker', async () => {
    const list = registry.listLeases;
    vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      registry.putRaw('10.240.1.0-24', PEER_VALUE);
      return seen;
    });
    const own = stateOf(acquire());
    await pass(1);
    await expectMine(own.value!, '10.240.2.0-24');
    expect((await entryOf(registry, '10.240.1.0-24'))?.value).toBe(PEER_VALUE);
  });

  it('an own lease that another overwrites between our look and our write stays with the other', async () => {
    registry.putRaw(NAME, MY_VALUE, 60);
    const list = registry.listLeases;
    vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      registry.putRaw(NAME, PEER_VALUE);
      return seen;
    });
    const own = stateOf(acquire());
    await pass(1);
    await expectMine(own.value!, '10.240.1.0-24');
    expect((await entryOf(registry, NAME))?.value).toBe(PEER_VALUE);
  });

  it('a misfit of ours that another overwrites before we delete it stays with the other', async () => {
    registry.putRaw('10.240.26.0-25', MY_VALUE, 60);
    const list = registry.listLeases;
    vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      registry.putRaw('10.240.26.0-25', PEER_VALUE);
      return seen;
    });
    const own = stateOf(acquire());
    await pass(1);
    await expectMine(own.value!, '10.240.1.0-24');
    expect((await entryOf(registry, '10.240.26.0-25'))?.value).toBe(PEER_VALUE);
  });
});

describe('etcd', () => {
  it.each(['listLeases', 'createLease'] as const)('that is unavailable for %s is waited for', async (method) => {
    const fails = vi.spyOn(registry, method).mockRejectedValue(unavailable());
    const own = stateOf(acquire());
    await pass(29);
    expect(own.settled).toBe(false);
    expect(fails.mock.calls.length).toBeGreaterThan(5);
    expect(warningsOf(log)).toHaveLength(1);
    fails.mockRestore();
    await pass(6);
    await expectMine(own.value!, '10.240.1.0-24');
  });

  it('that refuses ends the attempt at once', async () => {
    vi.spyOn(registry, 'listLeases').mockRejectedValue(refused());
    await expect(acquire()).rejects.toMatchObject({ code: 'registry-refused' });
    expect(log.lines).toEqual([]);
  });
});
