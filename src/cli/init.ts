import { isSameConfig, parseNetworkConfig } from '../backend/config.js';
import { parseNewNetworkConfig } from '../backend/new-config.js';
import type { Administration } from '../control/administration.js';
import { openAdministration } from '../control/open.js';
import { rudderCommand } from '../core/command-line.js';
import { messageOf, RudderError, shorten } from '../core/errors.js';
import type { NetworkConfig } from '../core/network-config.js';
import { redactJson } from '../core/secrets.js';
import { formatSubnet } from '../core/subnet.js';
import { noteOf } from './config/history.js';
import { EXIT_OK } from './exit-codes.js';
import { type RawRegistryOptions, toRegistryOptions } from './registry-options.js';

/** `rudder init JSON`: creates the network config. Again with the same one it changes nothing and is content. */
export async function init(json: string, raw: RawRegistryOptions): Promise<number> {
  const config = parseNewNetworkConfig(json);
  const administration = await openAdministration(toRegistryOptions(raw));
  try {
    process.stdout.write(`${await createConfig(administration, config, json)}\n`);
    return EXIT_OK;
  } finally {
    administration.close();
  }
}

/**
 * @returns what was done
 * @throws RudderError `config-exists` if there is another config: a running cluster's is not changed in passing
 */
export async function createConfig(
  administration: Pick<Administration, 'configPlace' | 'createConfig' | 'getConfig'>,
  config: NetworkConfig,
  json: string,
): Promise<string> {
  const { key } = administration.configPlace;
  const meaning = `Network ${formatSubnet(config.network)}, a /${config.subnetLength} for each node`;
  if (await administration.createConfig(json, noteOf(undefined, json))) return `created ${key}: ${meaning}`;
  const existing = await administration.getConfig();
  if (existing === undefined) throw otherConfig(key, 'a config that somebody has deleted at this moment', 'try again');
  let found: NetworkConfig;
  try {
    found = parseNetworkConfig(existing, 'see docs/configuration.md');
  } catch (error) {
    const whole = rudderCommand(['config', 'set', json], administration.configPlace);
    throw otherConfig(key, `what is no config (${messageOf(error)})`, `it is left as it is; replace it with ${whole}`);
  }
  if (isSameConfig(found, config)) return `${key} holds this config already: ${meaning}`;
  throw otherConfig(
    key,
    `another config, ${shorten(redactJson(existing), 300)}`,
    `it is left as it is; change it with ${rudderCommand(['config', 'set', 'KEY', 'VALUE'], administration.configPlace)}, and restart every node`,
  );
}

function otherConfig(key: string, holds: string, remedy: string): RudderError {
  return new RudderError('config-exists', `${key} holds ${holds}: expected none, or the same one; ${remedy}`);
}
