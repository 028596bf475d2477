import { elapsedMs } from '../tables/clock.js';

/** Messages at once, and a second: enough for traceroute and a few confused hosts, too few to amplify anything. */
const BURST = 50;
const PER_SECOND = 100;
const MS_PER_TOKEN = 1000 / PER_SECOND;

/** Token bucket over the packet path's clock. */
export interface IcmpLimit {
  /** True if a message may be sent now. */
  take(nowMs: number): boolean;
}

export function createIcmpLimit(): IcmpLimit {
  let tokens = BURST;
  let filledAt = 0;
  return {
    take(nowMs) {
      const earned = (elapsedMs(filledAt, nowMs) / MS_PER_TOKEN) | 0;
      if (earned > 0) {
        tokens = Math.min(BURST, tokens + earned);
        filledAt = nowMs;
      }
      if (tokens === 0) return false;
      tokens--;
      return true;
    },
  };
}
