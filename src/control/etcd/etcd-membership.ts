import { createHistogram } from '../../core/histogram.js';
import { formatIpv4 } from '../../core/ipv4.js';
import type { Logger } from '../../core/logger.js';
import type { Membership } from '../membership.js';
import { withinPatience } from '../patience.js';
import { createEtcdRegistry } from './etcd-registry.js';
import { toEtcdHolding } from './holding.js';
import { impatient } from './impatient.js';
import { keepJoined } from './joined.js';
import { acquireLease } from './lease-acquisition.js';
import { loggedRegistry, REQUEST_BOUNDS } from './logged-registry.js';
import type { EtcdOptions } from './options.js';
import { sourceOf } from './source.js';

/** Nodes belong by a key with a TTL each, as flannel's do. @param ttlSeconds of each TTL that is asked for */
export function joinByEtcd(options: EtcdOptions, ttlSeconds: number, log: Logger): Membership {
  const times = createHistogram(REQUEST_BOUNDS);
  const registry = loggedRegistry(createEtcdRegistry(options, log), log, times);
  const { endpoints, prefix, flags } = options;
  return {
    kind: 'etcd',
    endpoints,
    source: sourceOf(endpoints, prefix),
    configPlace: { key: `${prefix}/config`, flags },
    getConfig(patienceMs) {
      const answer = registry.getConfig();
      return patienceMs === undefined ? answer : withinPatience('etcd', answer, patienceMs);
    },
    flawOf({ holding, publicIp }, now) {
      if (toEtcdHolding(holding) === undefined) return 'what it holds is not of etcd';
      // Peers know us by it.
      if (publicIp === now) return undefined;
      return `it is of another public address: ${formatIpv4(publicIp)}, and now ${formatIpv4(now)}`;
    },
    join(wanted, signal) {
      const asked = wanted.isHasty ? impatient(registry) : registry;
      return acquireLease({ ...wanted, registry: asked, ttlSeconds, log }, signal);
    },
    keep: (joined) => keepJoined({ ...joined, registry, ttlSeconds, log }),
    reconnect: registry.reconnect,
    certificates: registry.certificates,
    requestTimes: times.counts,
    close: registry.close,
  };
}
