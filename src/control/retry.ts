import { messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRateLimit, REPEAT_INTERVAL_MS } from '../core/rate-limit.js';
import { type Backoff, createBackoff } from './backoff.js';

/** A first retry soon, for a blip; later ones rare enough for an etcd that a whole cluster waits for. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5000;

export const createRetryBackoff = (): Backoff => createBackoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);

/** @param burst how many lines of an interval are told */
export const createRepeatLimit = (burst = 1) => createRateLimit(REPEAT_INTERVAL_MS, () => performance.now(), burst);

/** True for what passes by itself: an etcd that is down, slow or partitioned. */
export function isTransient(error: unknown): boolean {
  return error instanceof RudderError && error.code === 'etcd-unavailable';
}

/** Rejects with the signal's reason when it is aborted: what is under way may take its deadline, a stop may not. */
export function aborted(signal: AbortSignal): Promise<never> {
  const promise = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  promise.catch(() => undefined);
  return promise;
}

/** Of a clean stop's one second, what may be spent on telling etcd. */
const LAST_WORD_MS = 500;

/** Resolves when that is done or has failed, or when a stop cannot wait for it any longer. */
export function lastWord(work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, LAST_WORD_MS);
    const settled = () => {
      clearTimeout(timer);
      resolve();
    };
    work.then(settled, settled);
  });
}

/**
 * Tries until it works. Transient failures are logged at a bounded rate and retried with backoff; anything else,
 * and the signal's reason, is thrown.
 */
export async function retryWhileUnavailable<T>(
  what: string,
  work: () => Promise<T>,
  log: Logger,
  signal: AbortSignal,
): Promise<T> {
  const backoff = createRetryBackoff();
  const limit = createRepeatLimit();
  for (;;) {
    signal.throwIfAborted();
    try {
      return await Promise.race([work(), aborted(signal)]);
    } catch (error) {
      if (!isTransient(error)) throw error;
      limit((suppressed) => log.warn({ what, reason: messageOf(error), suppressed }, 'waiting for etcd'));
    }
    await backoff.wait(signal);
  }
}
