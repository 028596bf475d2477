import { readFile } from 'node:fs/promises';

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
