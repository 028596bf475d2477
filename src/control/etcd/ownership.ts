import { isDeepStrictEqual } from 'node:util';
import { type NodeReach, parseLeaseValue } from '../../core/lease.js';
import { type LeaseEntry, NO_TTL } from './registry.js';

/**
 * Whose key this is:
 *
 *     node id \\ PublicIP   ours                              another
 *     ours                 ours                              unclear: we moved, or our state was cloned;
 *                                                            a stranger's if a reservation
 *     none                 ours: written by flannel          a stranger's
 *     another              unclear: we lost our state, or    a stranger's
 *                          a twin; ours if a reservation
 *
 * A reservation is made for an address, and has no TTL that anybody could refresh.
 */
export type Ownership = 'ours' | 'unclear' | 'strangers';

export function ownershipOf(entry: Pick<LeaseEntry, 'name' | 'value' | 'ttlId'>, identity: NodeReach): Ownership {
  const lease = parseLeaseValue(entry.value);
  // A dual-stack key of flannel's names more than we would keep: it stays a stranger's.
  if ('problem' in lease || entry.name.includes('&')) return 'strangers';
  const sameId = lease.nodeId === identity.nodeId;
  const sameIp = lease.publicIp === identity.publicIp;
  if (!sameId && !sameIp) return 'strangers';
  if (sameIp && (sameId || lease.nodeId === undefined)) return 'ours';
  if (entry.ttlId === NO_TTL) return sameIp ? 'ours' : 'strangers';
  return 'unclear';
}

export function hasNodeId(entry: Pick<LeaseEntry, 'value'>, identity: NodeReach): boolean {
  const lease = parseLeaseValue(entry.value);
  return !('problem' in lease) && lease.nodeId === identity.nodeId;
}

/** Whether the key says what it should of our backend, our name, version and key. */
export function saysWhatWeAre(
  entry: Pick<LeaseEntry, 'value'>,
  { backend, host, version, nodeKey }: NodeReach,
): boolean {
  const lease = parseLeaseValue(entry.value);
  if ('problem' in lease) return false;
  return (
    lease.host === host &&
    lease.version === version &&
    lease.nodeKey === nodeKey &&
    isDeepStrictEqual(lease.backend, backend)
  );
}
