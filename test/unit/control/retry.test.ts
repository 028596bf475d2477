import { beforeEach, describe, expect, it, vi } from 'vitest';
import { isTransient, retryWhileUnavailable } from '../../../src/control/retry.js';
import { RudderError } from '../../../src/core/errors.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';
import { pass, refused, stateOf, unavailable, warningsOf } from './etcd/cluster.js';

vi.mock('node:timers/promises', () => import('./fake-delay.js'));

let log: RecordingLog;
let stop: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  log = createRecordingLog();
  stop = new AbortController();
  return () => {
    stop.abort();
    vi.useRealTimers();
  };
});

const start = <T>(work: () => Promise<T>) => stateOf(retryWhileUnavailable('leases', work, log, stop.signal, 'etcd'));

it('only an etcd that is unavailable passes by itself', () => {
  expect(isTransient(unavailable())).toBe(true);
  for (const error of [
    refused(),
    new RudderError('lease-conflict', 'x'),
    new Error('registry-unavailable'),
    undefined,
  ]) {
    expect(isTransient(error)).toBe(false);
  }
});

describe('retryWhileUnavailable', () => {
  it('answers what the work answers, at once and without a word', async () => {
    const work = vi.fn(async () => 42);
    const state = start(work);
    await pass(0);
    expect(state).toEqual({ settled: true, value: 42 });
    expect(work).toHaveBeenCalledTimes(1);
    expect(log.lines).toEqual([]);
  });

  it('tries again until it works', async () => {
    const work = vi.fn(async () => 'done');
    for (let i = 0; i < 3; i++) work.mockRejectedValueOnce(unavailable());
    const state = start(work);
    await pass(0.09);
    expect(work).toHaveBeenCalledTimes(1);
    await pass(1.4);
    expect(state).toEqual({ settled: true, value: 'done' });
    expect(work).toHaveBeenCalledTimes(4);
    expect(warningsOf(log)).toEqual([
      {
        level: 'warn',
        message: 'waiting for etcd',
        fields: { what: 'leases', reason: unavailable().message, suppressed: 0 },
      },
    ]);
  });

  it('leaves nothing on the signal for each try, which would add up', async () => {
    const work = vi.fn().mockRejectedValue(unavailable());
    const [added, removed] = [vi.spyOn(stop.signal, 'addEventListener'), vi.spyOn(stop.signal, 'removeEventListener')];
    start(work);
    await pass(300);
    expect(added.mock.calls.length).toBeGreaterThan(50);
    expect(added.mock.calls.length - removed.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it('asks an etcd that stays away every 2.5 to 5 s, and says so every half minute', async () => {
    const work = vi.fn().mockRejectedValue(unavailable());
    start(work);
    await pass(60);
    const early = work.mock.calls.length;
    await pass(600);
    const later = work.mock.calls.length - early;
    expect(later).toBeGreaterThanOrEqual(120);
    expect(later).toBeLessThanOrEqual(240);
    const told = warningsOf(log);
    expect(told.length).toBeGreaterThanOrEqual(19);
    expect(told.length).toBeLessThanOrEqual(23);
    const counted = told.map(({ fields }) => (fields as { suppressed: number }).suppressed + 1);
    expect(counted.reduce((sum, n) => sum + n, 0)).toBeLessThanOrEqual(early + later);
    expect(counted.reduce((sum, n) => sum + n, 0)).toBeGreaterThan(early + later - 15);
  });

  it.each([refused(), new TypeError('a bug')])('throws anything else at once: %s', async (error) => {
    const work = vi.fn().mockRejectedValue(error);
    const state = start(work);
    await pass(0);
    expect(state.error).toBe(error);
    expect(work).toHaveBeenCalledTimes(1);
    expect(log.lines).toEqual([]);
  });

  it('throws what is not transient after what was', async () => {
    const error = refused();
    const state = start(vi.fn().mockRejectedValueOnce(unavailable()).mockRejectedValue(error));
    await pass(1);
    expect(state.error).toBe(error);
  });

  it("does not begin after an abort, and throws the signal's reason", async () => {
    const reason = new Error('the daemon stops');
    stop.abort(reason);
    const work = vi.fn(async () => 42);
    const state = start(work);
    await pass(0);
    expect(state.error).toBe(reason);
    expect(work).not.toHaveBeenCalled();
  });

  it("ends its wait on an abort, and throws the signal's reason", async () => {
    const reason = new Error('the daemon stops');
    const work = vi.fn().mockRejectedValue(unavailable());
    const state = start(work);
    await pass(10);
    const before = work.mock.calls.length;
    stop.abort(reason);
    await pass(60);
    expect(work).toHaveBeenCalledTimes(before);
    expect(state.settled).toBe(true);
    expect(state.error).toBe(reason);
  });
});

it('says which store is waited for', async () => {
  const stop = new AbortController();
  const log = createRecordingLog();
  const away = async () => {
    throw new RudderError('registry-unavailable', 'away');
  };
  const waiting = retryWhileUnavailable('any answer', away, log, stop.signal, 'kubernetes');
  await vi.waitFor(() => expect(log.lines).toMatchObject([{ message: 'waiting for kubernetes' }]));
  stop.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow('stopped');
});

describe('an abort', () => {
  it('does not wait for a request that etcd does not answer', async () => {
    const stop = new AbortController();
    const waiting = retryWhileUnavailable(
      'x',
      () => new Promise<never>(() => undefined),
      createRecordingLog(),
      stop.signal,
      'etcd',
    );
    stop.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
  });
});
