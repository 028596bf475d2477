import { describe, expect, it } from 'vitest';
import { createRateLimit } from '../../../src/core/rate-limit.js';

/** A limit of one per 1000 ms, and what it let through at which time. */
function createObserved() {
  const told: { at: number; suppressed: number }[] = [];
  let at = 0;
  const limit = createRateLimit(1000, () => at);
  const callAt = (time: number) => {
    at = time;
    limit((suppressed) => told.push({ at, suppressed }));
  };
  return { told, callAt };
}

describe('rate limit', () => {
  it('passes the first few calls of each interval if told to', () => {
    const told: string[] = [];
    let at = 0;
    const limit = createRateLimit(1000, () => at, 3);
    for (at = 0; at < 2000; at += 200) limit((suppressed) => told.push(`${at}: ${suppressed}`));
    expect(told).toEqual(['0: 0', '200: 0', '400: 0', '1000: 2', '1200: 0', '1400: 0']);
  });

  it('passes the first call, whatever the clock says', () => {
    const { told, callAt } = createObserved();
    callAt(-5_000_000);
    expect(told).toEqual([{ at: -5_000_000, suppressed: 0 }]);
  });

  it('passes one call in each interval and says how many it kept back', () => {
    const { told, callAt } = createObserved();
    for (const time of [0, 1, 999, 1000, 1001, 5000, 5999, 6000]) callAt(time);
    expect(told).toEqual([
      { at: 0, suppressed: 0 },
      { at: 1000, suppressed: 2 },
      { at: 5000, suppressed: 1 },
      { at: 6000, suppressed: 1 },
    ]);
  });

  it('starts the interval at the call that passed, not at a fixed beat', () => {
    const { told, callAt } = createObserved();
    for (const time of [0, 1700, 2000, 2699, 2700]) callAt(time);
    expect(told.map(({ at }) => at)).toEqual([0, 1700, 2700]);
  });

  it('keeps limits apart', () => {
    const [one, other] = [createObserved(), createObserved()];
    one.callAt(0);
    other.callAt(1);
    expect([one.told.length, other.told.length]).toEqual([1, 1]);
  });
});
