import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Status } from '../../../src/ops/status.js';
import { createStatusViews, VIEWS } from '../../../src/ops/status-views.js';
import { createStatus } from '../../helpers/status.js';

/** How often the node was looked at. */
let looks: number;
let read: () => Promise<Status | string>;
const views = () =>
  createStatusViews(
    () => {
      looks++;
      return read();
    },
    ({ uptimeSeconds }) => ({ uptimeSeconds }),
  );

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  looks = 0;
  read = async () => createStatus({ uptimeSeconds: looks });
});
afterEach(() => void vi.useRealTimers());

describe('what is told of the status', () => {
  it('comes from one look a second, whoever asks, and each view is made once of it', async () => {
    const { answer } = views();
    const first = await answer('/status', false);
    await vi.advanceTimersByTimeAsync(999);
    expect(
      (await Promise.all(Array.from({ length: 100 }, () => answer('/status', false)))).every((a) => a === first),
    ).toBe(true);
    for (const view of VIEWS) expect(await answer(view, false)).toBe(await answer(view, false));
    expect(looks).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(JSON.parse((await answer('/status', false)).body.toString()).uptimeSeconds).toBe(2);
    expect(looks).toBe(2);
  });

  it('is no older than the question for who wants that, and still takes one look a second', async () => {
    const { answer } = views();
    await answer('/status', false);
    await vi.advanceTimersByTimeAsync(300);
    const fresh = Promise.all(Array.from({ length: 10 }, () => answer('/status', true)));
    await vi.advanceTimersByTimeAsync(699);
    expect(looks).toBe(1);
    await vi.advanceTimersByTimeAsync(2);
    for (const { body } of await fresh) expect(JSON.parse(body.toString()).uptimeSeconds).toBe(2);
    expect(looks).toBe(2);
  });

  it('follows a start more closely', async () => {
    let phase = 'leasing a subnet';
    read = async () => phase;
    const { answer } = views();
    expect((await answer('/status', false)).body.toString()).toBe('{"starting":"leasing a subnet"}\n');
    phase = 'waiting';
    await vi.advanceTimersByTimeAsync(100);
    expect((await answer('/readyz', false)).body.toString()).toContain('starting: waiting');
    read = async () => createStatus();
    await vi.advanceTimersByTimeAsync(100);
    expect((await answer('/readyz', false)).code).toBe(200);
  });

  it('does not look again while a look hangs, and tells everybody so', async () => {
    let end: (status: Status) => void = () => undefined;
    read = () => new Promise((resolve) => (end = resolve));
    const { answer } = views();
    for (let i = 0; i < 3; i++) {
      const refusals = [answer('/healthz', false), answer('/metrics', true), answer('/status', true)].map((asked) =>
        expect(asked).rejects.toThrow('the status was not there within 4 s'),
      );
      await vi.advanceTimersByTimeAsync(4000);
      await Promise.all(refusals);
    }
    expect(looks).toBe(1);
    read = async () => createStatus();
    end(createStatus());
    await vi.advanceTimersByTimeAsync(0);
    expect((await answer('/healthz', false)).code).toBe(200);
  });

  it('does not look again at once after a look has failed', async () => {
    read = async () => {
      throw new Error('no');
    };
    const { answer } = views();
    for (let i = 0; i < 100; i++) await expect(answer('/status', false)).rejects.toThrow('no');
    expect(looks).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    read = async () => createStatus();
    expect((await answer('/status', false)).code).toBe(200);
  });
});
