import { withinPatience } from '../patience.js';
import type { Registry } from './registry.js';

/** The registry, with requests that fail when etcd is silent for too long: for a start that has something to go on with. */
export function impatient(registry: Registry): Registry {
  const limited =
    <A extends unknown[], T>(request: (...args: A) => Promise<T>) =>
    (...args: A) =>
      withinPatience('etcd', request(...args));
  return {
    ...registry,
    listLeases: limited(registry.listLeases),
    createLease: limited(registry.createLease),
    updateLease: limited(registry.updateLease),
    deleteLease: limited(registry.deleteLease),
    timeToLive: limited(registry.timeToLive),
  };
}
