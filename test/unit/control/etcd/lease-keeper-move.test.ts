import { beforeEach, describe, expect, it, vi } from 'vitest';
import { NO_TTL } from '../../../../src/control/etcd/registry.js';
import { formatLeaseValue, formatReservationValue } from '../../../../src/core/lease.js';
import { udp } from '../../../helpers/leases.js';
import { ip, ME, MY_VALUE, pass, peerValue, unavailable, warningsOf } from './cluster.js';
import { createKeeping, type Keeping, NAME, TTL } from './keeping.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));
vi.mock('../../../../src/control/boot-clock.js', () => import('../fake-boot-clock.js'));

const NEXT = ip('10.1.1.99');
const NEXT_VALUE = formatLeaseValue({ ...ME, publicIp: NEXT });

let { registry, log, lost, initial, keeper, keep, own } = {} as Keeping;
/** Every value that the key has had since the start. */
let history: string[];

beforeEach(async () => {
  vi.useFakeTimers();
  ({ registry, log, lost, initial, keeper, keep, own } = await createKeeping());
  history = [];
  registry.watch(initial.revision + 1, {
    opened: () => undefined,
    events: (events) => {
      for (const event of events) if (event.type === 'put') history.push(event.entry.value);
    },
    ended: () => undefined,
  });
  return () => {
    keeper.stop();
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

async function expectMoved(): Promise<void> {
  expect(await own()).toEqual({ name: NAME, value: NEXT_VALUE, ...keeper.holding() });
  expect((await registry.timeToLive(keeper.holding().ttlId))?.grantedSeconds).toBe(TTL);
  expect(keeper.identity()).toEqual({ ...ME, publicIp: NEXT });
  expect(lost).toEqual([]);
}

describe('another address of the node', () => {
  it('is written once, with a word, and is no recovery', async () => {
    keeper.publish({ publicIp: NEXT });
    await pass(0);
    await expectMoved();
    expect(history).toEqual([NEXT_VALUE]);
    expect(keeper.recoveries()).toBe(0);
    expect(log.lines).toMatchObject([
      { level: 'info', fields: { publicIp: '10.1.1.99' }, message: 'the new public address is published' },
    ]);
    await pass(10 * TTL);
    await expectMoved();
    expect(history).toEqual([NEXT_VALUE]);
  });

  it('that a list or the watch tells before etcd has answered is not written back', async () => {
    const update = registry.updateLease;
    let answer: () => void = () => undefined;
    vi.spyOn(registry, 'updateLease').mockImplementationOnce(async (...written) => {
      const holding = await update(...written);
      // etcd's answer comes after another request, the revocation of the old TTL.
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return holding;
    });
    keeper.publish({ publicIp: NEXT });
    await pass(0);
    keeper.ownKeySeen(await own());
    await pass(0.5);
    keeper.ownKeySeen(await own());
    answer();
    await pass(5);
    await expectMoved();
    expect(history).toEqual([NEXT_VALUE]);
    expect(keeper.recoveries()).toBe(0);
  });

  it('stands against a list that was taken before it and is told after it', async () => {
    const old = await own();
    keeper.publish({ publicIp: NEXT });
    await pass(0);
    keeper.ownKeySeen(old);
    await pass(5);
    await expectMoved();
    expect(history).toEqual([NEXT_VALUE]);
  });

  it('whose answer is lost is looked up, and the old address never written again', async () => {
    const update = registry.updateLease;
    vi.spyOn(registry, 'updateLease').mockImplementationOnce(async (...written) => {
      await update(...written);
      throw unavailable();
    });
    keeper.publish({ publicIp: NEXT });
    await pass(5);
    await expectMoved();
    expect(new Set(history)).toEqual(new Set([NEXT_VALUE]));
    expect(warningsOf(log)[0].fields).toMatchObject({ reason: unavailable().message });
  });

  it('waits for etcd', async () => {
    const lists = vi.spyOn(registry, 'listLeases').mockRejectedValue(unavailable());
    keeper.publish({ publicIp: NEXT });
    await pass(10);
    keeper.ownKeySeen({ name: NAME, value: MY_VALUE, ...initial }); // the old one is still ours
    lists.mockRestore();
    await pass(5);
    await expectMoved();
  });

  it('of two in a row ends with the last', async () => {
    keeper.publish({ publicIp: ip('10.1.1.98') });
    keeper.publish({ publicIp: NEXT });
    await pass(5);
    await expectMoved();
  });

  it('leaves a reservation without a TTL', async () => {
    registry.putRaw(NAME, MY_VALUE);
    keeper.ownKeySeen(await own());
    keeper.publish({ publicIp: NEXT });
    await pass(5);
    expect(await own()).toMatchObject({ value: NEXT_VALUE, ttlId: NO_TTL });
  });

  it('does not take a subnet that is another node by now', async () => {
    registry.putRaw(NAME, peerValue('10.1.1.77'), TTL);
    keeper.publish({ publicIp: NEXT });
    await pass(5);
    expect(lost).toHaveLength(1);
    expect((await own())?.value).toBe(peerValue('10.1.1.77'));
  });
});

describe('what the own key says of our backend', () => {
  const MAPPED_VALUE = formatLeaseValue({ ...ME, backend: udp(true) });

  it('is put right once when it is not so, with a word, and is no recovery', async () => {
    await registry.updateLease((await own())!, MAPPED_VALUE, undefined);
    keeper.ownKeySeen(await own());
    await pass(5);
    expect(await own()).toMatchObject({ value: MY_VALUE, ttlId: NO_TTL });
    expect(history).toEqual([MAPPED_VALUE, MY_VALUE]);
    expect(keeper.recoveries()).toBe(0);
    expect(lost).toEqual([]);
    expect(log.lines).toMatchObject([{ fields: { type: 'udp', data: {} }, message: /says of itself/ }]);
  });

  it.each([
    { host: 'alpha' },
    { version: '2.0.0' },
  ])('is the name and version of the process that runs: %j', async (is) => {
    keeper.stop();
    keeper = keep(keeper.holding(), { ...ME, ...is });
    keeper.ownKeySeen(await own());
    await pass(5);
    expect((await own())?.value).toBe(formatLeaseValue({ ...ME, ...is }));
  });

  it('goes with the node to another address', async () => {
    keeper.stop();
    keeper = keep(keeper.holding(), { ...ME, backend: udp(true) });
    keeper.ownKeySeen(await own());
    await pass(5);
    expect((await own())?.value).toBe(MAPPED_VALUE);
    keeper.publish({ publicIp: NEXT });
    await pass(5);
    expect((await own())?.value).toBe(formatLeaseValue({ ...ME, publicIp: NEXT, backend: udp(true) }));
    expect(lost).toEqual([]);
  });
});

it('after a stop is settled only when the write under way has ended', async () => {
  const create = registry.createLease;
  let answer: () => void = () => undefined;
  vi.spyOn(registry, 'createLease').mockImplementationOnce(async (...written) => {
    await new Promise<void>((resolve) => {
      answer = resolve;
    });
    return create(...written);
  });
  registry.deleteRaw(NAME);
  keeper.ownKeySeen(undefined);
  await pass(0);
  keeper.stop();
  let settled = false;
  void keeper.settled().then(() => {
    settled = true;
  });
  await pass(1);
  expect(settled).toBe(false);
  answer();
  await pass(0);
  expect(settled).toBe(true);
  expect(await own()).toMatchObject(keeper.holding());
});

it('an address of ours that etcd commits long after nobody waited for it is put right, and no loss', async () => {
  registry.watch(initial.revision + 1, {
    opened: () => undefined,
    events: (events) => {
      for (const event of events) if (event.type === 'put') keeper.ownKeySeen(event.entry);
    },
    ended: () => undefined,
  });
  const update = registry.updateLease;
  let commit: () => Promise<unknown> = async () => undefined;
  vi.spyOn(registry, 'updateLease').mockImplementationOnce(async (...written) => {
    commit = () => update(...written);
    throw unavailable();
  });
  keeper.publish({ publicIp: NEXT });
  await pass(0);
  keeper.publish({ publicIp: ME.publicIp });
  await pass(1);
  expect((await own())?.value).toBe(MY_VALUE);

  await commit();
  await pass(1);
  expect(history).toEqual([NEXT_VALUE, MY_VALUE]);
  expect(lost).toEqual([]);
});

it('an address that was ours makes no key ours that flannel has written', async () => {
  keeper.publish({ publicIp: NEXT });
  await pass(1);
  await registry.updateLease((await own())!, formatReservationValue(ME.publicIp), TTL);
  keeper.ownKeySeen(await own());
  expect(lost).toHaveLength(1);
});
