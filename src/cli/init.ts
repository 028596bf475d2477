import { isSameConfig, parseNetworkConfig } from '../backend/config.js';
import { parseNewNetworkConfig } from '../backend/new-config.js';
import { createEtcdRegistry } from '../control/etcd/etcd-registry.js';
import type { Registry } from '../control/etcd/registry.js';
import { messageOf, RudderError, shorten } from '../core/errors.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import { type RawEtcdOptions, toEtcdOptions } from './etcd-options.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder init JSON`: creates the network config. Again with the same one it changes nothing and is content. */
export async function init(json: string, raw: RawEtcdOptions): Promise<number> {
  const config = parseNewNetworkConfig(json);
  const etcd = toEtcdOptions(raw);
  const registry = createEtcdRegistry(etcd);
  try {
    process.stdout.write(`${await createConfig(registry, `${etcd.prefix}/config`, config, json)}\n`);
    return EXIT_OK;
  } finally {
    registry.close();
  }
}

/**
 * @returns what was done
 * @throws RudderError `config-exists` if there is another config: a running cluster's is not changed in passing
 */
export async function createConfig(
  registry: Registry,
  key: string,
  config: NetworkConfig,
  json: string,
): Promise<string> {
  const meaning = `Network ${formatSubnet(config.network)}, a /${config.subnetLength} for each node`;
  if (await registry.createConfig(json)) return `created ${key}: ${meaning}`;
  const existing = await registry.getConfig();
  if (existing === undefined) throw otherConfig(key, 'a config that somebody has deleted at this moment', 'try again');
  let found: NetworkConfig;
  try {
    found = parseNetworkConfig(existing, 'correct it with etcdctl');
  } catch (error) {
    throw otherConfig(key, `what is no config (${messageOf(error)})`, 'it is left as it is');
  }
  if (isSameConfig(found, config)) return `${key} holds this config already: ${meaning}`;
  throw otherConfig(
    key,
    `another config, ${shorten(existing, 300)}`,
    'it is left as it is; change it with etcdctl, and restart every node',
  );
}

function otherConfig(key: string, holds: string, remedy: string): RudderError {
  return new RudderError('config-exists', `${key} holds ${holds}: expected none, or the same one; ${remedy}`);
}
