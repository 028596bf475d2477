import type { Backend } from '../backend/backend.js';
import type { OwnLease } from '../control/lease-acquisition.js';
import { keepLease } from '../control/lease-keeper.js';
import { watchLeases } from '../control/lease-watcher.js';
import type { NodeIdentity } from '../control/ownership.js';
import { NO_TTL, type Registry } from '../control/registry.js';
import { aborted } from '../control/retry.js';
import { quote, type RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnet, formatSubnetKey } from '../core/subnet.js';

/** A complete list is compared by value this often even while the watch looks healthy. */
const RESYNC_MS = 3 * 60_000;
/** Of a clean stop's one second, what may be spent on telling etcd. */
const RELEASE_DEADLINE_MS = 500;

export interface LeaseControlOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  /** The text that `config` was parsed from. */
  readonly configJson: string;
  readonly identity: NodeIdentity;
  readonly own: OwnLease;
  readonly ttlSeconds: number;
  readonly backend: Pick<Backend, 'apply'>;
  readonly log: Logger;
}

export interface LeaseControl {
  /** Resolves when all peers are known; rejects when aborted or when the lease is lost before that. */
  listed(signal: AbortSignal): Promise<void>;
  /** Rejects when the subnet has gone to another node. */
  readonly lost: Promise<never>;
  /** Stops watching and keeping; the lease stays. */
  stop(): Promise<void>;
  /** Stops, and gives the subnet back, unless etcd does not answer soon: then the lease runs out by itself. */
  release(): Promise<void>;
}

/** Control's two loops, wired to the backend: peers become routes, and the own key is looked after. */
export function startLeaseControl(options: LeaseControlOptions): LeaseControl {
  const { registry, config, own, identity, ttlSeconds, backend, log } = options;
  const stopped = new AbortController();
  const name = formatSubnetKey(own.subnet);

  let onLost: (error: RudderError) => void = () => undefined;
  const lost = new Promise<never>((_, reject) => {
    onLost = reject;
  });
  lost.catch(() => undefined); // nobody may be waiting for it any more
  const keeper = keepLease(own.subnet, own.holding, { registry, identity, ttlSeconds, log, onLost });

  function onPeers(changes: LeaseChange[]): void {
    backend.apply(changes);
    for (const { type, lease } of changes) {
      log.info({ subnet: formatSubnet(lease.subnet), nextHop: formatIpv4(lease.publicIp) }, `peer ${type}`);
    }
  }

  function onConfig(json: string | undefined): void {
    if (json === options.configJson) return;
    if (json === undefined)
      log.warn({}, 'the network config has been deleted: this node goes on, a restart would wait for it');
    else log.warn({ config: quote(json) }, 'the network config has changed, restart rudder to apply it');
  }

  const listed = new Promise<void>((resolve) => {
    const watching = { registry, config, ownName: name, log, resyncMs: RESYNC_MS, onPeers, onConfig };
    void watchLeases({ ...watching, onOwnKey: keeper.ownKeySeen }, resolve, stopped.signal);
  });

  async function stop(): Promise<void> {
    stopped.abort();
    keeper.stop();
  }

  return {
    lost,
    listed: (signal) => Promise.race([listed, lost, aborted(signal)]),
    stop,
    async release() {
      await stop();
      if (keeper.holding().ttlId === NO_TTL) return; // a reservation is its operator's
      const released = registry.deleteLease({ name, revision: keeper.holding().revision }).catch(() => undefined);
      await Promise.race([released, new Promise((resolve) => setTimeout(resolve, RELEASE_DEADLINE_MS))]);
    },
  };
}
