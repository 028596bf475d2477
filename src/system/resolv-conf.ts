import { readFile } from 'node:fs/promises';
import { parseIpv4 } from '../core/address-text.js';
import type { Ipv4 } from '../core/ipv4.js';

/** The resolver's own, and what systemd-resolved asks behind its stub at 127.0.0.53. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** The IPv4 name servers that this host asks, each once. */
export async function listNameservers(read = (path: string) => readFile(path, 'utf8')): Promise<Ipv4[]> {
  const texts = await Promise.all(FILES.map((path) => read(path).catch(() => '')));
  const addresses = texts.flatMap(nameserversIn);
  return [...new Set(addresses)];
}

/** @param text of a resolv.conf(5) */
export function nameserversIn(text: string): Ipv4[] {
  return text.split('\n').flatMap((line) => {
    const address = parseIpv4(/^nameserver\s+(\S+)/.exec(line)?.[1] ?? '');
    return address === undefined ? [] : [address];
  });
}
