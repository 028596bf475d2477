import type { CertificateEnd } from '../../core/certificates.js';
import type { StoredConfig } from '../administration.js';
import type { ConfigVersion } from './config-history.js';
import type { EtcdHolding } from './holding.js';

/**
 * What Rudder needs of the store of leases. Two implementations, `etcd-registry.ts` and the tests' `memory-registry.ts`,
 * pass one contract test. Keys are relative to the prefix: `config`, or a lease's `10.240.26.0-24`.
 *
 * Every call may reject with a RudderError: `registry-unavailable` (try again) or `registry-refused` (the user must act).
 */
export interface Registry {
  /** The network config's JSON; undefined while nobody has created it. */
  getConfig(): Promise<string | undefined>;
  /** The same, with what `replaceConfig` compares. */
  readConfig(): Promise<StoredConfig | undefined>;
  /**
   * Creates the network config; false if there is one already, which stays as it is.
   * @param note for the history, written with it or not at all
   */
  createConfig(json: string, note?: string): Promise<boolean>;
  /** Replaces it if it is still at that revision; false if it is not. */
  replaceConfig(revision: number, json: string, note: string): Promise<boolean>;
  /** The last versions that were noted, newest first; older ones are removed when one is written. */
  configHistory(): Promise<ConfigVersion[]>;

  /** All lease keys as they were at one revision, in one request. */
  listLeases(): Promise<LeaseList>;
  /**
   * Creates the key with a new TTL; undefined if the key exists: another node was faster.
   * @param ttlSeconds undefined: without a TTL, as a reservation
   * @param listedAt of a list: undefined too if any lease was written since
   */
  createLease(
    name: string,
    value: string,
    ttlSeconds: number | undefined,
    listedAt?: number,
  ): Promise<EtcdHolding | undefined>;
  /**
   * Replaces the value if the key is still at the revision of `entry`; undefined if it is not.
   * @param ttlSeconds undefined keeps the key without a TTL: a reservation stays one
   * @param listedAt of a list: undefined too if any lease was written since
   */
  updateLease(
    entry: LeaseEntry,
    value: string,
    ttlSeconds: number | undefined,
    listedAt?: number,
  ): Promise<EtcdHolding | undefined>;
  /** Deletes the key if it is still at that revision, and its TTL. */
  deleteLease(entry: Omit<LeaseEntry, 'value'>): Promise<boolean>;
  /** Extends the TTL to its full length; false if the TTL is gone, and its key with it. */
  keepAlive(ttlId: string): Promise<boolean>;
  /** How long the key would live without another keep-alive; undefined if it is gone. */
  timeToLive(ttlId: string): Promise<TimeToLive | undefined>;

  /** Reports every change of the config and of leases from a revision on, in order, until closed or broken. */
  watch(fromRevision: number, handler: WatchHandler): Watch;

  /**
   * Connects anew, and ends every watch. For a host that has another address: what it had connected is dead, and would
   * be noticed only by the keep-alive.
   */
  reconnect(): void;
  /** The CA and the certificate that the store is spoken to with, if there are any, and when they end. */
  certificates(): readonly CertificateEnd[];
  close(): void;
}

/** The TTL id of a key that has none: etcd's lease 0. Such a key is a permanent reservation. */
export const NO_TTL = '0';

export interface LeaseEntry {
  readonly name: string;
  readonly value: string;
  /** Of the key's last change (etcd's mod_revision): what compare-and-swap compares. */
  readonly revision: number;
  /** etcd's lease id, or NO_TTL. */
  readonly ttlId: string;
}

export interface LeaseList {
  readonly revision: number;
  readonly entries: LeaseEntry[];
}

export interface TimeToLive {
  readonly remainingSeconds: number;
  readonly grantedSeconds: number;
}

export type WatchEvent =
  | { readonly type: 'put'; readonly entry: LeaseEntry }
  | { readonly type: 'delete'; readonly name: string; readonly revision: number }
  | { readonly type: 'config'; readonly json: string | undefined };

export interface WatchHandler {
  /** The store has agreed to the watch. Until then nothing would be told of a change. */
  opened(): void;
  /** All events of one revision arrive in one call. */
  events(events: WatchEvent[]): void;
  /** Called at most once, and never after close(): the watch is over, list again and watch from there. */
  ended(reason: Error): void;
}

export interface Watch {
  close(): void;
}
