import type { OwnLease } from '../control/lease-acquisition.js';
import { keepLease } from '../control/lease-keeper.js';
import { watchLeases } from '../control/lease-watcher.js';
import type { NodeIdentity } from '../control/ownership.js';
import { type Holding, NO_TTL, type Registry } from '../control/registry.js';
import { lastWord, unlessAborted } from '../control/retry.js';
import { quote, type RudderError } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnetKey } from '../core/subnet.js';
import type { LastKnown } from '../system/last-known.js';
import type { PeerAdmission } from './peer-admission.js';
import { createPeerLog } from './peer-log.js';

/** A complete list is compared by value this often even while the watch looks healthy. */
const RESYNC_MS = 3 * 60_000;

export interface LeaseControlOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  /** The text that `config` was parsed from. */
  readonly configJson: string;
  readonly identity: NodeIdentity;
  readonly own: OwnLease;
  /** What a start without etcd goes on with; undefined: etcd has just given us the lease. */
  readonly known: LastKnown | undefined;
  readonly ttlSeconds: number;
  /** Told when etcd's word on peers has become current, or is so no longer. */
  readonly onCurrent: (isCurrent: boolean) => void;
  /** Told who the peers are. */
  readonly peers: Pick<PeerAdmission, 'apply'>;
  readonly log: Logger;
}

/** What control knows of etcd, for those who look at the node. */
export interface ControlState {
  /** The watch is up: what we know of peers is current. */
  readonly isCurrent: boolean;
  /** For how long it has not been so; 0 if it is. */
  readonly staleSeconds: number;
  /** Since etcd last told anything, a complete list or an event. */
  readonly contactAgeSeconds: number;
  /** Until the lease runs out if nobody renews it; undefined: it is a reservation and never does. */
  readonly leaseRemainingSeconds: number | undefined;
  readonly leaseRecoveries: number;
  readonly publicIp: Ipv4;
  readonly holding: Holding;
  /** The same array until any of them changes. */
  readonly peers: readonly Lease[];
}

export interface LeaseControl {
  state(): ControlState;
  /** Resolves when all peers are known; rejects when aborted or when the lease is lost before that. */
  listed(signal: AbortSignal): Promise<void>;
  /** Rejects when the subnet has gone to another node. */
  readonly lost: Promise<never>;
  isLost(): boolean;
  /** The node has another public address: published as soon as etcd takes it. */
  moveTo(publicIp: Ipv4): void;
  /** Stops watching and keeping; the lease stays. */
  stop(): Promise<void>;
  /** Stops, and gives the subnet back, unless etcd does not answer soon: then the lease runs out by itself. */
  release(): Promise<void>;
}

/** Control's two loops, wired to the backend: peers become routes, and the own key is looked after. */
export function startLeaseControl(options: LeaseControlOptions): LeaseControl {
  const { registry, config, own, known, identity, ttlSeconds, log } = options;
  const stopped = new AbortController();
  const name = formatSubnetKey(own.subnet);

  let hasLost = false;
  let onLost: (error: RudderError) => void = () => undefined;
  const lost = new Promise<never>((_, reject) => {
    onLost = (error) => {
      hasLost = true;
      reject(error);
    };
  });
  lost.catch(() => undefined); // nobody may be waiting for it any more
  const confirmedSecondsAgo = known?.validUntil ? ttlSeconds - (known.validUntil - Date.now()) / 1000 : 0;
  const keeping = { registry, identity, ttlSeconds, confirmedSecondsAgo, log, onLost };
  const keeper = keepLease(own.subnet, own.holding, keeping);

  const peers = new Map<string, Lease>();
  let peerList: readonly Lease[] | undefined;
  let contactAt = performance.now();
  /** Undefined: what we know is current. Not contactAt: where nothing changes the last contact is minutes ago. */
  let staleSince: number | undefined = contactAt;

  function onContact(isCurrent: boolean): void {
    const now = performance.now();
    if (isCurrent) contactAt = now;
    if (isCurrent === (staleSince === undefined)) return;
    staleSince = isCurrent ? undefined : now;
    options.onCurrent(isCurrent);
  }

  function onPeers(changes: LeaseChange[]): void {
    options.peers.apply(changes);
    for (const { type, lease } of changes) {
      if (type === 'removed') peers.delete(formatSubnetKey(lease.subnet));
      else peers.set(formatSubnetKey(lease.subnet), lease);
    }
    peerList = undefined;
    tell(changes);
  }

  const tell = createPeerLog(log);

  function onConfig(json: string | undefined): void {
    if (json === options.configJson) return;
    if (json === undefined)
      log.warn({}, 'the network config has been deleted: this node goes on, a restart would wait for it');
    else log.warn({ config: quote(json) }, 'the network config has changed, restart rudder to apply it');
  }

  const listed = new Promise<void>((resolve) => {
    const watching = {
      known: known?.peers ?? [],
      registry,
      config,
      ownName: name,
      log,
      resyncMs: RESYNC_MS,
      onPeers,
      onConfig,
      onContact,
    };
    void watchLeases({ ...watching, onOwnKey: keeper.ownKeySeen }, resolve, stopped.signal);
  });

  async function stop(): Promise<void> {
    stopped.abort();
    keeper.stop();
  }

  async function giveBack(): Promise<void> {
    await keeper.settled();
    if (keeper.holding().ttlId === NO_TTL) return; // a reservation is its operator's
    await registry.deleteLease({ name, ...keeper.holding() });
  }

  function listPeers(): readonly Lease[] {
    peerList ??= [...peers.values()];
    return peerList;
  }

  const secondsSince = (moment: number) => (performance.now() - moment) / 1000;

  return {
    state: () => ({
      isCurrent: staleSince === undefined,
      staleSeconds: staleSince === undefined ? 0 : secondsSince(staleSince),
      contactAgeSeconds: secondsSince(contactAt),
      leaseRemainingSeconds:
        keeper.holding().ttlId === NO_TTL ? undefined : Math.max(0, ttlSeconds - secondsSince(keeper.confirmedAt())),
      leaseRecoveries: keeper.recoveries(),
      publicIp: keeper.identity().publicIp,
      holding: keeper.holding(),
      peers: listPeers(),
    }),
    lost,
    isLost: () => hasLost,
    listed: (signal) => unlessAborted(Promise.race([listed, lost]), signal),
    moveTo: keeper.moveTo,
    stop,
    async release() {
      await stop();
      await lastWord(giveBack());
    },
  };
}
