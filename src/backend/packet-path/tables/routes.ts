import type { Ipv4 } from '../../../core/ipv4.js';
import type { NetworkConfig } from '../../../core/network-config.js';
import { maskOf, type Subnet, subnetCount } from '../../../core/subnet.js';
import { sharedInts } from './memory.js';
import { NO_PEER } from './peers.js';

/**
 * Next hop by subnet number, on shared memory:
 *
 *     index   0          1          2          3                 (subnet number inside Network)
 *           +----------+----------+----------+----------+--
 *           | 0        | 1        | 0        | 2        |  ...   (peer number, see peers.ts; 0 = none)
 *           +----------+----------+----------+----------+--
 *
 * The control side stores, the packet path loads: O(1), no lock, no copy, and a change counts from the next packet on.
 */
export interface RouteTable {
  readonly nextHops: Int32Array;
  readonly network: Ipv4;
  readonly mask: number;
  /** Address bits below the subnet number. */
  readonly shift: number;
}

export function createRouteTable(
  config: Pick<NetworkConfig, 'network' | 'subnetLength'>,
  allocate = sharedInts,
): RouteTable {
  const count = subnetCount(config.network, config.subnetLength);
  return {
    nextHops: allocate(count),
    network: config.network.address,
    mask: maskOf(config.network.prefixLength),
    shift: 32 - config.subnetLength,
  };
}

/** Of a subnet of our length. @param nextHop a peer number; NO_PEER removes the route */
export function setRoute(table: RouteTable, subnet: Subnet, nextHop: number): void {
  setEntry(table, subnetNumberOf(table, subnet.address), nextHop);
}

export function setEntry(table: RouteTable, subnetNumber: number, nextHop: number): void {
  Atomics.store(table.nextHops, subnetNumber, nextHop);
}

/** Which subnet of the Network an address lies in, counted from 0. Only for addresses inside it. */
export function subnetNumberOf(table: RouteTable, address: Ipv4): number {
  return (address - table.network) >>> table.shift;
}

/** The entries of a subnet: several, if it is larger than ours. */
export function entriesOf(table: RouteTable, subnet: Subnet): { first: number; count: number } {
  const first = subnetNumberOf(table, subnet.address);
  return { first, count: 2 ** Math.max(0, 32 - table.shift - subnet.prefixLength) };
}

/** True if the address lies inside the Network. */
export function isInside(table: RouteTable, address: Ipv4): boolean {
  return ((address ^ table.network) & table.mask) === 0;
}

/** The number of the peer behind which an address lies, NO_PEER if there is none. Called for each packet. */
export function nextHopOf(table: RouteTable, destination: Ipv4): number {
  if (!isInside(table, destination)) return NO_PEER;
  return table.nextHops[subnetNumberOf(table, destination)];
}
