import { watchLeases } from '../../../../src/control/etcd/lease-watcher.js';
import type { LeaseEntry } from '../../../../src/control/etcd/registry.js';
import type { IgnoredLease } from '../../../../src/control/membership.js';
import { formatIpv4 } from '../../../../src/core/ipv4.js';
import type { Lease } from '../../../../src/core/lease.js';
import { formatSubnet } from '../../../../src/core/subnet.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';
import { CONFIG } from './cluster.js';

export const OWN = '10.240.26.0-24';
export const PEER = '10.240.77.0-24';
export const OTHER = '10.240.99.0-24';
/** Seconds between two lists while the watch is healthy. */
export const RESYNC = 180;
/** Seconds; longer than any wait between two attempts. */
export const RECONNECT = 5.1;

/** A watcher over a registry in memory, and all that it told. */
export interface Watching {
  readonly registry: MemoryRegistry;
  readonly log: RecordingLog;
  readonly stop: AbortController;
  /** Lines such as `changed 10.240.77.0/24 10.1.1.78`. */
  readonly peers: string[];
  /** What is known of ignored keys at the moment. */
  readonly ignored: Map<string, IgnoredLease>;
  readonly ownKeys: (LeaseEntry | undefined)[];
  readonly configs: (string | undefined)[];
  listed: number;
  /** Of etcd, as it was told. */
  answers: number;
  /** Why the watch does not stand; undefined: it does. */
  readonly watches: (string | undefined)[];
  /** Called after each batch of peer changes was noted. */
  onPeers: () => void;
  /** What was told of peers since the last look. */
  news(): string[];
  start(): Promise<void>;
}

/** As a backend that reaches udp's nodes would say it. */
const problemOf = ({ backend: { type } }: Lease) =>
  type === '' || type === 'udp' ? undefined : `backend "${type}" is not udp`;

export function createWatching(): Watching {
  const watching: Watching = {
    registry: createMemoryRegistry(() => Date.now()),
    log: createRecordingLog(),
    stop: new AbortController(),
    peers: [],
    ignored: new Map(),
    ownKeys: [],
    configs: [],
    listed: 0,
    answers: 0,
    watches: [],
    onPeers: () => undefined,
    news: () => watching.peers.splice(0),
    start() {
      const { registry, log, stop, peers, ignored, ownKeys, configs, watches } = watching;
      const options: Parameters<typeof watchLeases>[0] = {
        ...{ registry, config: CONFIG, problemOf, ownName: OWN, log, resyncMs: RESYNC * 1000 },
        onPeers(changes) {
          peers.push(
            ...changes.map(({ type, lease }) => {
              const state = lease.reserved ? ', reserved' : '';
              return `${type} ${formatSubnet(lease.subnet)} ${formatIpv4(lease.publicIp)}${state}`;
            }),
          );
          watching.onPeers();
        },
        onIgnored: (name, lease) => void (lease === undefined ? ignored.delete(name) : ignored.set(name, lease)),
        onOwnKey: (entry) => ownKeys.push(entry),
        onAnswer: () => watching.answers++,
        onWatch: (problem) => watches.push(problem),
        onConfig: (json) => configs.push(json),
      };
      return watchLeases(options, () => watching.listed++, stop.signal);
    },
  };
  return watching;
}
