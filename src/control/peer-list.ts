import type { Lease } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import { formatSubnetKey } from '../core/subnet.js';
import type { Keeping } from './membership.js';

/** Who the peers are, for those who ask. */
export function createPeerList(onPeers: Keeping['onPeers']) {
  const peers = new Map<string, Lease>();
  let listed: readonly Lease[] | undefined;
  return {
    changed(changes: readonly LeaseChange[]): void {
      onPeers(changes);
      for (const { type, lease } of changes) {
        if (type === 'removed') peers.delete(formatSubnetKey(lease.subnet));
        else peers.set(formatSubnetKey(lease.subnet), lease);
      }
      listed = undefined;
    },
    /** The same array until any of them changes. */
    list(): readonly Lease[] {
      listed ??= [...peers.values()];
      return listed;
    },
  };
}
