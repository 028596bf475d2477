import { Address4 } from 'ip-address';
import type { Ipv4 } from './ipv4.js';
import { formatSubnetKey, type Subnet, subnetOf } from './subnet.js';

/** Parsing of addresses and subnets. Apart from the numbers, so that the packet path imports nothing from npm. */

/** Parses strict dotted-quad text (no prefix length, no leading zeroes); undefined if it is anything else. */
export function parseIpv4(text: string): Ipv4 | undefined {
  if (!/^[\d.]{7,15}$/.test(text) || !Address4.isValid(text)) return undefined;
  return new Address4(text).toArray().reduce((value, octet) => (value << 8) | octet, 0);
}

/** Parses `10.240.0.0/16`; host bits are cleared, as Go's net.ParseCIDR does for flannel. */
export function parseSubnet(text: string): Subnet | undefined {
  return parseWithSeparator(text, '/');
}

/** Parses a lease key's last part. flannel's dual-stack keys (`10.5.34.0-24&2001:db8::-64`) yield their IPv4 half. */
export function parseSubnetKey(text: string): Subnet | undefined {
  const [v4, v6, ...rest] = text.split('&');
  if (rest.length > 0 || (v6 !== undefined && !/^[a-f\d:]+-\d+$/.test(v6))) return undefined;
  const subnet = parseWithSeparator(v4, '-');
  // A key with host bits would name one subnet twice.
  return subnet !== undefined && formatSubnetKey(subnet) === v4 ? subnet : undefined;
}

function parseWithSeparator(text: string, separator: string): Subnet | undefined {
  const [addressText, lengthText, ...rest] = text.split(separator);
  if (rest.length > 0 || lengthText === undefined || !/^\d{1,2}$/.test(lengthText)) return undefined;
  const address = parseIpv4(addressText);
  const prefixLength = Number(lengthText);
  if (address === undefined || prefixLength > 32) return undefined;
  return subnetOf(address, prefixLength);
}
