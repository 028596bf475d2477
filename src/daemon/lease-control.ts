import { differencesOf, parseNetworkConfig } from '../backend/config.js';
import type { BackendSettings } from '../backend/kind.js';
import { bootNow } from '../control/boot-clock.js';
import type { OwnLease } from '../control/etcd/lease-acquisition.js';
import { type EarlierLease, keepLease, type LeaseKeeper, type OwnKey } from '../control/etcd/lease-keeper.js';
import { type IgnoredLease, watchLeases } from '../control/etcd/lease-watcher.js';
import { type Holding, NO_TTL, type Registry } from '../control/etcd/registry.js';
import { lastWord, unlessAborted } from '../control/retry.js';
import { fitsConfig } from '../core/allocator.js';
import { messageOf, type RudderError } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { LastKnown } from '../core/last-known.js';
import type { Lease, NodeReach } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import { correctKey, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../core/subnet.js';
import type { ConfigStatus } from '../ops/status.js';
import type { PeerAdmission } from './peer-admission.js';
import { createPeerLog } from './peer-log.js';

/** A complete list is compared by value this often even while the watch looks healthy. */
const RESYNC_MS = 3 * 60_000;

export interface LeaseControlOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  readonly settings: Pick<BackendSettings, 'problemOf'>;
  /** Where that is in etcd. */
  readonly configKey: string;
  readonly identity: NodeReach;
  readonly own: OwnLease;
  /** Peers of the last run, until etcd says who they are now. */
  readonly fallback: LastKnown | undefined;
  /** Why the lease is the fallback's; undefined: etcd has just given it to us. */
  readonly degraded: string | undefined;
  readonly ttlSeconds: number;
  /** Throws RudderError if this host could not have that config. */
  readonly checkConfig: (config: NetworkConfig) => Promise<void>;
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
  /** Why it is not so. */
  readonly etcdProblem: string | undefined;
  /** Since etcd last answered or told anything; undefined: it has not since the start. */
  readonly contactAgeSeconds: number | undefined;
  /** Until the lease runs out if nobody renews it, 0 if its key is gone; undefined: it is a reservation and never does. */
  readonly leaseRemainingSeconds: number | undefined;
  readonly ttlSeconds: number;
  readonly ownKey: OwnKey;
  /** Why the lease could not be renewed or its key written, the last time that it was tried. */
  readonly leaseProblem: string | undefined;
  /** What etcd last said of the network config, compared with what this node runs with. */
  readonly config: ConfigStatus;
  readonly leaseRecoveries: number;
  readonly publicIp: Ipv4;
  readonly holding: Holding;
  /** The same array until any of them changes. */
  readonly peers: readonly Lease[];
  /** Leases that are no peers', with the reason. */
  readonly ignored: ReadonlyMap<string, IgnoredLease>;
}

export interface LeaseControl {
  state(): ControlState;
  /** Resolves when all peers are known; rejects when aborted or when the lease is lost before that. */
  listed(signal: AbortSignal): Promise<void>;
  /** Rejects when the subnet has gone to another node. */
  readonly lost: Promise<never>;
  isLost(): boolean;
  /** The node is reached in another way: published as soon as etcd takes it. */
  publish: LeaseKeeper['publish'];
  /** Stops watching and keeping; the lease stays. */
  stop(): Promise<void>;
  /** Stops, and gives the subnet back, unless etcd does not answer soon: then the lease runs out by itself. */
  release(): Promise<void>;
}

