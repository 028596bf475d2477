import { isDeepStrictEqual } from 'node:util';
import type { Lease } from './lease.js';
import { formatSubnetKey, type Subnet } from './subnet.js';

export interface LeaseChange {
  readonly type: 'added' | 'changed' | 'removed';
  readonly lease: Lease;
}

/**
 * The leases of all peers by subnet. It answers what *changed*, compared by value: a peer that came back with
 * another PublicIP while we were not looking is a change, although its subnet is the same.
 */
export interface LeaseSet {
  put(lease: Lease): LeaseChange[];
  remove(subnet: Subnet): LeaseChange[];
  /** Makes the set equal to a complete list. */
  replaceAll(leases: readonly Lease[]): LeaseChange[];
  values(): Lease[];
}

/** A node that only took a new node id is what it was to its peers. */
function isAlike(one: Lease, other: Lease): boolean {
  const told = ({ publicIp, reserved, host, version, nodeKey, backend }: Lease) => [
    publicIp,
    reserved,
    host,
    version,
    nodeKey,
    backend,
  ];
  return isDeepStrictEqual(told(one), told(other));
}

export function createLeaseSet(): LeaseSet {
  const bySubnet = new Map<string, Lease>();

  function put(lease: Lease): LeaseChange[] {
    const key = formatSubnetKey(lease.subnet);
    const before = bySubnet.get(key);
    bySubnet.set(key, lease);
    if (before === undefined) return [{ type: 'added', lease }];
    return isAlike(before, lease) ? [] : [{ type: 'changed', lease }];
  }

  function remove(subnet: Subnet): LeaseChange[] {
    const key = formatSubnetKey(subnet);
    const lease = bySubnet.get(key);
    if (lease === undefined) return [];
    bySubnet.delete(key);
    return [{ type: 'removed', lease }];
  }

  function replaceAll(leases: readonly Lease[]): LeaseChange[] {
    const listed = new Set(leases.map((lease) => formatSubnetKey(lease.subnet)));
    const gone = [...bySubnet.values()].filter((lease) => !listed.has(formatSubnetKey(lease.subnet)));
    return [...gone.flatMap((lease) => remove(lease.subnet)), ...leases.flatMap(put)];
  }

  return { put, remove, replaceAll, values: () => [...bySubnet.values()] };
}
