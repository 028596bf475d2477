import { formatIpv4 } from '../core/ipv4.js';
import { maskOf, type Subnet } from '../core/subnet.js';

/**
 * Whether an address lies in a subnet, for a rule that many packets come by: the whole address under a mask, which nft reads
 * in place. What it makes of `ip saddr 10.240.26.0/24`, a payload of 3 bytes, is a call, as is a device's name.
 */
export const within = (which: Address, subnet: Subnet): string => masked(which, '==', subnet);
export const outside = (which: Address, subnet: Subnet): string => masked(which, '!=', subnet);

type Address = 'saddr' | 'daddr';

const masked = (which: Address, is: '==' | '!=', { address, prefixLength }: Subnet) =>
  `ip ${which} & ${formatIpv4(maskOf(prefixLength))} ${is} ${formatIpv4(address)}`;