/** Control's two loops, wired to the backend: peers become routes, and the own key is looked after. */
export function startLeaseControl(options: LeaseControlOptions): LeaseControl {
  const { registry, config, own, fallback, degraded, identity, ttlSeconds, log } = options;
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
  const earlier = degraded === undefined ? undefined : fallback && earlierLeaseOf(fallback, ttlSeconds);
  const keeper = keepLease(own.subnet, own.holding, { registry, identity, ttlSeconds, earlier, log, onLost });

  const peers = new Map<string, Lease>();
  let peerList: readonly Lease[] | undefined;
  let contactAt = degraded === undefined ? bootNow() : undefined;
  let etcdProblem = degraded;
  /** Undefined: what we know is current. Not contactAt: where nothing changes the last contact is minutes ago. */
  let staleSince: number | undefined = bootNow();

  function onAnswer(): void {
    contactAt = bootNow();
  }

  function onWatch(problem: string | undefined): void {
    const now = bootNow();
    const isCurrent = problem === undefined;
    etcdProblem = problem;
    if (isCurrent) onAnswer();
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

  const ignored = new Map<string, IgnoredLease>();
  function onIgnored(key: string, lease: IgnoredLease | undefined): void {
    if (lease === undefined) ignored.delete(key);
    else ignored.set(key, lease);
  }

  let configSeen: ConfigStatus = { state: degraded === undefined ? 'current' : 'unknown', detail: null };

  /** Told when it becomes another: a config that was only written in another way is no news. */
  function tellConfig(next: ConfigStatus): void {
    const before = configSeen;
    configSeen = next;
    if (before.state === next.state && before.detail === next.detail) return;
    if (next.detail !== null)
      log.warn({ state: next.state, detail: next.detail }, 'the network config in etcd is another');
    else if (before.state !== 'unknown') log.info({}, 'the network config in etcd is again the one in use');
  }

  function onConfig(json: string | undefined): void {
    const next = compareConfig(config, own.subnet, json, options.configKey);
    tellConfig(next);
    if (next.state !== 'changed') return;
    options.checkConfig(parseNetworkConfig(json!)).catch((error: unknown) => {
      if (configSeen === next) tellConfig({ state: 'invalid', detail: `${messageOf(error)}: ${RESTART_GOES_ON}` });
    });
  }

  const listed = new Promise<void>((resolve) => {
    const watching = {
      known: fallback?.peers ?? [],
      registry,
      config,
      problemOf: options.settings.problemOf,
      ownName: name,
      log,
      resyncMs: RESYNC_MS,
      onPeers,
      onIgnored,
      onConfig,
      onAnswer,
      onWatch,
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

  const secondsSince = (moment: number) => (bootNow() - moment) / 1000;

  function leaseRemainingSeconds(): number | undefined {
    if (keeper.ownKey() === 'gone') return 0;
    if (keeper.holding().ttlId === NO_TTL) return undefined;
    return Math.max(0, keeper.ttlSeconds() - secondsSince(keeper.confirmedAt()));
  }

  function contactAgeSeconds(): number | undefined {
    const moments = [contactAt, keeper.answeredAt()].filter((moment) => moment !== undefined);
    return moments.length === 0 ? undefined : secondsSince(Math.max(...moments));
  }

  return {
    state: () => ({
      isCurrent: staleSince === undefined,
      staleSeconds: staleSince === undefined ? 0 : secondsSince(staleSince),
      etcdProblem,
      contactAgeSeconds: contactAgeSeconds(),
      leaseProblem: keeper.problem(),
      leaseRemainingSeconds: leaseRemainingSeconds(),
      ttlSeconds: keeper.ttlSeconds(),
      ownKey: keeper.ownKey(),
      config: configSeen,
      leaseRecoveries: keeper.recoveries(),
      publicIp: keeper.identity().publicIp,
      holding: keeper.holding(),
      peers: listPeers(),
      ignored,
    }),
    lost,
    isLost: () => hasLost,
    listed: (signal) => unlessAborted(Promise.race([listed, lost]), signal),
    publish: keeper.publish,
    stop,
    async release() {
      await stop();
      await lastWord(giveBack());
    },
  };
}

function earlierLeaseOf({ validUntil, keyDiffers, ...known }: LastKnown, ttlSeconds: number): EarlierLease {
  const ttl = known.ttlSeconds ?? ttlSeconds;
  const confirmedSecondsAgo = validUntil === null ? 0 : ttl - (validUntil - Date.now()) / 1000;
  return { ttlSeconds: ttl, confirmedSecondsAgo, ownKey: keyDiffers ? 'differs' : 'written' };
}

const RESTART_GOES_ON = 'a restart goes on with the config in use for as long as the lease is valid';

/** What etcd says of the config, and what a restart would make of it. */
function compareConfig(config: NetworkConfig, own: Subnet, json: string | undefined, key: string): ConfigStatus {
  if (json === undefined) return { state: 'deleted', detail: `the key ${key} is deleted: ${RESTART_GOES_ON}` };
  let next: NetworkConfig;
  try {
    next = parseNetworkConfig(json, correctKey(key));
  } catch (error) {
    return { state: 'invalid', detail: `${messageOf(error)}: ${RESTART_GOES_ON}` };
  }
  const differences = differencesOf(config, next);
  if (differences.length === 0) return { state: 'current', detail: null };
  const subnet = fitsConfig(next, own) ? 'keeps the subnet' : `leases another subnet than ${formatSubnet(own)}`;
  return { state: 'changed', detail: `${differences.join(', ')}: a restart applies it and ${subnet}` };
}
