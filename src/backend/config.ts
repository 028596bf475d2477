import { correctKey, fieldsOf, type NetworkConfig, parseCommonConfig, withRemedy } from '../core/network-config.js';
import { settingsOf } from './kinds.js';

/**
 * The network config as a whole: what all backends share, checked in core, and the options of its own one.
 * @param remedy what to do about one that is not valid
 * @throws RudderError `network-config`
 */
export function parseNetworkConfig(json: string, remedy = correctKey()): NetworkConfig {
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
  return changesOf(a, b).flatMap(({ name, before, after = 'of no meaning' }) =>
    before === undefined ? [] : [`${name} ${before} becomes ${after}`],
  );
}

/** A field of the config, and what it is before and after; undefined: it has no meaning, its backend is another. */
export interface FieldChange {
  readonly name: string;
  readonly before: Field | undefined;
  readonly after: Field | undefined;
}

type Field = string | number | boolean;

export function changesOf(a: NetworkConfig, b: NetworkConfig): FieldChange[] {
  const [before, after] = [allFieldsOf(a), allFieldsOf(b)];
  return Object.keys({ ...before, ...after })
    .filter((name) => before[name] !== after[name])
    .map((name) => ({ name, before: before[name], after: after[name] }));
}

/** What it says, with the defaults of what it does not say. */
export function allFieldsOf(config: NetworkConfig): Record<string, Field> {
  const options = Object.entries(settingsOf(config).fields).map(([name, value]) => [`Backend.${name}`, value]);
  return { ...fieldsOf(config), ...Object.fromEntries(options) };
}
