import { createBackoff } from '../control/backoff.js';
import type { Registry } from '../control/registry.js';
import { retryWhileUnavailable } from '../control/retry.js';
import type { Logger } from '../core/logger.js';
import { type NetworkConfig, parseNetworkConfig } from '../core/network-config.js';
import { createRepeatLimit } from '../core/rate-limit.js';

/** Waits until etcd answers and somebody has created the network config. @throws RudderError if it makes no sense */
export async function waitForNetworkConfig(
  registry: Registry,
  configKey: string,
  log: Logger,
  signal: AbortSignal,
): Promise<{ config: NetworkConfig; json: string }> {
  const backoff = createBackoff(250, 2000);
  const limit = createRepeatLimit();
  for (;;) {
    const json = await retryWhileUnavailable('network config', () => registry.getConfig(), log, signal);
    if (json !== undefined) return { config: parseNetworkConfig(json), json };
    limit((suppressed) =>
      log.warn(
        { key: configKey, remedy: `rudder init '{"Network":"10.240.0.0/16"}'`, suppressed },
        'waiting for the network config: the key does not exist in etcd (v3 API)',
      ),
    );
    await backoff.wait(signal);
  }
}
