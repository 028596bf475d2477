import Table from 'cli-table3';
import { parseNetworkConfig } from '../backend/config.js';
import type { BackendSettings } from '../backend/kind.js';
import { settingsOf } from '../backend/kinds.js';
import type { Administration, StoredLease } from '../control/administration.js';
import { openAdministration } from '../control/open.js';
import { parseSubnet } from '../core/address-text.js';
import { fitsConfig } from '../core/allocator.js';
import { quote, RudderError, shorten } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { isPortMapped, parseLease, parseLeaseValue } from '../core/lease.js';
import { correctKey, createIt, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { EXIT_OK } from './exit-codes.js';
import { type RawRegistryOptions, toRegistryOptions } from './registry-options.js';
import { duration } from './status.js';

/** `rudder leases`: the registry as people read it, and reservations. */

async function administer<T>(
  raw: RawRegistryOptions,
  work: (administration: Administration) => Promise<T>,
): Promise<T> {
  const administration = await openAdministration(toRegistryOptions(raw));
  try {
    return await work(administration);
  } finally {
    administration.close();
  }
}

export async function readConfig({
  getConfig,
  configPlace,
}: Pick<Administration, 'getConfig' | 'configPlace'>): Promise<NetworkConfig> {
  const json = await getConfig();
  if (json !== undefined) return parseNetworkConfig(json, correctKey(configPlace));
  throw new RudderError(
    'network-config',
    `there is no network config ${configPlace.isFile ? configPlace.key : 'in etcd'}: expected one; ${createIt(configPlace)}`,
  );
}

interface Row {
  readonly subnet: string;
  readonly host: string | null;
  readonly publicIp: string | null;
  readonly nodeId: string | null;
  /** The node's datagrams come from any port. */
  readonly portMapped: boolean;
  /** Null: it never runs out. */
  readonly ttlSeconds: number | null;
  /** Kept for a node that has not taken it. */
  readonly reserved: boolean;
  /** `BackendType` of the lease; null: it is none. */
  readonly backend: string | null;
  /** Why it is no lease of this network, or its node cannot be reached; null if it can. */
  readonly problem: string | null;
}

/** @param heard subnets that somebody uses for certain */
export async function listLeases(raw: RawRegistryOptions, heard: ReadonlySet<string>, json: boolean): Promise<number> {
  return administer(raw, async (administration) => {
    const config = await readConfig(administration);
    const { problemOf } = settingsOf(config);
    const leases = await administration.listLeases();
    const rows = leases.map((lease) => toRow({ config, problemOf }, lease, heard));
    process.stdout.write(json ? `${JSON.stringify(rows, null, 2)}\n` : `${toTable(rows)}\n`);
    return EXIT_OK;
  });
}

function toRow(
  { config, problemOf }: { config: NetworkConfig } & Pick<BackendSettings, 'problemOf'>,
  { name, value, ttlSeconds }: StoredLease,
  heard: ReadonlySet<string>,
): Row {
  const lease = parseLease(config, name, value);
  if ('problem' in lease) {
    const none = { host: null, publicIp: null, nodeId: null, portMapped: false, reserved: false, backend: null };
    return { subnet: shorten(name, 40), ...none, ttlSeconds, problem: lease.problem };
  }
  const { subnet, publicIp, nodeId, host = null } = lease;
  return {
    subnet: formatSubnet(subnet),
    host,
    publicIp: formatIpv4(publicIp),
    nodeId: nodeId === undefined ? null : shorten(nodeId, 40),
    portMapped: isPortMapped(lease),
    ttlSeconds,
    reserved: ttlSeconds === null && nodeId === undefined && !heard.has(formatSubnet(subnet)),
    backend: shorten(lease.backend.type, 40),
    problem: problemOf(lease) ?? null,
  };
}

function toTable(rows: readonly Row[]): string {
  if (rows.length === 0) return 'No leases.';
  const head = ['subnet', 'node', 'address', 'node id', 'time left'];
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const { subnet, host, publicIp, nodeId, portMapped, ttlSeconds, reserved, problem } of rows) {
    const left = ttlSeconds === null ? (reserved ? 'reserved' : 'for ever') : duration(ttlSeconds);
    const name = host ?? '';
    const address = portMapped ? `${publicIp}, any port` : publicIp;
    if (problem === null)
      table.push([subnet, name, address, nodeId ?? (reserved ? 'none yet' : 'none: written by flannel'), left]);
    // What names no node is no lease at all; of a node's one the address says whose it is.
    else if (publicIp === null) table.push([subnet, { colSpan: 3, content: `no lease: ${problem}` }, left]);
    else table.push([subnet, name, address, `unreachable: ${problem}`, left]);
  }
  return table.toString();
}

/** `rudder leases reserve` @param node its public address, or its name if it has a lease */
export async function reserve(raw: RawRegistryOptions, text: string, node: Ipv4 | string): Promise<number> {
  return administer(raw, async (administration) => {
    const config = await readConfig(administration);
    const subnet = subnetOf(config, text);
    const publicIp = typeof node === 'string' ? addressOf(await administration.listLeases(), node) : node;
    const others = await administration.reserve(config, subnet, publicIp);
    process.stdout.write(`reserved ${formatSubnet(subnet)} for ${formatIpv4(publicIp)}\n`);
    for (const other of others) {
      process.stdout.write(`it holds ${other} now, and keeps that until the lease ends\n`);
    }
    return EXIT_OK;
  });
}

/** @throws RudderError `usage` if no lease, or those of several hosts, have that name */
export function addressOf(leases: readonly StoredLease[], name: string): Ipv4 {
  const named = leases.flatMap(({ value }) => {
    const lease = parseLeaseValue(value);
    return 'problem' in lease || lease.host?.toLowerCase() !== name.toLowerCase() ? [] : [lease.publicIp];
  });
  const [first, ...others] = new Set(named);
  if (first !== undefined && others.length === 0) return first;
  const found =
    first === undefined ? 'no node with a lease' : `several nodes, at ${[first, ...others].map(formatIpv4).join(', ')}`;
  throw new RudderError('usage', `${quote(name)} is the name of ${found}: expected a node's public address`);
}

/**
 * `rudder leases release`
 * @param heard subnets that somebody uses for certain; @param ttlSeconds in which the node has to renew its lease
 */
export async function release(
  raw: RawRegistryOptions,
  heard: ReadonlySet<string>,
  ttlSeconds: number,
  text: string,
): Promise<number> {
  // Not only what today's config would hand out: a reservation may be older.
  const subnet = parseSubnet(text);
  if (subnet === undefined)
    throw new RudderError('usage', `subnet ${quote(text)}: expected one such as 10.240.26.0/24`);
  return administer(raw, async (administration) => {
    const stays = await administration.release(subnet, heard, ttlSeconds);
    const now = stays ? `: an ordinary lease, which ends in ${duration(ttlSeconds)} unless its node renews it` : '';
    process.stdout.write(`released ${formatSubnet(subnet)}${now}\n`);
    return EXIT_OK;
  });
}

/** One that a node may lease. */
function subnetOf(config: NetworkConfig, text: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet !== undefined && fitsConfig(config, subnet)) return subnet;
  throw new RudderError(
    'usage',
    `subnet ${quote(text)}: expected a /${config.subnetLength} from ${formatIpv4(config.subnetMin)} to ${formatIpv4(config.subnetMax)}`,
  );
}
