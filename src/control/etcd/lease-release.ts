import { parseLeaseValue } from '../../core/lease.js';
import { formatSubnetKey, type Subnet } from '../../core/subnet.js';
import { NO_TTL, type Registry } from './registry.js';

/**
 * Gives back the lease that a stopped node has left: the key of its last subnet, if that still has its node id. A
 * reservation is its operator's and stays.
 * @returns false if there is no such lease
 */
export async function releaseLease(registry: Registry, subnet: Subnet, nodeId: string): Promise<boolean> {
  const name = formatSubnetKey(subnet);
  const entry = (await registry.listLeases()).entries.find((candidate) => candidate.name === name);
  if (entry === undefined || entry.ttlId === NO_TTL) return false;
  const lease = parseLeaseValue(entry.value);
  if ('problem' in lease || lease.nodeId !== nodeId) return false;
  return registry.deleteLease(entry);
}
