import { parseSubnet } from '../../core/address-text.js';
import type { Subnet } from '../../core/subnet.js';

/** What `ip` prints of a route's destination; undefined: it is none of IPv4. */
export const toSubnet = (dst: string): Subnet | undefined => parseSubnet(dst.includes('/') ? dst : `${dst}/32`);
