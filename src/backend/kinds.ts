import { quote } from '../core/errors.js';
import { invalid, type NetworkConfig } from '../core/network-config.js';
import type { BackendKind, BackendSettings } from './kind.js';
import { udp } from './udp/kind.js';

/** All that there are. */
export const KINDS: readonly BackendKind[] = [udp];

/** @throws RudderError `network-config` if there is no such kind, or its options make no sense */
export function settingsOf(config: NetworkConfig): BackendSettings {
  const { type } = config.backend;
  const kind = KINDS.find((candidate) => candidate.type === type);
  if (kind === undefined) throw invalid(`Backend.Type ${quote(type)}`, namesOf(KINDS));
  return kind.configure(config);
}

function namesOf(kinds: readonly BackendKind[]): string {
  const names = kinds.map(({ type }) => `"${type}"`);
  return names.length === 1 ? `the only backend here, ${names[0]}` : `one of ${names.join(', ')}`;
}
