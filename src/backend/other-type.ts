import { quote } from '../core/errors.js';
import { isUntaken, type Lease } from '../core/lease.js';

/**
 * Why a node cannot be reached whose lease is of another type; undefined: it is of that one, or a reservation that nobody
 * has taken yet.
 */
export function whyOtherType(lease: Pick<Lease, 'backend' | 'reserved'>, type: string): string | undefined {
  const other = lease.backend.type;
  if (other === type || isUntaken(lease)) return undefined;
  return `backend ${quote(other)} is not ${type}: the node cannot be reached from here`;
}
