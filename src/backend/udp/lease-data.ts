import { quote } from '../../core/errors.js';
import type { BackendData, Lease } from '../../core/lease.js';

/** What peers need to know of a node beside its address. */
export function leaseDataOf(port: number, portMapped: boolean): BackendData {
  return { Port: port, ...(portMapped ? { PortMapped: true } : {}) };
}

/** @param port of this cluster */
export function whyUnreachable({ backend: { type, data } }: Pick<Lease, 'backend'>, port: number): string | undefined {
  // flannel's udp says no type in Kubernetes, and a reservation none at all.
  if (type !== '' && type !== 'udp') return `backend ${quote(type)} is not udp: the node cannot be reached from here`;
  // flannel's, and that of earlier versions, does not say its port.
  const theirs = data.Port;
  if (!Number.isInteger(theirs) || theirs === port) return undefined;
  return `Backend.Port ${theirs} is not ${port}: its node has another network config`;
}
