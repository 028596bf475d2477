import { correctKey, fieldsOf, type NetworkConfig, parseCommonConfig, withRemedy } from '../core/network-config.js';
import { settingsOf } from './kinds.js';

/**
 * The network config as a whole: what all backends share, checked in core, and the options of its own one.
 * @param remedy what to do about one that is not valid
 * @throws RudderError `network-config`
 */
export function parseNetworkConfig(json: string, remedy = correctKey('<prefix>/config')): NetworkConfig {
  const config = parseCommonConfig(json, remedy);
  try {
    settingsOf(config);
  } catch (error) {
    throw withRemedy(error, remedy);
  }
  return config;
}

/** Whether they mean the same, however they are written. */
export function isSameConfig(a: NetworkConfig, b: NetworkConfig): boolean {
  return differencesOf(a, b).length === 0;
}

/** What another config would change, such as `SubnetLen 24 becomes 26`. */
export function differencesOf(a: NetworkConfig, b: NetworkConfig): string[] {
  const [before, after] = [allFieldsOf(a), allFieldsOf(b)];
  return Object.keys(before).flatMap((name) =>
    before[name] === after[name] ? [] : [`${name} ${before[name]} becomes ${after[name] ?? 'of no meaning'}`],
  );
}

function allFieldsOf(config: NetworkConfig): Record<string, string | number | boolean> {
  const options = Object.entries(settingsOf(config).fields).map(([name, value]) => [`Backend.${name}`, value]);
  return { ...fieldsOf(config), ...Object.fromEntries(options) };
}
