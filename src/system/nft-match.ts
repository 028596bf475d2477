import { formatIpv4 } from '../core/ipv4.js';
import { maskOf, type Subnet } from '../core/subnet.js';

/**
 * Whether an address lies in a subnet, for a rule that many packets come by: the whole address under a mask, which nft reads
 * in place. What it makes of `ip saddr 10.240.26.0/24`, a payload of 3 bytes, is a call, as is a device's name.
 */
export const within = (which: 'saddr' | 'daddr', { address, prefixLength }: Subnet): string =>
  `ip ${which} & ${formatIpv4(maskOf(prefixLength))} == ${formatIpv4(address)}`;

export const outside = (which: 'saddr' | 'daddr', { address, prefixLength }: Subnet): string =>
  `ip ${which} & ${formatIpv4(maskOf(prefixLength))} != ${formatIpv4(address)}`;
