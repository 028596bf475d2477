/**
 * An IPv4 address in host byte order as a *signed* 32-bit integer: 10.0.0.1 is 0x0a000001, and
 * 192.168.0.1 is negative. Signed, because V8 keeps every int32 as a small integer while an unsigned
 * value of 2^31 or more can become a heap object, which the packet path must not allocate.
 * Text exists only at the edges: `address-text.ts` parses it.
 */
export type Ipv4 = number;

/** "No address": what the route table holds where there is no next hop. */
export const NO_ADDRESS: Ipv4 = 0;

export function formatIpv4(address: Ipv4): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** Orders addresses as a human does: as unsigned numbers. */
export function compareIpv4(a: Ipv4, b: Ipv4): number {
  return (a >>> 0) - (b >>> 0);
}

/** The address as its four bytes in network order, the form netlink takes. */
export function ipv4ToBytes(address: Ipv4): Buffer {
  return Buffer.from([address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255]);
}

/** Reads an address from four bytes in network order. */
export function ipv4FromBytes(bytes: Uint8Array): Ipv4 {
  return (bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
}

/** True for loopback (127/8), multicast (224/4), reserved (240/4, so broadcast too) and "this network" (0/8). */
export function isUnusableAsHost(address: Ipv4): boolean {
  const first = address >>> 24;
  return first === 0 || first === 127 || first >= 224;
}
