import { RudderError } from '../core/errors.js';
import { within } from './retry.js';

/** A store that takes longer does not answer; containers wait meanwhile. */
export const PATIENCE_MS = 2000;
const LEAST_PATIENCE_MS = 500;

/** What is left of the patience of a start that has waited already, for a name server say. */
export function patienceLeft(waitedMs: number): number {
  return Math.max(LEAST_PATIENCE_MS, PATIENCE_MS - waitedMs);
}

/**
 * @param store what is asked, such as `etcd`
 * @throws RudderError `registry-unavailable` if it takes too long; what is under way goes on, and is not waited for
 */
export function withinPatience<T>(store: string, work: Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const text = `${store} has not answered within ${Math.round(patienceMs) / 1000} s`;
  return within(patienceMs, work, () => new RudderError('registry-unavailable', text));
}
