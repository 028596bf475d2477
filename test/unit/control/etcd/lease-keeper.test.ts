import { beforeEach, describe, expect, it, vi } from 'vitest';
import { keepAliveInterval } from '../../../../src/control/etcd/lease-keeper.js';
import { NO_TTL } from '../../../../src/control/etcd/registry.js';
import { formatLeaseValue } from '../../../../src/core/lease.js';
import { udp } from '../../../helpers/leases.js';
import { bootNow, suspend } from '../fake-boot-clock.js';
import { ip, ME, MY_VALUE, pass, peerValue, refused, unavailable, warningsOf } from './cluster.js';
import { createKeeping, INTERVAL, type Keeping, NAME, TTL } from './keeping.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));
vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const OTHERS_VALUE = peerValue('10.1.1.77');

let t: Keeping;
let { registry, log, lost, initial, keeper, own } = {} as Keeping;

beforeEach(async () => {
  vi.useFakeTimers();
  t = await createKeeping();
  ({ registry, log, lost, initial, keeper, own } = t);
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

it.each([
  [86_400, 30],
  [90, 30],
  [60, 20],
  [6, 2],
])('a TTL of %i s is renewed every %i s', (ttl, interval) => {
  expect(keepAliveInterval(ttl)).toBe(interval);
});

describe('renewal', () => {
  it('comes at every interval, exactly then', async () => {
    const renewals = vi.spyOn(registry, 'keepAlive');
    await pass(INTERVAL - 0.001);
    expect(renewals).not.toHaveBeenCalled();
    await pass(0.001);
    expect(renewals.mock.calls).toEqual([[initial.ttlId]]);
    await pass(10 * INTERVAL);
    expect(renewals).toHaveBeenCalledTimes(11);
  });

  it('keeps the lease for ever, without a word and without another write', async () => {
    await pass(100 * TTL);
    expect(keeper.holding()).toEqual(initial);
    await expectHeld();
    expect(keeper.recoveries()).toBe(0);
    expect(log.lines).toEqual([]);
  });

  it('counts from when it was asked for, also where the host is suspended before it hears the answer', async () => {
    const keepAlive = registry.keepAlive;
    vi.spyOn(registry, 'keepAlive').mockImplementation(async (ttlId) => {
      const kept = await keepAlive(ttlId);
      suspend(50);
      return kept;
    });
    await pass(INTERVAL);
    expect((bootNow() - keeper.confirmedAt()) / 1000).toBe(50);
    expect((bootNow() - keeper.answeredAt()!) / 1000).toBe(0);
  });

  it('is not needed by a reservation', async () => {
    keeper.stop();
    const renewals = vi.spyOn(registry, 'keepAlive');
    const another = t.keep({ revision: initial.revision, ttlId: NO_TTL });
    await pass(10 * INTERVAL);
    another.stop();
    expect(renewals).not.toHaveBeenCalled();
    expect(log.lines).toEqual([]);
  });

  it.each([unavailable(), refused()])('that etcd does not answer is tried again soon: $code', async (error) => {
    const renewals = vi.spyOn(registry, 'keepAlive').mockRejectedValue(error);
    await pass(INTERVAL + 50);
    const attempts = renewals.mock.calls.length;
    expect(attempts).toBeGreaterThanOrEqual(25);
    expect(attempts).toBeLessThanOrEqual(51);
    expect(warningsOf(log)).toHaveLength(2);
    expect(warningsOf(log)[0].fields).toEqual({ reason: error.message, suppressed: 0 });
    expect(warningsOf(log)[1].fields).toHaveProperty(
      'suppressed',
      expect.toSatisfy((n: number) => n >= 14 && n <= 31),
    );

    renewals.mockRestore();
    const lines = log.lines.length;
    await pass(10 * INTERVAL);
    expect(log.lines).toHaveLength(lines);
    expect(lost).toEqual([]);
  });

  it('outlasts an outage that is shorter than the TTL', async () => {
    await pass(INTERVAL);
    const failing = vi.spyOn(registry, 'keepAlive').mockRejectedValue(unavailable());
    await pass(TTL - 3);
    failing.mockRestore();
    await pass(3 * TTL);
    expect(keeper.holding()).toEqual(initial);
    await expectHeld();
    expect(keeper.recoveries()).toBe(0);
  });

  it('after an outage that is longer than the TTL brings the same subnet back', async () => {
    const failing = vi.spyOn(registry, 'keepAlive').mockRejectedValue(unavailable());
    await pass(3 * TTL);
    expect(await own()).toBeUndefined();
    failing.mockRestore();
    await pass(3);
    await expectHeld();
    expect(keeper.recoveries()).toBe(1);
  });
});

describe('the own key, as last read', () => {
  it.each([
    ['was deleted', () => registry.deleteRaw(NAME)],
    ['has lost its TTL', () => registry.revoke(initial.ttlId)],
  ])('is gone while it cannot be written again: %s', async (_, spoil) => {
    const writes = vi.spyOn(registry, 'createLease').mockRejectedValue(refused());
    expect(keeper.ownKey()).toBe('written');
    spoil();
    keeper.ownKeySeen(undefined);
    await pass(5);
    expect(keeper.ownKey()).toBe('gone');
    writes.mockRestore();
    await pass(5);
    expect(keeper.ownKey()).toBe('written');
  });

  it('is gone when the renewal says that its TTL is, though nobody watches', async () => {
    vi.spyOn(registry, 'listLeases').mockRejectedValue(unavailable());
    registry.revoke(initial.ttlId);
    await pass(INTERVAL + 1);
    expect(keeper.ownKey()).toBe('gone');
  });

  it('differs while another address is not written', async () => {
    const writes = vi.spyOn(registry, 'updateLease').mockRejectedValue(refused());
    keeper.publish({ publicIp: ip('10.1.1.99') });
    await pass(5);
    expect(keeper.ownKey()).toBe('differs');
    writes.mockRestore();
    await pass(5);
    expect(keeper.ownKey()).toBe('written');
  });

  it('differs while somebody has written something else of ours', async () => {
    const writes = vi.spyOn(registry, 'updateLease').mockRejectedValue(refused());
    registry.putRaw(NAME, formatLeaseValue({ ...ME, backend: udp(true) }), TTL);
    keeper.ownKeySeen(await own());
    await pass(5);
    expect(keeper.ownKey()).toBe('differs');
    writes.mockRestore();
    await pass(5);
    expect(keeper.ownKey()).toBe('written');
  });
});

describe('stop', () => {
  it('ends renewals and leaves the lease to run out', async () => {
    const renewals = vi.spyOn(registry, 'keepAlive');
    keeper.stop();
    expect((await own())?.value).toBe(MY_VALUE);
    await pass(TTL + 1);
    expect(renewals).not.toHaveBeenCalled();
    expect(await own()).toBeUndefined();
    expect(log.lines).toEqual([]);
  });

  it('makes the keeper deaf', async () => {
    const calls = vi.spyOn(registry, 'listLeases');
    keeper.stop();
    keeper.ownKeySeen({ name: NAME, value: OTHERS_VALUE, revision: 99, ttlId: NO_TTL });
    keeper.ownKeySeen(undefined);
    await pass(10);
    expect(lost).toEqual([]);
    expect(calls).not.toHaveBeenCalled();
  });

  it('ends a recovery that waits for etcd', async () => {
    const lists = vi.spyOn(registry, 'listLeases').mockRejectedValue(unavailable());
    keeper.ownKeySeen(undefined);
    await pass(10);
    const before = lists.mock.calls.length;
    expect(before).toBeGreaterThan(1);
    keeper.stop();
    await pass(60);
    expect(lists).toHaveBeenCalledTimes(before);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a renewal that is under way: no next one follows', async () => {
    let answer: (alive: boolean) => void = () => undefined;
    const renewals = vi.spyOn(registry, 'keepAlive').mockReturnValue(new Promise((resolve) => (answer = resolve)));
    const lists = vi.spyOn(registry, 'listLeases');
    await pass(INTERVAL);
    keeper.stop();
    answer(false);
    await pass(10 * INTERVAL);
    expect(renewals).toHaveBeenCalledTimes(1);
    expect(lists).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('during a recovery keeps it from writing', async () => {
    registry.deleteRaw(NAME);
    keeper.ownKeySeen(undefined); // the list is under way
    keeper.stop();
    await pass(1);
    expect(await own()).toBeUndefined();
  });
});
