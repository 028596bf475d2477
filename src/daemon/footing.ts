import { setTimeout as delay } from 'node:timers/promises';
import type { Registry } from '../control/registry.js';
import { isTransient } from '../control/retry.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { type NetworkConfig, parseNetworkConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import type { LastKnown } from '../system/last-known.js';
import { type ConfigPlace, waitForNetworkConfig } from './wait-for-config.js';

/** What a start builds on: what etcd says, or, while it does not answer, what the node knew when it last ran. */
export interface Footing {
  readonly config: NetworkConfig;
  readonly json: string;
  /** Undefined: etcd answers. */
  readonly known: LastKnown | undefined;
}

export interface FootingOptions {
  readonly registry: Registry;
  readonly place: ConfigPlace;
  /** Of which etcd what was last known must be. */
  readonly source: string;
  readonly lastKnown: LastKnown | undefined;
  readonly publicIp: Ipv4;
  readonly nodeId: string;
  readonly log: Logger;
}

/** An etcd that takes longer does not answer; containers wait meanwhile. */
const PATIENCE_MS = 2000;

/** @throws RudderError if the network config makes no sense, or etcd refuses us */
export async function findFooting(options: FootingOptions, signal: AbortSignal): Promise<Footing> {
  const { registry, place, lastKnown, log } = options;
  if (lastKnown !== undefined && isUsable(lastKnown, options) && !(await answers(registry))) {
    log.warn(
      { subnet: formatSubnet(lastKnown.subnet), peers: lastKnown.peers.length },
      'degraded: etcd does not answer, going on with the last known lease and peers',
    );
    return { config: parseNetworkConfig(lastKnown.configJson), json: lastKnown.configJson, known: lastKnown };
  }
  return { ...(await waitForNetworkConfig(registry, place, log, signal)), known: undefined };
}

/**
 * A lease that has run out may be another node's by now, peers know us by our address, the own key by our id, and another
 * etcd is another cluster.
 */
function isUsable({ validUntil, publicIp, nodeId, source }: LastKnown, now: FootingOptions): boolean {
  if (publicIp !== now.publicIp || nodeId !== now.nodeId || source !== now.source) return false;
  return validUntil === null || Date.now() < validUntil;
}

async function answers(registry: Registry): Promise<boolean> {
  const impatience = new AbortController();
  const silence = delay(PATIENCE_MS, false, { signal: impatience.signal }).catch(() => false);
  const answer = registry.getConfig().then(
    () => true,
    (error: unknown) => {
      // What the user must put right is not to be papered over.
      if (isTransient(error)) return false;
      throw error;
    },
  );
  try {
    return await Promise.race([answer, silence]);
  } finally {
    impatience.abort();
    answer.catch(() => undefined);
  }
}
