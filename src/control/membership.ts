import type { CertificateEnd } from '../core/certificates.js';
import type { EventKind } from '../core/event.js';
import type { HistogramCounts } from '../core/histogram.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Holding, LastKnown } from '../core/last-known.js';
import type { Lease, NodeReach } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { ConfigPlace, NetworkConfig } from '../core/network-config.js';
import type { RegistryKind } from '../core/registry-kind.js';
import type { Subnet } from '../core/subnet.js';

/**
 * A way to belong to a cluster: what a node asks of the store that all nodes share, whatever that is. A folder beside
 * this file for each way; `open.ts` chooses.
 *
 *     getConfig() ---> join() ---> keep() ---> state(), publish() ... leave() or stop()
 *
 * Promises reject with a RudderError: `registry-unavailable` (try again) or `registry-refused` (the user must act).
 */
export interface Membership {
  readonly kind: RegistryKind;
  /** Where the store is asked, as URLs: the overlay must not cover the way there. */
  readonly endpoints: readonly string[];
  /** Which store, and what of it: the name of the cluster, as far as this node can tell without asking. */
  readonly source: string;
  readonly configPlace: ConfigPlace;

  /** The network config's JSON; undefined while there is none. @param patienceMs how long an answer may take at most */
  getConfig(patienceMs?: number): Promise<string | undefined>;
  /**
   * Why what an earlier run held is nothing to go on with, as far as the store has said so far; undefined: it has not said
   * that. No word is waited for. @param publicIp of this host now
   */
  flawOf(known: Pick<LastKnown, 'subnet' | 'publicIp' | 'holding'>, publicIp: Ipv4): string | undefined;
  /** Gets this node its subnet. @throws RudderError `lease-conflict` if a living node is who we say that we are */
  join(wanted: Wanted, signal: AbortSignal): Promise<OwnLease>;
  /** Keeps what was joined, and follows the peers. */
  keep(joined: Keeping): Joined;

  /** Something has happened on this node: for a store that others look at. At a bounded rate. */
  note?(kind: EventKind, line: string): void;
  /** Connects anew. For a host that has another address: what it had connected is dead, and would be noticed late. */
  reconnect(): void;
  /** What the store is spoken to with, and when that ends. */
  certificates(): readonly CertificateEnd[];
  /** How long its requests took; none where there are no requests. */
  requestTimes?(): HistogramCounts;
  close(): void;
}

export interface Wanted {
  readonly config: NetworkConfig;
  readonly identity: NodeReach;
  /** The subnet of our last run, from the state directory. */
  readonly savedSubnet: Subnet | undefined;
  /** The first failure is thrown, and silence is one: there is something else to go on with. */
  readonly isHasty?: boolean | undefined;
}

export interface OwnLease {
  readonly subnet: Subnet;
  readonly holding: Holding;
  /** True if this run created it: a start that fails later takes it back. */
  readonly created: boolean;
}

export interface Keeping {
  readonly config: NetworkConfig;
  readonly identity: NodeReach;
  readonly own: OwnLease;
  /** Peers of the last run, until the store says who they are now. */
  readonly fallback: LastKnown | undefined;
  /** Why the lease is the fallback's; undefined: the store has just given it to us. */
  readonly degraded: string | undefined;
  /** Why this node's backend cannot reach the node of a lease; undefined: it can. */
  readonly problemOf: (lease: Lease) => string | undefined;
  /** Told when the store's word on peers has become current, or is so no longer. */
  onCurrent(isCurrent: boolean): void;
  /** Told of peers that appeared, moved or left. */
  onPeers(changes: readonly LeaseChange[]): void;
  /** Told the network config at the first look, and after each change; undefined: there is none. */
  onConfig(json: string | undefined): void;
}

/** A node that belongs. */
export interface Joined {
  state(): JoinedState;
  /** Resolves when all peers are known; rejects when aborted or when the lease is lost before that. */
  listed(signal: AbortSignal): Promise<void>;
  /** Rejects when the subnet has gone to another node. */
  readonly lost: Promise<never>;
  isLost(): boolean;
  /** The node is reached in another way: published as soon as the store takes it. */
  publish(reach: Partial<Pick<NodeReach, 'publicIp' | 'backend'>>): void;
  /** Whether packets flow (undefined), or why not: for a store that tells others. The first word is said at READY. */
  carries?(problem: string | undefined): void;
  /** Stops watching and keeping; the lease stays. */
  stop(): Promise<void>;
  /** Stops, and gives the subnet back, unless the store does not answer soon: then the lease runs out by itself. */
  leave(): Promise<void>;
}

/** What is known of the store, for those who look at the node. */
export interface JoinedState {
  /** The watch is up: what we know of peers is current. */
  readonly isCurrent: boolean;
  /** For how long it has not been so; 0 if it is. */
  readonly staleSeconds: number;
  /** Why it is not so. */
  readonly problem: string | undefined;
  /** Since the store last answered or told anything; undefined: it has not since the start. */
  readonly contactAgeSeconds: number | undefined;
  readonly lease: {
    /** Undefined: the store has no such thing. */
    readonly ttlSeconds: number | undefined;
    /** Until it runs out if nobody renews it, 0 if its key is gone; undefined: it never does, as a reservation. */
    readonly remainingSeconds: number | undefined;
    readonly ownKey: OwnKey;
    readonly recoveries: number;
    /** Why it could not be renewed or its key written, the last time that it was tried. */
    readonly problem: string | undefined;
    readonly holding: Holding;
  };
  readonly publicIp: Ipv4;
  /** The same array until any of them changes. */
  readonly peers: readonly Lease[];
  /** Leases that are no peers', with the reason. */
  readonly ignored: ReadonlyMap<string, IgnoredLease>;
}

/**
 * The own key as last read: as we wrote it, not there, or ours but with an address, backend or TTL that we did not
 * write. A stranger's ends the claim.
 */
export type OwnKey = 'written' | 'gone' | 'differs';

/** A key that no packets are sent by. */
export interface IgnoredLease {
  /** Shortened. */
  readonly key: string;
  /** Undefined, all of these: it does not say. */
  readonly host: string | undefined;
  readonly version: string | undefined;
  readonly backend: string | undefined;
  readonly publicIp: Ipv4 | undefined;
  readonly problem: string;
}
