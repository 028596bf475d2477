import { parseIpv4 } from '../core/address-text.js';
import { didYouMean } from '../core/closest.js';
import { quote, RudderError } from '../core/errors.js';
import { lowerCaseKeys } from '../core/go-json.js';
import { formatIpv4 } from '../core/ipv4.js';
import { CONFIG_KEYS, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import { parseNetworkConfig } from './config.js';
import { KINDS } from './kinds.js';

/**
 * A network config that is about to be written. What a daemon forgives in one that is there, as flannel does, is a slip
 * here: a key that nobody knows, a key given twice, a Network that is an address inside of it.
 * @param forgiven what `unknownKeys` said of the one that it replaces: it was not put there now
 * @throws RudderError `network-config`
 */
export function parseNewNetworkConfig(json: string, forgiven: readonly string[] = []): NetworkConfig {
  const config = parseNetworkConfig(json, 'correct it, see docs/configuration.md');
  const unknown = unknownKeys(json).filter((text) => !forgiven.includes(text));
  const [slip] = [...unknown, ...repeatedKeys(json)];
  if (slip !== undefined) throw refused(slip);
  const { network } = lowerCaseKeys(JSON.parse(json)) as { network: string };
  if (parseIpv4(network.split('/')[0]) !== config.network.address) {
    const { address, prefixLength } = config.network;
    throw refused(
      `Network ${quote(network)} is an address inside a /${prefixLength}, whose own is ${formatIpv4(address)}: expected ${quote(formatSubnet(config.network))}`,
    );
  }
  return config;
}

function refused(what: string): RudderError {
  return new RudderError('network-config', `network config: ${what}; correct it, see docs/configuration.md`);
}

/** Each key that has no meaning here, with what was probably meant. */
export function unknownKeys(json: string): string[] {
  const config = JSON.parse(json) as Record<string, unknown>;
  const inBackend = backendKeys(config);
  return objectsIn(config, inBackend).flatMap(([keys, path, known]) =>
    keys
      .filter((key) => !known.some((name) => isSame(name, key)))
      .map((key) => {
        const elsewhere = path === '' && inBackend.find((name) => isSame(name, key));
        const meant = elsewhere ? `, did you mean Backend.${elsewhere}?` : didYouMean(key, known);
        return `unknown key ${quote(`${path}${key}`)}${meant || `: expected one of ${known.join(', ')}`}`;
      }),
  );
}

/** Keys match in any case, so that one can be there in two spellings. */
function repeatedKeys(json: string): string[] {
  return objectsIn(JSON.parse(json), []).flatMap(([keys, path]) =>
    keys
      .filter((key, index) => keys.findIndex((other) => isSame(other, key)) < index)
      .map((key) => `key ${quote(`${path}${key}`)} is given twice`),
  );
}

type Keys = readonly [keys: string[], path: string, known: readonly string[]];

function objectsIn(config: Record<string, unknown>, inBackend: readonly string[]): Keys[] {
  const inner = Object.entries(config).filter(([key, value]) => isSame(key, 'Backend') && value !== null);
  return [
    [Object.keys(config), '', CONFIG_KEYS],
    ...inner.map(([, value]): Keys => [Object.keys(value as object), 'Backend.', inBackend]),
  ];
}

/** Those of its kind: what is no config as a whole may have slips too. */
function backendKeys(config: Record<string, unknown>): readonly string[] {
  const { backend } = lowerCaseKeys(config) as { backend?: unknown };
  const { type = 'udp' } = (lowerCaseKeys(backend) ?? {}) as { type?: unknown };
  return ['Type', ...(KINDS.find((kind) => kind.type === String(type).toLowerCase())?.keys ?? [])];
}

const isSame = (one: string, other: string) => one.toLowerCase() === other.toLowerCase();
