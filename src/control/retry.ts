import { messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import type { RegistryKind } from '../core/registry-kind.js';
import { type Backoff, createBackoff } from './backoff.js';

/** A first retry soon, for a blip; later ones rare enough for an etcd that a whole cluster waits for. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5000;

export const createRetryBackoff = (): Backoff => createBackoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);

/** True for what passes by itself: an etcd that is down, slow or partitioned. */
export function isTransient(error: unknown): boolean {
  return error instanceof RudderError && error.code === 'registry-unavailable';
}

/** Waits for work unless the signal is aborted first: what is under way may take its deadline, a stop may not. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted);
    // A signal lives as long as the daemon: one listener more for each retry would add up.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}

/** Waits for work so long and no longer; it goes on, and is not waited for. @throws what `late` returns */
export function within<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
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
  store: RegistryKind,
): Promise<T> {
  const backoff = createRetryBackoff();
  const limit = createRepeatLimit();
  for (;;) {
    signal.throwIfAborted();
    try {
      return await unlessAborted(work(), signal);
    } catch (error) {
      if (!isTransient(error)) throw error;
      limit((suppressed) => log.warn({ what, reason: messageOf(error), suppressed }, `waiting for ${store}`));
    }
    await backoff.wait(signal);
  }
}
