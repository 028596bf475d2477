import type { Holding } from '../../core/last-known.js';

/** The own key as etcd gave it: what compare-and-swap compares, and the lease that it lives by. */
export type EtcdHolding = {
  readonly revision: number;
  /** etcd's lease id, or NO_TTL. */
  readonly ttlId: string;
};

/** Of an earlier run, as its file says it; undefined: it is none of etcd's. */
export function toEtcdHolding({ revision, ttlId }: Holding): EtcdHolding | undefined {
  const isSense = Number.isInteger(revision) && typeof ttlId === 'string' && /^\d+$/.test(ttlId);
  return isSense ? { revision: revision as number, ttlId } : undefined;
}
