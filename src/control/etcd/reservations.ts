import { parseSubnetKey } from '../../core/address-text.js';
import { isTaken } from '../../core/allocator.js';
import { rudderCommand } from '../../core/command-line.js';
import { RudderError, shorten } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import { formatReservationValue, parseLease, parseLeaseValue, saysUntaken } from '../../core/lease.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../../core/subnet.js';
import { type LeaseEntry, NO_TTL, type Registry } from './registry.js';

/** Somebody writes a lease between our look and our write this often at most, before we say so. */
const MOST_LOOKS = 10;

export interface ReservationOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  /** By which the remedy finds the same etcd. */
  readonly flags: readonly string[];
}

/**
 * Reserves a subnet for the node with that address, for ever. A lease that this node holds already becomes a
 * reservation; nobody else's is touched. Nothing is written if any lease has changed since they were looked at: two who
 * reserve at once see each other.
 * @returns the other subnets that this node holds at the moment
 * @throws RudderError `usage` or `lease-conflict`
 */
export async function reserveSubnet(options: ReservationOptions, subnet: Subnet, publicIp: Ipv4): Promise<string[]> {
  const { registry, config, flags } = options;
  checkAddress(config, subnet, publicIp);
  const name = formatSubnetKey(subnet);
  for (let look = 0; look < MOST_LOOKS; look++) {
    const { entries, revision } = await registry.listLeases();
    const entry = entries.find((candidate) => candidate.name === name);
    if (entry !== undefined) checkOwner(config, entry, publicIp);
    const others = entries.filter((other) => other !== entry);
    refuseOverlap(config, others, subnet);
    const own = others.filter((other) => isOf(publicIp, other.value));
    refuseSecond(own, publicIp, flags);
    const done =
      entry === undefined
        ? await registry.createLease(name, formatReservationValue(publicIp), undefined, revision)
        : await registry.updateLease(entry, entry.value, undefined, revision);
    if (done !== undefined) return own.map(subnetIn);
  }
  throw changed(subnet);
}

/** What no node would take for a lease is no reservation. */
function checkAddress(config: NetworkConfig, subnet: Subnet, publicIp: Ipv4): void {
  const lease = parseLease(config, formatSubnetKey(subnet), formatReservationValue(publicIp));
  if (!('problem' in lease)) return;
  throw new RudderError(
    'usage',
    `${lease.problem}: expected the address by which other hosts reach that node, outside ${formatSubnet(config.network)}`,
  );
}

function checkOwner(config: NetworkConfig, entry: LeaseEntry, publicIp: Ipv4): void {
  const lease = parseLease(config, entry.name, entry.value);
  if (!('problem' in lease) && lease.publicIp === publicIp) return;
  const owner = 'problem' in lease ? 'something that is no lease' : formatIpv4(lease.publicIp);
  throw new RudderError(
    'lease-conflict',
    `subnet ${entry.name} is held by ${owner}: expected ${formatIpv4(publicIp)} or nobody; choose another subnet`,
  );
}

/** A lease of another length, or one that flannel shares with IPv6, has another name for some of the same addresses. */
function refuseOverlap(config: NetworkConfig, others: readonly LeaseEntry[], subnet: Subnet): void {
  const overlapping = others.find(({ name }) => {
    const other = parseSubnetKey(name);
    return other !== undefined && isTaken(config, [other], subnet);
  });
  if (overlapping === undefined) return;
  const lease = parseLeaseValue(overlapping.value);
  const owner = 'problem' in lease ? 'of something that is no lease' : `of ${formatIpv4(lease.publicIp)}`;
  throw new RudderError(
    'lease-conflict',
    `subnet ${formatSubnet(subnet)} overlaps ${shorten(overlapping.name, 60)} ${owner}: expected one that nobody holds any part of; choose another subnet`,
  );
}

/** A node takes one subnet: of several reservations the others would be kept from everybody for nothing. */
function refuseSecond(entriesOfHost: readonly LeaseEntry[], publicIp: Ipv4, flags: readonly string[]): void {
  const first = entriesOfHost.find(({ ttlId }) => ttlId === NO_TTL);
  if (first === undefined) return;
  const text = subnetIn(first);
  throw new RudderError(
    'lease-conflict',
    `${formatIpv4(publicIp)} has the reservation ${text} already: expected one for each host; give that up first with ${rudderCommand(['leases', 'release', text], { flags })}`,
  );
}

/**
 * Gives a reservation up. Only one that no node has taken is deleted. Of any other the key stays, and its node renews it
 * from now on: if it were deleted first, peers would drop their route to it.
 * @param heard subnets that somebody uses for certain
 * @param ttlSeconds in which the node has to renew it
 * @returns whether the key stays
 * @throws RudderError `usage` or `lease-conflict`
 */
export async function releaseReservation(
  registry: Registry,
  subnet: Subnet,
  heard: ReadonlySet<string>,
  ttlSeconds: number,
): Promise<boolean> {
  const name = formatSubnetKey(subnet);
  const entry = (await registry.listLeases()).entries.find((candidate) => candidate.name === name);
  if (entry === undefined || entry.ttlId !== NO_TTL) {
    const state = entry === undefined ? 'free' : 'an ordinary lease, which runs out by itself';
    throw new RudderError('usage', `subnet ${formatSubnet(subnet)} is ${state}: expected a reservation`);
  }
  // What is no lease serves nobody.
  const isUnused = 'problem' in parseLeaseValue(entry.value) || saysUntaken(entry.value);
  const stays = !isUnused || heard.has(formatSubnet(subnet));
  const done = stays
    ? (await registry.updateLease(entry, entry.value, ttlSeconds)) !== undefined
    : await registry.deleteLease(entry);
  if (!done) throw changed(subnet);
  return stays;
}

function isOf(publicIp: Ipv4, value: string): boolean {
  const lease = parseLeaseValue(value);
  return !('problem' in lease) && lease.publicIp === publicIp;
}

function subnetIn({ name }: LeaseEntry): string {
  const subnet = parseSubnetKey(name);
  return subnet === undefined ? shorten(name, 40) : formatSubnet(subnet);
}

function changed(subnet: Subnet): RudderError {
  return new RudderError(
    'lease-conflict',
    `subnet ${formatSubnet(subnet)} was changed by somebody meanwhile: try again`,
  );
}
