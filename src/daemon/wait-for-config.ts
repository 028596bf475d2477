import { createBackoff } from '../control/backoff.js';
import type { Registry } from '../control/registry.js';
import { retryWhileUnavailable } from '../control/retry.js';
import { rudderCommand } from '../core/command-line.js';
import type { Logger } from '../core/logger.js';
import { correctKey, type NetworkConfig, parseNetworkConfig } from '../core/network-config.js';
import { createRepeatLimit } from '../core/rate-limit.js';

/** Where the network config is, and the flags by which a command finds it. */
export interface ConfigPlace {
  readonly key: string;
  readonly flags?: readonly string[];
}

export const configPlaceOf = ({ prefix, flags }: { prefix: string; flags?: readonly string[] }): ConfigPlace => ({
  key: `${prefix}/config`,
  flags,
});

/** Waits until etcd answers and somebody has created the network config. @throws RudderError if it makes no sense */
export async function waitForNetworkConfig(
  registry: Registry,
  place: ConfigPlace,
  log: Logger,
  signal: AbortSignal,
): Promise<{ config: NetworkConfig; json: string }> {
  const backoff = createBackoff(250, 2000);
  const limit = createRepeatLimit();
  for (;;) {
    const json = await retryWhileUnavailable('network config', () => registry.getConfig(), log, signal);
    if (json !== undefined) return { config: parseNetworkConfig(json, correctKey(place.key)), json };
    limit((suppressed) =>
      log.warn(
        { key: place.key, remedy: rudderCommand(['init', '{"Network":"10.240.0.0/16"}'], place), suppressed },
        'waiting for the network config: the key does not exist in etcd (v3 API)',
      ),
    );
    await backoff.wait(signal);
  }
}
