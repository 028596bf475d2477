import { beforeEach, describe, expect, it, vi } from 'vitest';
import { formatReservationValue } from '../../../../src/core/lease.js';
import { ip, pass, peerValue, unavailable, warningsOf } from './cluster.js';
import { createWatching, OTHER, PEER, RECONNECT, RESYNC, type Watching } from './watching.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));

let t: Watching;
let { registry, log } = {} as Watching;

beforeEach(() => {
  vi.useFakeTimers();
  t = createWatching();
  ({ registry, log } = t);
  return () => {
    t.stop.abort();
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

describe('peers', () => {
  it('are listed first, then watched', async () => {
    registry.putRaw(PEER, peerValue('10.1.1.77'), 60);
    t.onPeers = () => expect(t.listed).toBe(0);
    void t.start();
    await pass(0);
    expect(t.listed).toBe(1);
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77']);
    t.onPeers = () => undefined;

    registry.putRaw(OTHER, peerValue('10.1.1.99'));
    registry.putRaw(PEER, peerValue('10.1.1.78'));
    registry.deleteRaw(OTHER);
    await pass(0);
    expect(t.news()).toEqual([
      'added 10.240.99.0/24 10.1.1.99',
      'changed 10.240.77.0/24 10.1.1.78',
      'removed 10.240.99.0/24 10.1.1.99',
    ]);
    expect(log.lines).toEqual([]);
  });

  it('are told as reserved while nobody has taken a key without a TTL', async () => {
    const reservation = formatReservationValue(ip('10.1.1.77'));
    registry.putRaw(PEER, reservation);
    registry.putRaw(OTHER, formatReservationValue(ip('10.1.1.99')), 60);
    void t.start();
    await pass(0);
    // With a TTL it is a lease of flannel's.
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77, reserved', 'added 10.240.99.0/24 10.1.1.99']);
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    registry.putRaw(PEER, peerValue('10.1.1.77'), 60);
    registry.putRaw(PEER, reservation);
    await pass(0);
    expect(t.news()).toEqual(['changed 10.240.77.0/24 10.1.1.77', 'changed 10.240.77.0/24 10.1.1.77, reserved']);
  });

  it('that come between the list and the watch are not missed', async () => {
    const list = registry.listLeases;
    vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      registry.putRaw(PEER, peerValue('10.1.1.77'));
      return seen;
    });
    void t.start();
    await pass(0);
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77']);
    expect(registry.listLeases).toHaveBeenCalledTimes(1);
  });

  it('that only renew or rename themselves are no news', async () => {
    registry.putRaw(PEER, peerValue('10.1.1.77', 'a'));
    void t.start();
    await pass(0);
    t.news();
    registry.putRaw(PEER, peerValue('10.1.1.77', 'a'));
    registry.putRaw(PEER, peerValue('10.1.1.77', 'b'));
    await pass(2 * RESYNC);
    expect(t.news()).toEqual([]);
  });

  it('that changed, came or left during a gap are told by value, and the others are not', async () => {
    for (const [name, address] of [
      [PEER, '10.1.1.77'],
      [OTHER, '10.1.1.99'],
      ['10.240.5.0-24', '10.1.1.5'],
    ]) {
      registry.putRaw(name, peerValue(address));
    }
    void t.start();
    await pass(0);
    expect(t.news()).toHaveLength(3);
    registry.disconnect();
    registry.putRaw(PEER, peerValue('10.1.1.78'));
    registry.deleteRaw(OTHER);
    registry.putRaw('10.240.6.0-24', peerValue('10.1.1.6'));
    await pass(RECONNECT);
    const removed = 'removed 10.240.99.0/24 10.1.1.99';
    const [changed, added] = ['changed 10.240.77.0/24 10.1.1.78', 'added 10.240.6.0/24 10.1.1.6'];
    expect(t.news()).toEqual([removed, changed, added]);
    expect(warningsOf(log)).toMatchObject([{ fields: { reason: 'connection lost' } }]);

    registry.deleteRaw(PEER);
    await pass(0);
    expect(t.news()).toEqual(['removed 10.240.77.0/24 10.1.1.78']);
  });

  it('are listed again after a compaction', async () => {
    const list = registry.listLeases;
    const lists = vi.spyOn(registry, 'listLeases').mockImplementationOnce(async () => {
      const seen = await list();
      // Two changes: etcd still serves the compacted revision itself.
      registry.putRaw(PEER, peerValue('10.1.1.76'));
      registry.putRaw(PEER, peerValue('10.1.1.77'));
      registry.compact();
      return seen;
    });
    void t.start();
    await pass(RECONNECT);
    expect(lists).toHaveBeenCalledTimes(2);
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77']);
    expect(warningsOf(log)).toMatchObject([{ fields: { reason: expect.stringMatching(/compacted/) } }]);
    registry.deleteRaw(PEER);
    await pass(0);
    expect(t.news()).toEqual(['removed 10.240.77.0/24 10.1.1.77']);
  });

  it('are listed again at every resync, in case the watch missed something, and no watch is left behind', async () => {
    const watches = vi.spyOn(registry, 'watch');
    const lists = vi.spyOn(registry, 'listLeases');
    void t.start();
    await pass(RESYNC - 0.001);
    expect(lists).toHaveBeenCalledTimes(1);
    await pass(0.001 + 2 * RESYNC);
    expect(lists).toHaveBeenCalledTimes(4);
    expect(watches).toHaveBeenCalledTimes(4);
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    await pass(0);
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77']);
    expect(log.lines).toEqual([]);
  });

  it('are waited for while etcd is away, with one warning each half minute', async () => {
    const lists = vi.spyOn(registry, 'listLeases').mockRejectedValue(unavailable());
    void t.start();
    await pass(59);
    expect(t.listed).toBe(0);
    expect(lists.mock.calls.length).toBeGreaterThan(10);
    expect(warningsOf(log).length).toBeLessThanOrEqual(2);
    lists.mockRestore();
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    await pass(RECONNECT);
    expect(t.listed).toBe(1);
    expect(t.news()).toEqual(['added 10.240.77.0/24 10.1.1.77']);
  });

  it('are said to be listed once, not after every list', async () => {
    void t.start();
    await pass(3 * RESYNC);
    expect(t.listed).toBe(1);
  });
});

it('a watch that is refused again and again after a good list does not become a list every moment', async () => {
  vi.spyOn(registry, 'watch').mockImplementation((_, handler) => {
    queueMicrotask(() => handler.ended(unavailable()));
    return { close: () => undefined };
  });
  const lists = vi.spyOn(registry, 'listLeases');
  void t.start();
  await pass(60);
  const early = lists.mock.calls.length;
  await pass(60);
  const perMinute = lists.mock.calls.length - early;
  expect(perMinute).toBeGreaterThanOrEqual(10);
  expect(perMinute).toBeLessThanOrEqual(26);
});
