import { changesOf } from '../../backend/config.js';
import type { Claim } from '../../control/administration.js';
import { parseSubnetKey } from '../../core/address-text.js';
import { fitsConfig } from '../../core/allocator.js';
import { counted } from '../../core/counted.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import { parseLeaseValue, saysUntaken } from '../../core/lease.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { contains, formatSubnet, type Subnet } from '../../core/subnet.js';
import { changeLines } from './changes.js';

export interface PlannedChange {
  /** Undefined: what is stored is no valid config, or there is none. */
  readonly before: NetworkConfig | undefined;
  readonly after: NetworkConfig;
  /** All leases that there are. */
  readonly claims: readonly Claim[];
  /** Options that went with the backend of which they were. */
  readonly dropped: readonly string[];
  /** What nobody knows and stays. */
  readonly unknown: readonly string[];
}

/** What a change of the network config would do to the nodes that there are. */
export interface Plan {
  /** What becomes what. */
  readonly changes: readonly string[];
  /** Whom it concerns, and how. */
  readonly notes: readonly string[];
  /** Why it is not made without --yes-renumber; undefined: nobody loses a subnet. */
  readonly refusal: string | undefined;
}

/** A subnet that is some node's, or kept for one. */
interface Holder {
  readonly name: string;
  readonly publicIp: Ipv4;
  readonly subnet: Subnet;
  readonly isReservation: boolean;
}

export function planChange({ before, after, claims, dropped, unknown }: PlannedChange): Plan {
  const holders = claims.flatMap((claim) => holderOf(claim) ?? []);
  const [nodes, reservations] = [holders.filter((h) => !h.isReservation), holders.filter((h) => h.isReservation)];
  const outside = nodes.filter(({ subnet }) => !fitsConfig(after, subnet));
  // Those that have not been restarted since an earlier change lose theirs in any case.
  const losing = outside.filter(({ subnet }) => before === undefined || fitsConfig(before, subnet));
  const notes = [
    ...dropped.map((name) => `${name} goes: ${after.backend.type} has no such option`),
    ...unknown.map((text) => `stays as it is, and is ignored: ${text}`),
    ...mtuNote(before, after),
    ...appliedBy(nodes),
    ...splitNote(before, after, nodes),
    ...lossNotes(losing, outside.length - losing.length),
    ...reservationNote(reservations.filter(({ subnet }) => !fitsConfig(after, subnet))),
    ...insideNote(nodes.filter(({ publicIp }) => contains(after.network, publicIp))),
  ];
  return { changes: changeLines(before, after), notes, refusal: refusalOf(losing) };
}

/** Undefined: it is no lease, and nobody loses it. */
function holderOf({ name, value, isForEver }: Claim): Holder | undefined {
  const subnet = parseSubnetKey(name);
  const lease = parseLeaseValue(value);
  if (subnet === undefined || 'problem' in lease) return undefined;
  const { publicIp, host = formatIpv4(publicIp) } = lease;
  return { name: host, publicIp, subnet, isReservation: isForEver && saysUntaken(value) };
}

const SHOWN = 3;

function namesOf(holders: readonly Holder[]): string {
  const names = holders.map(({ name }) => name).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const more = names.length - SHOWN;
  return more > 0 ? `${names.slice(0, SHOWN).join(', ')}, and ${more} more` : names.join(', ');
}

const isOne = (holders: readonly Holder[]) => holders.length === 1;

function appliedBy(nodes: readonly Holder[]): string[] {
  if (nodes.length === 0) return ['no node has a lease: it counts for those that start from now on'];
  const [apply, their] = isOne(nodes) ? ['applies', 'its'] : ['apply', 'their'];
  return [`${counted(nodes.length, 'node')} ${apply} it at ${their} next restart: ${namesOf(nodes)}`];
}

/** Fields in which nodes must agree to reach each other. */
const AGREED = ['Network', 'SubnetLen', 'Backend.Type', 'Backend.Port', 'Backend.VNI', 'Backend.PSK'];

function splitNote(before: NetworkConfig | undefined, after: NetworkConfig, nodes: readonly Holder[]): string[] {
  if (before === undefined || nodes.length < 2) return [];
  const changed = changesOf(before, after).flatMap(({ name }) => (AGREED.includes(name) ? name : []));
  if (changed.length === 0) return [];
  const [what] = changed.includes('Backend.Type') ? ['Backend.Type'] : changed;
  return [`${what} changes: until all nodes are restarted, one that is and one that is not do not reach each other`];
}

/** The same number says another thing. */
function mtuNote(before: NetworkConfig | undefined, after: NetworkConfig): string[] {
  const { mtu } = after.backend.options;
  if (before === undefined || typeof mtu !== 'number' || before.backend.options.mtu !== mtu) return [];
  const [was, is] = [before, after].map(({ backend }) => (backend.type === 'udp' ? "the tunnel's" : "the underlay's"));
  return was === is
    ? []
    : [`Backend.MTU ${mtu} stays: ${was} with ${before.backend.type}, ${is} with ${after.backend.type}`];
}

function lossNotes(losing: readonly Holder[], earlier: number): string[] {
  const notes: string[] = [];
  if (losing.length > 0) {
    const what = isOne(losing)
      ? 'another subnet, and its containers other addresses'
      : 'other subnets, and their containers other addresses';
    notes.push(
      `${counted(losing.length, 'node')} ${isOne(losing) ? 'gets' : 'get'} ${what}, at the next restart: ${namesOf(losing)}`,
    );
  }
  if (earlier > 0) {
    const [has, it] = earlier === 1 ? ['has', 'gets another'] : ['have', 'get others'];
    notes.push(`${counted(earlier, 'node')} ${has} not been restarted since an earlier change, and ${it} in any case`);
  }
  return notes;
}

function reservationNote(outside: readonly Holder[]): string[] {
  if (outside.length === 0) return [];
  const [falls, it] = isOne(outside)
    ? ['falls', 'its node gets another subnet']
    : ['fall', 'their nodes get other subnets'];
  const subnets = outside.map(({ subnet, name }) => `${formatSubnet(subnet)} for ${name}`);
  const more = subnets.length - SHOWN;
  const first = `${subnets.slice(0, SHOWN).join(', ')}${more > 0 ? `, and ${more} more` : ''}`;
  return [`${counted(outside.length, 'reservation')} ${falls} outside, and ${it}: ${first}`];
}

/** Packets for such a node's address would be routed into the overlay. */
function insideNote(inside: readonly Holder[]): string[] {
  if (inside.length === 0) return [];
  const has = isOne(inside) ? 'has its own address' : 'have their own addresses';
  return [`${counted(inside.length, 'node')} ${has} inside this Network, and cannot start with it: ${namesOf(inside)}`];
}

function refusalOf(losing: readonly Holder[]): string | undefined {
  if (losing.length === 0) return undefined;
  const lengths = [...new Set(losing.map(({ subnet }) => subnet.prefixLength))];
  const subnet = lengths.length === 1 ? `/${lengths[0]} subnet` : 'subnet';
  const [at, lose] = isOne(losing) ? ['its', `its ${subnet}`] : ['their', `their ${subnet}s`];
  return `REFUSED: at ${at} next restart ${counted(losing.length, 'node')} would lose ${lose} (${namesOf(losing)}); --yes-renumber changes it all the same`;
}
