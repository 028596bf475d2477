import type { Ipv4 } from '../core/ipv4.js';
import { formatLeaseValue, parseLeaseValue } from '../core/lease.js';
import { type LeaseEntry, NO_TTL } from './registry.js';

/** Who we are, in the registry's eyes. */
export interface NodeIdentity {
  readonly publicIp: Ipv4;
  readonly nodeId: string;
  /** What peers are to know of our datagrams: they come from any port. */
  readonly portMapped: boolean;
  /** Where we receive them: peers with another Backend.Port are to see it. */
  readonly port?: number;
}

/** What our key should say. */
export function leaseValueOf({ publicIp, nodeId, portMapped, port }: NodeIdentity): string {
  return formatLeaseValue(publicIp, nodeId, portMapped, port);
}

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

export function ownershipOf(entry: Pick<LeaseEntry, 'name' | 'value' | 'ttlId'>, identity: NodeIdentity): Ownership {
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

export function hasNodeId(entry: Pick<LeaseEntry, 'value'>, identity: NodeIdentity): boolean {
  const lease = parseLeaseValue(entry.value);
  return !('problem' in lease) && lease.nodeId === identity.nodeId;
}

/** Whether the key says of our ports what it should. */
export function saysPorts(entry: Pick<LeaseEntry, 'value'>, identity: NodeIdentity): boolean {
  const lease = parseLeaseValue(entry.value);
  return !('problem' in lease) && lease.portMapped === identity.portMapped && lease.port === identity.port;
}
