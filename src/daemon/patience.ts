import type { Registry } from '../control/etcd/registry.js';
import { within } from '../control/retry.js';
import { RudderError } from '../core/errors.js';

/** An etcd that takes longer does not answer; containers wait meanwhile. */
const PATIENCE_MS = 2000;
const LEAST_PATIENCE_MS = 500;

/** What is left of the patience of a start that has waited already, for a name server say. */
export function patienceLeft(waitedMs: number): number {
  return Math.max(LEAST_PATIENCE_MS, PATIENCE_MS - waitedMs);
}

/** The registry, with requests that fail when etcd is silent for too long: for a start that has something to go on with. */
export function impatient(registry: Registry, patienceMs = PATIENCE_MS): Registry {
  const limited =
    <A extends unknown[], T>(request: (...args: A) => Promise<T>) =>
    (...args: A) =>
      withinPatience(request(...args), patienceMs);
  return {
    ...registry,
    getConfig: limited(registry.getConfig),
    listLeases: limited(registry.listLeases),
    createLease: limited(registry.createLease),
    updateLease: limited(registry.updateLease),
    deleteLease: limited(registry.deleteLease),
    timeToLive: limited(registry.timeToLive),
  };
}

/** @throws RudderError `etcd-unavailable` if it takes too long; what is under way goes on, and is not waited for */
export function withinPatience<T>(work: Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const text = `etcd has not answered within ${Math.round(patienceMs) / 1000} s`;
  return within(patienceMs, work, () => new RudderError('etcd-unavailable', text));
}
