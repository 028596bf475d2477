import { beforeEach, describe, expect, it, vi } from 'vitest';
import { NO_TTL } from '../../../../src/control/etcd/registry.js';
import { FLANNEL_VALUE, ME, MY_VALUE, pass, peerValue, unavailable, warningsOf } from './cluster.js';
import { createKeeping, INTERVAL, type Keeping, NAME, TTL } from './keeping.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));
vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const OTHERS_VALUE = peerValue('10.1.1.77');

let { registry, log, lost, initial, keeper, own } = {} as Keeping;

beforeEach(async () => {
  vi.useFakeTimers();
  ({ registry, log, lost, initial, keeper, own } = await createKeeping());
  return () => {
    keeper.stop();
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

/** The key is there, ours, with a living TTL, and the keeper knows it. */
async function expectHeld(): Promise<void> {
  expect(await own()).toEqual({ name: NAME, value: MY_VALUE, ...keeper.holding() });
  expect((await registry.timeToLive(keeper.holding().ttlId))?.grantedSeconds).toBe(TTL);
}

describe('recovery', () => {
  it('of a revoked TTL that nobody told us of comes with the next renewal', async () => {
    await pass(1);
    registry.revoke(initial.ttlId);
    expect(await own()).toBeUndefined();
    await pass(INTERVAL);
    await expectHeld();
    expect(keeper.holding().ttlId).not.toBe(initial.ttlId);
    expect(keeper.recoveries()).toBe(1);
    await pass(10 * TTL);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
  });

  it('of a deleted key comes at once', async () => {
    registry.deleteRaw(NAME);
    keeper.ownKeySeen(undefined);
    await pass(0);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
    expect(warningsOf(log)).toMatchObject([
      { fields: { subnet: '10.240.26.0/24' }, message: 'the own lease key is gone' },
      { fields: { subnet: '10.240.26.0/24', recoveries: 1 }, message: 'the own lease is restored' },
    ]);
  });

  it('happens once for a revoked lease that the watch tells twice and the renewal once', async () => {
    const [creates, updates] = [vi.spyOn(registry, 'createLease'), vi.spyOn(registry, 'updateLease')];
    await pass(INTERVAL - 0.001);
    registry.revoke(initial.ttlId);
    keeper.ownKeySeen(undefined);
    vi.advanceTimersByTime(1);
    keeper.ownKeySeen(undefined);
    await pass(1);
    keeper.ownKeySeen(await own());
    keeper.ownKeySeen(undefined); // told late
    await pass(10 * TTL);
    expect(creates).toHaveBeenCalledTimes(1);
    expect(updates).not.toHaveBeenCalled();
    expect(keeper.recoveries()).toBe(1);
    await expectHeld();
  });

  it('is not needed for our own write, told by the watch before or after etcd answers', async () => {
    const writes = vi.spyOn(registry, 'createLease');
    registry.watch(initial.revision + 1, {
      opened: () => undefined,
      events: (events) => {
        for (const event of events) {
          if (event.type === 'put') keeper.ownKeySeen(event.entry);
          if (event.type === 'delete') keeper.ownKeySeen(undefined);
        }
      },
      ended: () => undefined,
    });
    registry.deleteRaw(NAME);
    await pass(10 * TTL);
    expect(writes).toHaveBeenCalledTimes(1);
    expect(keeper.recoveries()).toBe(1);
    await expectHeld();
  });

  it('moves our own value that somebody wrote with another TTL to a TTL of ours', async () => {
    registry.putRaw(NAME, MY_VALUE, 3600);
    keeper.ownKeySeen(await own());
    await pass(0);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
  });

  it.each([
    ['our value', MY_VALUE],
    ['our PublicIP alone', FLANNEL_VALUE],
  ])('lets a reservation that an operator made of our key, with %s, be one', async (_, value) => {
    registry.putRaw(NAME, value);
    keeper.ownKeySeen(await own());
    await pass(3 * TTL);
    expect(await own()).toMatchObject({ value: MY_VALUE, ttlId: NO_TTL });
    expect(keeper.holding().ttlId).toBe(NO_TTL);
    expect([lost.length, keeper.recoveries()]).toEqual([0, 0]);
  });

  it('takes over a reservation that its operator has given up, without a moment in which there is no key', async () => {
    registry.putRaw(NAME, MY_VALUE);
    keeper.ownKeySeen(await own());
    const events: string[] = [];
    const { revision } = await registry.listLeases();
    registry.watch(revision + 1, {
      opened: () => undefined,
      events: (some) => void events.push(...some.map(({ type }) => type)),
      ended: () => undefined,
    });
    registry.putRaw(NAME, MY_VALUE, 3600);
    keeper.ownKeySeen(await own());
    await pass(3 * TTL);
    await expectHeld();
    expect(events).toEqual(['put', 'put']);
    expect([lost.length, keeper.recoveries(), warningsOf(log).length]).toEqual([0, 0, 0]);
    expect(log.lines.at(-1)?.message).toBe('the reservation is given up, and a lease now');
    // From now on it is a lease like any other.
    registry.revoke(keeper.holding().ttlId);
    await pass(INTERVAL);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
  });

  it('waits for etcd, and says so at a bounded rate', async () => {
    const down = ['keepAlive', 'listLeases', 'createLease'] as const;
    const spies = down.map((method) => vi.spyOn(registry, method).mockRejectedValue(unavailable()));
    registry.deleteRaw(NAME);
    keeper.ownKeySeen(undefined);
    await pass(120);
    expect(spies[1].mock.calls.length).toBeGreaterThan(50);
    expect(spies[1].mock.calls.length).toBeLessThan(130);
    expect(warningsOf(log).length).toBeLessThanOrEqual(6);
    for (const spy of spies) spy.mockRestore();
    await pass(3);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
  });

  it('looks again if somebody was faster, and ends if it was another node', async () => {
    registry.deleteRaw(NAME);
    const list = registry.listLeases;
    vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      registry.putRaw(NAME, OTHERS_VALUE);
      return seen;
    });
    keeper.ownKeySeen(undefined);
    await pass(1);
    expect(lost).toHaveLength(1);
    expect((await own())?.value).toBe(OTHERS_VALUE);
    expect(keeper.recoveries()).toBe(0);
  });

  it('starts again for a key that is deleted while etcd still answers the last recovery', async () => {
    const create = registry.createLease;
    vi.spyOn(registry, 'createLease').mockImplementationOnce(async (...args) => {
      const holding = await create(...args);
      registry.deleteRaw(NAME);
      keeper.ownKeySeen(undefined);
      return holding;
    });
    registry.deleteRaw(NAME);
    keeper.ownKeySeen(undefined);
    await pass(2 * INTERVAL);
    await expectHeld();
  });
});

describe('a subnet that belongs to another', () => {
  it.each([
    ['another node', OTHERS_VALUE, 'the node at 10.1.1.77'],
    ['a node with a copy of our state', peerValue('10.1.1.99', ME.nodeId), 'the node at 10.1.1.99'],
    ['nobody who can be read', 'garbage', 'an unreadable value'],
  ])('now %s is reported once, as a conflict, and left alone', async (_, value, owner) => {
    registry.putRaw(NAME, value);
    const entry = await own();
    const renewals = vi.spyOn(registry, 'keepAlive');
    keeper.ownKeySeen(entry);
    keeper.ownKeySeen(entry);
    keeper.ownKeySeen(undefined);
    await pass(10 * TTL);
    expect(lost).toHaveLength(1);
    expect(lost[0].code).toBe('lease-conflict');
    expect(lost[0].message).toContain(`subnet 10.240.26.0/24 now belongs to ${owner}, not to this node at 10.1.1.26`);
    expect(renewals).not.toHaveBeenCalled();
    expect(await own()).toEqual(entry);
  });

  it('is found out by a renewal too', async () => {
    registry.revoke(initial.ttlId);
    registry.putRaw(NAME, OTHERS_VALUE, 3600);
    await pass(INTERVAL);
    expect(lost.map((error) => error.code)).toEqual(['lease-conflict']);
    expect((await own())?.value).toBe(OTHERS_VALUE);
  });
});
