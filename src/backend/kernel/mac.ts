import { createHash } from 'node:crypto';
import type { Mac } from '../../system/netlink.js';

/** A stable one: locally administered, and of one host. */
export function macOf(nodeId: string): Mac {
  const bytes = createHash('sha256').update(`VtepMAC of ${nodeId}`).digest().subarray(0, 6);
  bytes[0] = (bytes[0] & 0xfe) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/**
 * Reads what a lease says. Not of one host are those of groups, and zero: the kernel would send all there that it has no
 * entry for.
 * @returns undefined if it is no MAC of one host
 */
export function parseMac(text: unknown): Mac | undefined {
  if (typeof text !== 'string' || !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  const isOfGroup = (Number.parseInt(text.slice(0, 2), 16) & 1) !== 0;
  return isOfGroup || text === '00:00:00:00:00:00' ? undefined : text.toLowerCase();
}
