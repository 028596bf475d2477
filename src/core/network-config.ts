import { z } from 'zod';
import { parseIpv4, parseSubnet } from './address-text.js';
import { initCommand, rudderCommand } from './command-line.js';
import { quote, RudderError } from './errors.js';
import { lowerCaseKeys } from './go-json.js';
import { compareIpv4, formatIpv4, type Ipv4 } from './ipv4.js';
import { redactJson } from './secrets.js';
import { contains, formatSubnet, maskOf, type Subnet, subnetAt, subnetCount } from './subnet.js';

/** The cluster-wide configuration, from the key `<prefix>/config`. */
export interface NetworkConfig {
  readonly network: Subnet;
  /** Prefix length of every node's subnet. */
  readonly subnetLength: number;
  /** First and last subnet that may be leased at random, as their network addresses. */
  readonly subnetMin: Ipv4;
  readonly subnetMax: Ipv4;
  readonly backend: BackendConfig;
}

/** The config's `Backend`. What its options mean is for the backend of that type to say. */
export interface BackendConfig {
  /** In lower case. */
  readonly type: string;
  /** As written, but with keys in lower case. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Smallest MTU that IPv4 allows (RFC 791), and the largest inner packet that fits a UDP datagram (65535 - 20 - 8). */
export const MIN_MTU = 68;
export const MAX_MTU = 65507;

/** True if some node's subnet holds the address: then packets for it go into the overlay, not under it. */
export function isLeasable(config: NetworkConfig, address: Ipv4): boolean {
  const last = config.subnetMax | ~maskOf(config.subnetLength);
  return compareIpv4(address, config.subnetMin) >= 0 && compareIpv4(address, last) <= 0;
}

/** Which keys there are, and how they are written. Those of `Backend` beside its Type are its kind's. */
export const CONFIG_KEYS = ['Network', 'SubnetLen', 'SubnetMin', 'SubnetMax', 'Backend'] as const;

/** Where the network config is, and the flags by which a command finds it. */
export interface ConfigPlace {
  readonly key: string;
  readonly flags?: readonly string[] | undefined;
  /** It is a file that others write, such as a ConfigMap of Kubernetes: no command of ours changes it. */
  readonly isFile?: boolean | undefined;
}

/** What to do about a key that holds no valid config. */
export function correctKey(place: ConfigPlace = { key: '<prefix>/config' }): string {
  if (place.isFile) return `correct it in ${place.key}, see docs/configuration.md`;
  return `correct the key ${place.key} with ${rudderCommand(['config', 'set', 'KEY', 'VALUE'], place)}, see docs/configuration.md`;
}

/** What to do about a config that is not there. */
export function createIt(place: ConfigPlace): string {
  if (place.isFile) return 'mount the ConfigMap there, or name another file with --net-config-path';
  return `create it with ${initCommand(place)}`;
}

/**
 * Parses the JSON as flannel does: keys match in any case, unknown keys are ignored, null counts as absent,
 * and no `Backend` means udp. Bounds are those of flannel HEAD (pkg/subnet/config.go). The options of `Backend` are handed
 * on as they are: `backend/config.ts` has them checked.
 * @param remedy what to do about one that is not valid
 * @throws RudderError `network-config`
 */
export function parseCommonConfig(json: string, remedy = correctKey()): NetworkConfig {
  try {
    return parse(json);
  } catch (error) {
    throw withRemedy(error, remedy);
  }
}

export function withRemedy(error: unknown, remedy: string): unknown {
  return error instanceof RudderError ? new RudderError(error.code, `${error.message}; ${remedy}`) : error;
}

function parse(json: string): NetworkConfig {
  const raw = parseJson(json);
  const network = parseNetwork(raw.network);
  const subnetLength = raw.subnetlen ?? defaultSubnetLength(network);
  checkSubnetLength(subnetLength, network);

  // The first subnet holds the network address itself, which ancient stacks take for a broadcast: flannel skips it.
  const first = subnetAt(network, subnetLength, 1).address;
  const last = subnetAt(network, subnetLength, subnetCount(network, subnetLength) - 1).address;
  const subnetMin = parseBound('SubnetMin', raw.subnetmin, network, subnetLength) ?? first;
  const subnetMax = parseBound('SubnetMax', raw.subnetmax, network, subnetLength) ?? last;
  if (compareIpv4(subnetMin, subnetMax) > 0) {
    throw invalid(`SubnetMax ${quote(formatIpv4(subnetMax))}`, `at least SubnetMin ${quote(formatIpv4(subnetMin))}`);
  }

  const { type, ...options } = raw.backend ?? {};
  const backend = { type: (type ?? 'udp').toLowerCase(), options };
  return { network, subnetLength, subnetMin, subnetMax, backend };
}

/** What it says, as written in full: to be compared. */
export function fieldsOf(config: NetworkConfig): Record<string, string | number> {
  return {
    Network: formatSubnet(config.network),
    SubnetLen: config.subnetLength,
    SubnetMin: formatIpv4(config.subnetMin),
    SubnetMax: formatIpv4(config.subnetMax),
    'Backend.Type': config.backend.type,
  };
}

/** A whole number in those bounds, null counting as absent. */
export const integer = (min: number, max: number) =>
  z.int(`expected a whole number from ${min} to ${max}`).min(min).max(max).nullish();

const rawBackend = z.looseObject({ type: z.string('expected text').nullish() });

const rawConfig = z.object({
  network: z.string('expected text like "10.240.0.0/16"'),
  subnetlen: integer(0, 32),
  subnetmin: z.string('expected an IPv4 address').nullish(),
  subnetmax: z.string('expected an IPv4 address').nullish(),
  backend: z.preprocess(lowerCaseKeys, rawBackend.nullish()),
});

function parseJson(json: string): z.infer<typeof rawConfig> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw invalid(quote(redactJson(json)), 'JSON such as {"Network":"10.240.0.0/16"}');
  }
  return checked(rawConfig, lowerCaseKeys(value), [...CONFIG_KEYS, 'Type'], '', json);
}

