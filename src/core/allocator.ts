import type { Ipv4 } from './ipv4.js';
import type { NetworkConfig } from './network-config.js';
import { contains, maskOf, type Subnet, subnetAt, subnetNumber } from './subnet.js';

/** Choosing among many makes it unlikely that nodes that start together choose the same. flannel's number. */
const CANDIDATES = 100;

/** True if the config of today would still hand out this subnet. */
export function fitsConfig(config: NetworkConfig, subnet: Subnet): boolean {
  if (subnet.prefixLength !== config.subnetLength || !contains(config.network, subnet.address)) return false;
  const number = numberOf(config, subnet.address);
  return number >= numberOf(config, config.subnetMin) && number <= numberOf(config, config.subnetMax);
}

/**
 * Chooses a subnet: the preferred one if it fits and is free, else one of the first 100 free ones at random.
 * @param taken every subnet that some key names, whatever its length or value
 * @param random as Math.random
 * @returns undefined when the network is full
 */
export function chooseSubnet(
  config: NetworkConfig,
  taken: readonly Subnet[],
  preferred: Subnet | undefined,
  random: () => number,
): Subnet | undefined {
  if (preferred !== undefined && fitsConfig(config, preferred) && !isTaken(config, taken, preferred)) return preferred;
  const ranges = takenRanges(config, taken);
  const free = firstFree(numberOf(config, config.subnetMin), numberOf(config, config.subnetMax), ranges);
  if (free.length === 0) return undefined;
  return subnetAt(config.network, config.subnetLength, free[Math.floor(random() * free.length)]);
}

/** Whether any of these holds a part of the subnet, which fits the config. */
export function isTaken(config: NetworkConfig, taken: readonly Subnet[], subnet: Subnet): boolean {
  const wanted = numberOf(config, subnet.address);
  return takenRanges(config, taken).some((range) => wanted >= range.first && wanted <= range.last);
}

interface Range {
  first: number;
  last: number;
}

/**
 * The taken subnets as ranges of subnet numbers, in ascending order. A /22 key takes four /24 at once. A key as large
 * as the whole Network is nobody's: SubnetLen is longer by two at least, and one stray key must not stop a cluster.
 */
function takenRanges(config: NetworkConfig, taken: readonly Subnet[]): Range[] {
  const { network } = config;
  return taken
    .filter((subnet) => subnet.prefixLength > network.prefixLength && contains(network, subnet.address))
    .map((subnet) => {
      const highest = subnet.address | ~maskOf(subnet.prefixLength);
      return { first: numberOf(config, subnet.address), last: numberOf(config, highest) };
    })
    .sort((a, b) => a.first - b.first);
}

function firstFree(min: number, max: number, ranges: readonly Range[]): number[] {
  const free: number[] = [];
  let next = min;
  for (const range of [...ranges, { first: max + 1, last: max + 1 }]) {
    while (next < range.first && next <= max && free.length < CANDIDATES) free.push(next++);
    next = Math.max(next, range.last + 1);
  }
  return free;
}

function numberOf(config: NetworkConfig, address: Ipv4): number {
  return subnetNumber(config.network, config.subnetLength, address);
}
