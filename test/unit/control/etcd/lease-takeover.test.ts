import { beforeEach, describe, expect, it, vi } from 'vitest';
import { acquireLease } from '../../../../src/control/etcd/lease-acquisition.js';
import { keepAliveInterval } from '../../../../src/control/etcd/lease-keeper.js';
import type { TimeToLive } from '../../../../src/control/etcd/registry.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import { CONFIG, entryOf, ME, MY_VALUE, pass, peerValue, stateOf, subnet, unavailable } from './cluster.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));
vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const NAME = '10.240.26.0-24';
/** A lease with our PublicIP and another node id: perhaps our own of before we lost our state, perhaps a twin's. */
const TWIN_VALUE = peerValue('10.1.1.26', 'twin');
/** A lease with our node id and another PublicIP: our own of another address, or a node's that has a copy of our state. */
const MOVED_VALUE = peerValue('10.9.9.9', ME.nodeId);

let registry: MemoryRegistry;
let log: RecordingLog;

beforeEach(() => {
  vi.useFakeTimers();
  registry = createMemoryRegistry(() => Date.now());
  log = createRecordingLog();
  return () => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

function acquire(signal = new AbortController().signal) {
  const options = { registry, config: CONFIG, identity: ME, savedSubnet: undefined, ttlSeconds: 3600, log };
  return stateOf(acquireLease({ ...options, random: () => 0 }, signal));
}

/** A node that keeps the lease as keepers do, from `phase` seconds on. */
async function keepTwinAlive(ttlSeconds: number, phase: number): Promise<void> {
  const { ttlId } = (await entryOf(registry, NAME))!;
  const every = keepAliveInterval(ttlSeconds) * 1000;
  setTimeout(() => {
    void registry.keepAlive(ttlId);
    setInterval(() => void registry.keepAlive(ttlId), every);
  }, phase * 1000);
}

describe('a lease with our node id and another PublicIP', () => {
  it('is ours after two keep-alive intervals without a sign of life: we have moved', async () => {
    registry.putRaw(NAME, MOVED_VALUE, 60);
    const own = acquire();
    await pass(39.9);
    expect(own.settled).toBe(false);
    await pass(0.2);
    expect(await entryOf(registry, NAME)).toEqual({ name: NAME, value: MY_VALUE, ...own.value!.holding });
  });

  it('that is refreshed refuses the start: our state was copied', async () => {
    registry.putRaw(NAME, MOVED_VALUE, 60);
    const before = await entryOf(registry, NAME);
    await keepTwinAlive(60, 5);
    const own = acquire();
    await pass(41);
    expect(own.error).toMatchObject({
      code: 'lease-conflict',
      message: expect.stringMatching(/^our node id is in use: .*--state-dir/),
    });
    expect(await entryOf(registry, NAME)).toEqual(before);
  });
});

describe('a lease with our PublicIP and an unknown node id', () => {
  it.each([
    { ttl: 86_400, interval: 30 },
    { ttl: 90, interval: 30 },
    { ttl: 60, interval: 20 },
    { ttl: 6, interval: 2 },
  ])('of $ttl s that nobody refreshes is ours after two keep-alive intervals', async ({ ttl, interval }) => {
    registry.putRaw(NAME, TWIN_VALUE, ttl);
    const own = acquire();
    await pass(2 * interval - 0.01);
    expect(own.settled).toBe(false);
    expect((await entryOf(registry, NAME))?.value).toBe(TWIN_VALUE);
    await pass(0.02);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.26.0/24'), created: false });
    expect(await entryOf(registry, NAME)).toEqual({ name: NAME, value: MY_VALUE, ...own.value!.holding });
    expect((await registry.timeToLive(own.value!.holding.ttlId))?.grantedSeconds).toBe(3600);
    expect(log.lines).toMatchObject([{ level: 'info', fields: { lease: NAME, seconds: Math.ceil(2 * interval) } }]);
  });

  const PHASES = [0.05, 0.2, 0.4, 0.6, 0.8, 0.95];
  const TTLS = [86_400, 90, 30, 10, 5];
  it.each(
    TTLS.flatMap((ttl) => PHASES.map((phase) => ({ ttl, phase }))),
  )('of $ttl s that is refreshed, at $phase of the interval, refuses the start', async ({ ttl, phase }) => {
    registry.putRaw(NAME, TWIN_VALUE, ttl);
    const before = await entryOf(registry, NAME);
    const interval = keepAliveInterval(ttl);
    await keepTwinAlive(ttl, phase * interval);
    await pass(3.3 * interval);
    const own = acquire();
    await pass(2 * interval + 1);
    expect(own.error).toMatchObject({ code: 'lease-conflict' });
    expect((own.error as Error).message).toMatch(/^PublicIP 10\.1\.1\.26 is in use: .*10\.240\.26\.0-24.*--public-ip/);
    expect(await entryOf(registry, NAME)).toEqual(before);
  });

  it('is not waited for if there is also a reservation for our PublicIP', async () => {
    registry.putRaw('10.240.5.0-24', TWIN_VALUE, 86_400);
    registry.putRaw(NAME, peerValue('10.1.1.26', 'reserved by hand'));
    const own = acquire();
    await pass(0);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.26.0/24'), created: false, holding: { ttlId: '0' } });
    expect((await entryOf(registry, '10.240.5.0-24'))?.value).toBe(TWIN_VALUE);
  });

  it('that is a reservation of our node id for another address, say of a copied state directory, is left alone', async () => {
    const reservation = peerValue('10.1.1.99', ME.nodeId);
    registry.putRaw(NAME, reservation);
    const own = acquire();
    await pass(0);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.1.0/24'), created: true });
    expect(await entryOf(registry, NAME)).toMatchObject({ value: reservation, ttlId: '0' });
  });

  it('that runs out while we look is not waited for any longer', async () => {
    registry.putRaw(NAME, TWIN_VALUE, 90);
    await pass(80);
    const own = acquire();
    await pass(30);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.1.0/24'), created: true });
  });

  it('whose node returns and writes while we look stays with that node', async () => {
    registry.putRaw(NAME, TWIN_VALUE, 86_400);
    const own = acquire();
    await pass(30);
    registry.putRaw(NAME, peerValue('10.1.1.99', 'twin'), 86_400);
    await pass(40);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.1.0/24') });
    expect((await entryOf(registry, NAME))?.value).toBe(peerValue('10.1.1.99', 'twin'));
  });

  it('is still taken over if etcd is away for a moment', async () => {
    registry.putRaw(NAME, TWIN_VALUE, 86_400);
    const ask = vi.spyOn(registry, 'timeToLive').mockRejectedValueOnce(unavailable());
    const own = acquire();
    await pass(70);
    expect(ask.mock.calls.length).toBeGreaterThan(1);
    expect(own.value).toMatchObject({ subnet: subnet('10.240.26.0/24') });
  });

  it('that nobody refreshes is ours also if etcd becomes slow, with 2 s for each answer', async () => {
    registry.putRaw(NAME, TWIN_VALUE, 86_400);
    const ask = registry.timeToLive;
    let asked = 0;
    vi.spyOn(registry, 'timeToLive').mockImplementation(async (ttlId) => {
      const answer = await ask(ttlId);
      if (++asked === 1) return answer;
      return new Promise<TimeToLive | undefined>((resolve) => setTimeout(() => resolve(answer), 2000));
    });
    const own = acquire();
    await pass(80);
    expect(own.error).toBeUndefined();
    expect(own.value).toMatchObject({ subnet: subnet('10.240.26.0/24') });
  });

  it('is left alone if we are stopped while we look', async () => {
    registry.putRaw(NAME, TWIN_VALUE, 86_400);
    const stop = new AbortController();
    const own = acquire(stop.signal);
    await pass(10);
    stop.abort();
    await pass(100);
    expect(own.settled).toBe(true);
    expect(own.value).toBeUndefined();
    expect((await entryOf(registry, NAME))?.value).toBe(TWIN_VALUE);
  });
});
