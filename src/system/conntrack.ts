import { readFile } from 'node:fs/promises';
import type { Ipv4 } from '../core/ipv4.js';
import type { Netlink } from './netlink.js';

/** Of this network namespace; not there where the kernel's module is not loaded. */
const COUNT = '/proc/sys/net/netfilter/nf_conntrack_count';

/**
 * Whether connections of this host are tracked. The kernel does it only for who has a rule that asks for it, and never
 * says so. But it shows in the entries: a host that tracks has one for its connection to etcd at least. Entries outlive
 * the rules, so that a host may be thought to track for a while when it has ceased to.
 */
export async function isTracking(): Promise<boolean> {
  return Number(await readFile(COUNT, 'utf8').catch(() => '0')) > 0;
}

/** Removes the entries of datagrams between our port and those of others, both ways, until the signal is aborted. */
export async function forgetDatagrams(
  netlink: Pick<Netlink, 'deleteConntrack'>,
  own: Ipv4,
  others: readonly Ipv4[],
  port: number,
  signal: AbortSignal,
): Promise<void> {
  const ports = { sourcePort: port, destinationPort: port };
  for (const other of others) {
    for (const [source, destination] of [
      [own, other],
      [other, own],
    ]) {
      if (signal.aborted) return;
      await netlink.deleteConntrack({ source, destination, ...ports }).catch(() => undefined);
    }
  }
}
