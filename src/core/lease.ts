import { z } from 'zod';
import { parseIpv4, parseSubnetKey } from './address-text.js';
import { quote } from './errors.js';
import { lowerCaseKeys } from './go-json.js';
import { formatIpv4, type Ipv4, isUnusableAsHost } from './ipv4.js';
import { isLeasable, type NetworkConfig } from './network-config.js';
import { contains, formatSubnet, type Subnet } from './subnet.js';

/** A node's claim to a subnet, and how the node is reached. Whether it can be is for the backend to say. */
export interface Lease {
  readonly subnet: Subnet;
  /** Where the node is reached: the next hop of the subnet, under whatever the backend wraps packets in. */
  readonly publicIp: Ipv4;
  /** The node's own name for itself; undefined in leases written by flannel. */
  readonly nodeId: string | undefined;
  /** What people call the node, and the version that it runs; undefined: it does not say, as flannel's do not. */
  readonly host?: string | undefined;
  readonly version?: string | undefined;
  /** By which its questions to other nodes are known (X25519, base64url); undefined: it asks none. */
  readonly nodeKey?: string | undefined;
  readonly backend: BackendLease;
  /** Kept for a node that has not taken it yet: a key without a TTL and a node id. A peer, if somebody answers there. */
  readonly reserved?: boolean;
}

/** What a node's backend has to say to those of its peers. */
export interface BackendLease {
  /** In lower case; empty: the node has not said, as flannel's udp backend does not in Kubernetes. */
  readonly type: string;
  /** As it was written, without what every kind of node says of itself there: node id, host name, version, key. */
  readonly data: BackendData;
}

export type BackendData = Readonly<Record<string, unknown>>;

/** Who a node is to its peers: what its own key says. */
export interface NodeReach {
  readonly publicIp: Ipv4;
  readonly nodeId: string;
  readonly host?: string | undefined;
  readonly version?: string | undefined;
  readonly nodeKey?: string | undefined;
  readonly backend: BackendLease;
}

/** The node is behind a NAT that changes the ports of its datagrams: they come from any. */
export function isPortMapped({ backend: { data } }: Pick<Lease, 'backend'>): boolean {
  return data.PortMapped === true;
}

/** Nobody has taken it yet: it says no more than for whom it is. */
export function isUntaken({ reserved, backend }: Pick<Lease, 'reserved' | 'backend'>): boolean {
  return reserved === true && backend.type === '';
}

/** Why a registry entry is not a usable lease; a text for one log line. */
export interface NotALease {
  readonly problem: string;
}

/** A lease value is about 150 bytes; anything this long was not written by an overlay daemon. */
const MAX_VALUE_LENGTH = 64 * 1024;

const rawValue = z.object({
  publicip: z.string(),
  backendtype: z.string().nullish(),
  backenddata: z.unknown().optional(),
  untaken: z.unknown().optional(),
});

/**
 * The value of a lease key, byte for byte what flannel's `LeaseAttrs` decodes: PublicIP and an always present
 * PublicIPv6, then type and data of the backend. flannel's backends ignore fields of BackendData that they do not know.
 */
export function formatLeaseValue({ publicIp, nodeId, host, version, nodeKey, backend }: NodeReach): string {
  return JSON.stringify({
    PublicIP: formatIpv4(publicIp),
    PublicIPv6: null,
    BackendType: backend.type,
    BackendData: { NodeID: nodeId, HostName: host, Version: version, NodeKey: nodeKey, ...backend.data },
  });
}

/**
 * The value of a reservation: for whichever node has that address. A lease without a node id, as flannel writes it, with a
 * mark that whoever takes it does not write: without one a reservation may be in use by a node of flannel's.
 */
export function formatReservationValue(publicIp: Ipv4): string {
  return JSON.stringify({ PublicIP: formatIpv4(publicIp), PublicIPv6: null, Untaken: true });
}

/** Whether it is a reservation's value as it was made: no node has taken it. */
export function saysUntaken(value: string): boolean {
  const raw = rawValue.safeParse(lowerCaseKeys(parseJson(value)));
  return raw.data?.untaken === true;
}

