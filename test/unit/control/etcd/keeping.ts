import type { EtcdHolding } from '../../../../src/control/etcd/holding.js';
import { keepLease, type LeaseKeeper } from '../../../../src/control/etcd/lease-keeper.js';
import type { LeaseEntry } from '../../../../src/control/etcd/registry.js';
import type { RudderError } from '../../../../src/core/errors.js';
import type { NodeReach } from '../../../../src/core/lease.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import { entryOf, ME, MY_VALUE, subnet } from './cluster.js';

export const NAME = '10.240.26.0-24';
/** Seconds. */
export const TTL = 90;
export const INTERVAL = 30;

/** A keeper of a lease in a registry in memory. */
export interface Keeping {
  readonly registry: MemoryRegistry;
  readonly log: RecordingLog;
  /** What onLost was told. */
  readonly lost: RudderError[];
  readonly initial: EtcdHolding;
  readonly keeper: LeaseKeeper;
  /** Another keeper of the same subnet. */
  keep(holding: EtcdHolding, identity?: NodeReach): LeaseKeeper;
  /** The key as it is in the registry. */
  own(): Promise<LeaseEntry | undefined>;
}

export async function createKeeping(): Promise<Keeping> {
  const registry = createMemoryRegistry(() => Date.now());
  const log = createRecordingLog();
  const lost: RudderError[] = [];
  const onLost = (error: RudderError) => void lost.push(error);
  const keep = (holding: EtcdHolding, identity = ME) =>
    keepLease(subnet('10.240.26.0/24'), holding, { registry, identity, ttlSeconds: TTL, log, onLost });
  const initial = (await registry.createLease(NAME, MY_VALUE, TTL))!;
  return { registry, log, lost, initial, keeper: keep(initial), keep, own: () => entryOf(registry, NAME) };
}
