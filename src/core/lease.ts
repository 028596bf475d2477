import { z } from 'zod';
import { parseIpv4, parseSubnetKey } from './address-text.js';
import { quote } from './errors.js';
import { lowerCaseKeys } from './go-json.js';
import { formatIpv4, type Ipv4, isUnusableAsHost } from './ipv4.js';
import { isLeasable, type NetworkConfig } from './network-config.js';
import { contains, formatSubnet, type Subnet } from './subnet.js';

/** A node's claim to a subnet. */
export interface Lease {
  readonly subnet: Subnet;
  /** Where the node receives its datagrams: the next hop of the subnet. */
  readonly publicIp: Ipv4;
  /** The node's own name for itself; undefined in leases written by flannel. */
  readonly nodeId: string | undefined;
  /** The node is behind a NAT that changes the ports of its datagrams: they come from any. */
  readonly portMapped: boolean;
  /** Kept for a node that has not taken it yet: a key without a TTL and a node id. A peer, if somebody answers there. */
  readonly reserved?: boolean;
  /** Where the node receives them; undefined in leases of flannel and of earlier versions. */
  readonly port?: number | undefined;
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
 * PublicIPv6, then two fields that its udp backend ignores.
 */
export function formatLeaseValue(publicIp: Ipv4, nodeId: string, portMapped = false, port?: number): string {
  return JSON.stringify({
    PublicIP: formatIpv4(publicIp),
    PublicIPv6: null,
    BackendType: 'udp',
    BackendData: { NodeID: nodeId, Port: port, PortMapped: portMapped ? true : undefined },
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
  if (keyName.includes('&')) return { problem: `key ${quote(keyName)} is a dual-stack lease: udp carries IPv4 only` };
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
  const attributes = parseLeaseValue(value);
  if ('problem' in attributes) return attributes;
  if (isLeasable(config, attributes.publicIp)) {
    // Its datagrams would be routed into the overlay, wrapped and wrapped again, each round 28 bytes larger.
    return { problem: `PublicIP ${formatIpv4(attributes.publicIp)} lies inside the overlay` };
  }
  const { port } = attributes;
  if (port !== undefined && port !== config.port) {
    return { problem: `Backend.Port ${port} is not ${config.port}: its node has another network config` };
  }
  return { subnet, ...attributes };
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
  const type = raw.data.backendtype;
  if (type !== null && type !== undefined && type !== '' && type.toLowerCase() !== 'udp') {
    return { problem: `backend ${quote(type)} is not udp: the node cannot be reached from here` };
  }
  return { publicIp, ...readBackendData(raw.data.backenddata) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Ours: of flannel's udp backend there is none. */
function readBackendData(data: unknown): Pick<Lease, 'nodeId' | 'portMapped' | 'port'> {
  const { NodeID: id, PortMapped, Port } = (data ?? {}) as { NodeID?: unknown; PortMapped?: unknown; Port?: unknown };
  return {
    nodeId: typeof id === 'string' && id !== '' ? id : undefined,
    portMapped: PortMapped === true,
    port: Number.isInteger(Port) ? (Port as number) : undefined,
  };
}