/**
 * Reads a lease from its key's last part and its value; says what is wrong if it is not one of this network. A subnet
 * larger than ours, of a node with another SubnetLen, can be routed to: it is several entries of our table.
 */
export function parseLease(config: NetworkConfig, keyName: string, value: string): Lease | NotALease {
  const subnet = parseSubnetKey(keyName);
  if (subnet === undefined) return { problem: `key ${quote(keyName)} is not like "10.240.26.0-24"` };
  if (keyName.includes('&')) return { problem: `key ${quote(keyName)} is a dual-stack lease: only IPv4 is carried` };
  const attributes = parseLeaseValue(value);
  return 'problem' in attributes ? attributes : leaseOf(config, subnet, attributes);
}

/** The lease of a node with that subnet that says this of itself; or what is wrong if it is none of this network. */
export function leaseOf(config: NetworkConfig, subnet: Subnet, attributes: Omit<Lease, 'subnet'>): Lease | NotALease {
  const misplaced = misplacement(config, subnet);
  if (misplaced !== undefined) return misplaced;
  if (isLeasable(config, attributes.publicIp)) {
    // Its datagrams would be routed into the overlay, wrapped and wrapped again, each round 28 bytes larger.
    return { problem: `PublicIP ${formatIpv4(attributes.publicIp)} lies inside the overlay` };
  }
  return { subnet, ...attributes };
}

function misplacement(config: NetworkConfig, subnet: Subnet): NotALease | undefined {
  if (!contains(config.network, subnet.address) || subnet.prefixLength < config.network.prefixLength) {
    return { problem: `subnet ${formatSubnet(subnet)} is outside Network ${formatSubnet(config.network)}` };
  }
  if (subnet.prefixLength > config.subnetLength) {
    return {
      problem: `subnet ${formatSubnet(subnet)} is smaller than SubnetLen ${config.subnetLength} allows: its node has another network config`,
    };
  }
  if (subnet.prefixLength === config.network.prefixLength) {
    return { problem: `subnet ${formatSubnet(subnet)} is the whole Network` };
  }
  return undefined;
}

export function parseLeaseValue(value: string): Omit<Lease, 'subnet'> | NotALease {
  if (value.length > MAX_VALUE_LENGTH) {
    return { problem: `value of ${value.length} characters is longer than ${MAX_VALUE_LENGTH}` };
  }
  const raw = rawValue.safeParse(lowerCaseKeys(parseJson(value)));
  if (!raw.success) return { problem: `value ${quote(value)} is not JSON with a PublicIP` };
  const publicIp = parseIpv4(raw.data.publicip);
  if (publicIp === undefined || isUnusableAsHost(publicIp)) {
    return { problem: `PublicIP ${quote(raw.data.publicip)} is not the IPv4 address of a host` };
  }
  const type = (raw.data.backendtype ?? '').toLowerCase();
  const { NodeID, HostName, Version, NodeKey, ...data } = asObject(raw.data.backenddata);
  const nodeId = typeof NodeID === 'string' && NodeID !== '' ? NodeID : undefined;
  const host = isHostName(HostName) ? HostName : undefined;
  const version = isVersion(Version) ? Version : undefined;
  const nodeKey = typeof NodeKey === 'string' && /^[\w-]{43}$/.test(NodeKey) ? NodeKey : undefined;
  return { publicIp, nodeId, host, version, nodeKey, backend: { type, data } };
}

/** Whoever writes a lease may call himself anything: what is not a name is none. */
export function isHostName(name: unknown): name is string {
  return (
    typeof name === 'string' && /^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/i.test(name) && parseIpv4(name) === undefined
  );
}

function isVersion(version: unknown): version is string {
  return typeof version === 'string' && /^[a-z0-9.+~-]{1,60}$/i.test(version);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** flannel's udp, host-gw and alloc backends write none, or null. */
function asObject(data: unknown): Record<string, unknown> {
  return typeof data === 'object' && data !== null && !Array.isArray(data) ? { ...data } : {};
}
