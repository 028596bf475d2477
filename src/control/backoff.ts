import { setTimeout as delay } from 'node:timers/promises';

export interface Backoff {
  /** Waits the next, longer time. Rejects with the signal's reason when aborted. */
  wait(signal: AbortSignal): Promise<void>;
  /** After a success: the next wait is the shortest again. */
  reset(): void;
}

/**
 * Doubling waits with full jitter in the upper half, so that many nodes that lost one etcd do not return in step.
 * @param firstMs length of the first wait at most; @param maxMs length of any wait at most
 */
export function createBackoff(firstMs: number, maxMs: number, random: () => number = Math.random): Backoff {
  let current = firstMs;
  return {
    async wait(signal) {
      const ms = current * (0.5 + random() / 2);
      current = Math.min(maxMs, current * 2);
      await delay(ms, undefined, { signal }).catch((error: unknown) => {
        signal.throwIfAborted();
        throw error;
      });
    },
    reset() {
      current = firstMs;
    },
  };
}
