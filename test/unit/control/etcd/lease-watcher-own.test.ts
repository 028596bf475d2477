import { beforeEach, describe, expect, it, vi } from 'vitest';
import { MY_VALUE, pass, peerValue, stateOf, unavailable } from './cluster.js';
import { createWatching, OWN, PEER, RECONNECT, RESYNC, type Watching } from './watching.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));

let t: Watching;
let { registry, log, stop, ownKeys, configs } = {} as Watching;

beforeEach(() => {
  vi.useFakeTimers();
  t = createWatching();
  ({ registry, log, stop, ownKeys, configs } = t);
  return () => {
    t.stop.abort();
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

describe('the own key', () => {
  it('is never a peer, in lists and in events, but is told', async () => {
    registry.putRaw(OWN, MY_VALUE, 1000);
    void t.start();
    await pass(0);
    expect(ownKeys).toMatchObject([{ name: OWN, value: MY_VALUE }]);
    await pass(RESYNC);
    expect(ownKeys).toHaveLength(2);
    registry.disconnect();
    await pass(RECONNECT);
    expect(ownKeys).toHaveLength(3);
    registry.putRaw(OWN, peerValue('10.1.1.77'));
    await pass(0);
    expect(ownKeys[3]).toMatchObject({ name: OWN, value: peerValue('10.1.1.77') });
    registry.deleteRaw(OWN);
    await pass(0);
    expect(ownKeys.slice(4)).toEqual([undefined]);
    expect(t.news()).toEqual([]);
  });

  it('that was deleted during a gap is told as gone', async () => {
    registry.putRaw(OWN, MY_VALUE);
    void t.start();
    await pass(0);
    registry.disconnect();
    registry.deleteRaw(OWN);
    await pass(RECONNECT);
    expect(ownKeys).toEqual([expect.objectContaining({ name: OWN }), undefined]);
  });
});

describe('the network config', () => {
  it('is told at first, and when it changes or goes', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16"}');
    void t.start();
    await pass(0);
    registry.putRaw('config', '{"Network":"10.99.0.0/16"}');
    registry.deleteRaw('config');
    await pass(0);
    expect(configs).toEqual(['{"Network":"10.240.0.0/16"}', '{"Network":"10.99.0.0/16"}', undefined]);
    expect(t.news()).toEqual([]);
  });

  it('is told when it changed during a gap', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16"}');
    void t.start();
    await pass(0);
    registry.disconnect();
    registry.putRaw('config', '{"Network":"10.99.0.0/16"}');
    await pass(2 * RESYNC);
    expect(configs.at(-1)).toBe('{"Network":"10.99.0.0/16"}');
  });
});

describe('an aborted signal', () => {
  it('ends the watch: nothing is told any more, and no timer is left', async () => {
    const done = stateOf(t.start());
    await pass(0);
    expect(done.settled).toBe(false);
    stop.abort();
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    await pass(2 * RESYNC);
    expect(done).toEqual({ settled: true, value: undefined });
    expect(t.news()).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    expect(log.lines).toEqual([]);
  });

  it('ends the wait for etcd', async () => {
    const lists = vi.spyOn(registry, 'listLeases').mockRejectedValue(unavailable());
    const done = stateOf(t.start());
    await pass(10);
    const before = lists.mock.calls.length;
    stop.abort();
    await pass(60);
    expect(done).toEqual({ settled: true, value: undefined });
    expect(lists).toHaveBeenCalledTimes(before);
  });

  it('during a list keeps it from being applied', async () => {
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    const done = stateOf(t.start());
    stop.abort();
    await pass(0);
    expect(done.settled).toBe(true);
    expect(t.listed).toBe(0);
    expect(t.news()).toEqual([]);
  });

  it('by what a list tells ends the watch too', async () => {
    registry.putRaw(PEER, peerValue('10.1.1.77'));
    t.onPeers = () => stop.abort();
    const done = stateOf(t.start());
    await pass(1);
    expect(done.settled).toBe(true);
  });
});