/**
 * @param names of keys, as they are written
 * @param path of the object among them, such as `Backend.`
 * @throws RudderError `network-config` naming the key
 */
export function checked<T>(
  schema: z.ZodType<T>,
  value: unknown,
  names: readonly string[],
  path: string,
  json: string,
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const parts = issue.path.map((part) => names.find((name) => name.toLowerCase() === part) ?? String(part));
  const name = parts.length > 0 ? `${path}${parts.join('.')}` : 'value';
  throw invalid(`${name} in ${quote(redactJson(json))}`, issue.message.replace(/^(Invalid input: )?(expected )?/, ''));
}

function parseNetwork(text: string): Subnet {
  const network = parseSubnet(text);
  if (network === undefined) throw invalid(`Network ${quote(text)}`, 'an IPv4 network like "10.240.0.0/16"');
  const first = network.address >>> 24;
  if (network.prefixLength < 8 || first === 0 || first === 127 || first >= 224) {
    // A route to less would replace the default route, and the others are no addresses of hosts.
    throw invalid(`Network ${quote(text)}`, 'a network of hosts, of prefix length 8 to 28, such as "10.240.0.0/16"');
  }
  if (network.prefixLength > 28) {
    throw invalid(`Network ${quote(text)}`, 'a prefix length of at most 28, to hold four subnets');
  }
  return network;
}

/** /24 where at least four of them fit, else a quarter of the network. */
function defaultSubnetLength(network: Subnet): number {
  return network.prefixLength <= 22 ? 24 : network.prefixLength + 2;
}

function checkSubnetLength(length: number, network: Subnet): void {
  const least = network.prefixLength + 2;
  if (length < least || length > 30) {
    throw invalid(`SubnetLen ${length}`, `${least} to 30 for Network ${formatSubnet(network)}`);
  }
}

function parseBound(name: string, text: string | null | undefined, network: Subnet, length: number): Ipv4 | undefined {
  if (text === null || text === undefined || text === '') return undefined;
  const address = parseIpv4(text);
  if (address === undefined) throw invalid(`${name} ${quote(text)}`, 'an IPv4 address');
  if (!contains(network, address)) {
    throw invalid(`${name} ${quote(text)}`, `an address inside Network ${formatSubnet(network)}`);
  }
  if ((address & ~maskOf(length)) !== 0) {
    throw invalid(
      `${name} ${quote(text)}`,
      `the first address of a /${length}, such as ${formatIpv4(address & maskOf(length))}`,
    );
  }
  return address;
}

export function invalid(what: string, expected: string): RudderError {
  return new RudderError('network-config', `network config: ${what} is not valid, expected ${expected}`);
}
