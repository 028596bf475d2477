import type { Ipv4 } from '../core/ipv4.js';
import type { ConfigPlace, NetworkConfig } from '../core/network-config.js';
import type { Subnet } from '../core/subnet.js';

/** What an operator asks of the store that all nodes share, from any host. Promises reject as those of a Membership do. */
export interface Administration {
  readonly configPlace: ConfigPlace;
  /** Where it asks. @throws RudderError if that cannot be found out */
  endpoints(): readonly string[];
  /** The network config's JSON; undefined while there is none. */
  getConfig(): Promise<string | undefined>;
  /** The same, with what `replaceConfig` compares. */
  readConfig(): Promise<StoredConfig | undefined>;
  /**
   * Creates the network config; false if there is one already, which stays as it is.
   * @param note for the history of it
   */
  createConfig(json: string, note: string): Promise<boolean>;
  /** Replaces it; false, and nothing is written, if somebody has changed it since it was read. */
  replaceConfig(revision: number, json: string, note: string): Promise<boolean>;
  /** The last 20 versions of the network config that Rudder has written, newest first. */
  configHistory(): Promise<readonly { readonly number: number; readonly note: string }[]>;
  /** All leases, in one request. */
  listClaims(): Promise<readonly Claim[]>;
  /** All leases with the time that is left of each, which is a request for each. */
  listLeases(): Promise<readonly StoredLease[]>;
  /**
   * Reserves a subnet for the node with that address, for ever.
   * @returns the other subnets that this node holds at the moment
   * @throws RudderError `usage` or `lease-conflict`
   */
  reserve(config: NetworkConfig, subnet: Subnet, publicIp: Ipv4): Promise<string[]>;
  /**
   * Gives a reservation up.
   * @param heard subnets that somebody uses for certain
   * @param ttlSeconds in which the node has to renew it, if it has one
   * @returns whether it is an ordinary lease from now on
   * @throws RudderError `usage` or `lease-conflict`
   */
  release(subnet: Subnet, heard: ReadonlySet<string>, ttlSeconds: number): Promise<boolean>;
  /** Gives back the lease that a stopped node has left. @returns false if there is none of that node id */
  giveBack(subnet: Subnet, nodeId: string): Promise<boolean>;
  close(): void;
}

/** The network config as it is stored, at its last change. */
export interface StoredConfig {
  readonly json: string;
  readonly revision: number;
}

/** A lease as it is stored, whatever is in it, and whether it runs out. */
export interface Claim {
  readonly name: string;
  readonly value: string;
  readonly isForEver: boolean;
}

/** The same with the time that is left. */
export interface StoredLease {
  readonly name: string;
  readonly value: string;
  /** Null: it never runs out. */
  readonly ttlSeconds: number | null;
}
