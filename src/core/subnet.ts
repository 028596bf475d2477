import { formatIpv4, type Ipv4 } from './ipv4.js';

/** An IPv4 network: `address` has no host bits set. */
export interface Subnet {
  readonly address: Ipv4;
  readonly prefixLength: number;
}

/** The netmask of a prefix length 0 to 32. A shift by 32 is a shift by 0 in JavaScript, hence the test. */
export function maskOf(prefixLength: number): number {
  return prefixLength === 0 ? 0 : -1 << (32 - prefixLength);
}

export function subnetOf(address: Ipv4, prefixLength: number): Subnet {
  return { address: address & maskOf(prefixLength), prefixLength };
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatIpv4(subnet.address)}/${subnet.prefixLength}`;
}

/** The last part of a lease key: `10.240.26.0-24`, since `/` separates etcd keys. */
export function formatSubnetKey(subnet: Subnet): string {
  return `${formatIpv4(subnet.address)}-${subnet.prefixLength}`;
}

export function contains(subnet: Subnet, address: Ipv4): boolean {
  return ((address ^ subnet.address) & maskOf(subnet.prefixLength)) === 0;
}

/** Also if they are the same. */
export function isWithin(inner: Subnet, outer: Subnet): boolean {
  return inner.prefixLength >= outer.prefixLength && contains(outer, inner.address);
}

/** Number of the subnet of `prefixLength` that holds `address`, counted from 0 at the start of `network`. */
export function subnetNumber(network: Subnet, prefixLength: number, address: Ipv4): number {
  return (address - network.address) >>> (32 - prefixLength);
}

/** How many subnets of `prefixLength` fit into `network`. */
export function subnetCount(network: Subnet, prefixLength: number): number {
  return 2 ** (prefixLength - network.prefixLength);
}

export function subnetAt(network: Subnet, prefixLength: number, number: number): Subnet {
  return { address: (network.address + number * 2 ** (32 - prefixLength)) | 0, prefixLength };
}
