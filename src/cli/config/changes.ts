import { allFieldsOf, changesOf, type FieldChange } from '../../backend/config.js';
import { shorten } from '../../core/errors.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { HIDDEN, isSecretName, NO_SECRET } from '../../core/secrets.js';

/** What becomes what, a line each. @param before undefined: there is none with a meaning, and all of it is new */
export function changeLines(before: NetworkConfig | undefined, after: NetworkConfig, showsSecrets = false): string[] {
  if (before === undefined) return fieldLines(after, showsSecrets).map(([name, value]) => `${name} is ${value}`);
  return changesOf(before, after).map((change) => describe(change, showsSecrets));
}

function describe({ name, before, after }: FieldChange, showsSecrets: boolean): string {
  const text = (value: FieldChange['after']) => valueText(name, value, showsSecrets);
  if (before === undefined) return `${name} is ${text(after)}`;
  if (after === undefined) return `${name} ${text(before)} becomes of no meaning`;
  const isHidden = [before, after].every((value) => text(value) === HIDDEN);
  return isHidden ? `${name} becomes another one` : `${name} ${text(before)} becomes ${text(after)}`;
}

/** What a config says, with its defaults. */
export function fieldLines(config: NetworkConfig, showsSecrets: boolean): [name: string, value: string][] {
  return Object.entries(allFieldsOf(config)).map(([name, value]) => [name, valueText(name, value, showsSecrets)]);
}

function valueText(name: string, value: FieldChange['after'], showsSecrets: boolean): string {
  const isHidden = isSecretName(name) && value !== NO_SECRET && !showsSecrets;
  return isHidden ? HIDDEN : shorten(String(value), 200);
}
