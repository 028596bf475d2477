import type { BackendData, Lease } from '../../core/lease.js';
import { whyOtherType } from '../other-type.js';

/** What peers need to know of a node beside its address. */
export function leaseDataOf(port: number, { portMapped = false, isDirect = false } = {}): BackendData {
  return { Port: port, ...(portMapped ? { PortMapped: true } : {}), ...(isDirect ? { DirectRouting: true } : {}) };
}

/** @param port of this cluster */
export function whyUnreachable(lease: Pick<Lease, 'backend' | 'reserved'>, port: number): string | undefined {
  const { type, data } = lease.backend;
  // flannel's udp says no type in Kubernetes, and a reservation none at all.
  const other = type === '' ? undefined : whyOtherType(lease, 'udp');
  if (other !== undefined) return other;
  // flannel's, and that of earlier versions, does not say its port.
  const theirs = data.Port;
  if (!Number.isInteger(theirs) || theirs === port) return undefined;
  return `Backend.Port ${theirs} is not ${port}: its node has another network config`;
}
