import type { Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import type { Tunnel } from '../system/firewall-rules.js';
import type { Netlink } from '../system/netlink.js';
import type { Backend } from './backend.js';
import type { Offload } from './packet-path/tables/offloads.js';
import type { ImplementationChoice } from './wireguard/implementations.js';

/**
 * A way to move packets between nodes, such as udp. Each is a folder with a kind.ts; kinds.ts lists them.
 *
 *     network config --configure()--> BackendSettings --open()--> Backend
 *                                      what can be said            device, peers
 *                                      before anything is opened
 */
export interface BackendKind {
  /** `Backend.Type` in the config and BackendType in leases. */
  readonly type: string;
  /** The keys of `Backend` that have a meaning, as they are written, beside Type. */
  readonly keys: readonly string[];
  /**
   * What has a node's overlay address, where it answers pings and other nodes' questions: its device, the first address of
   * its subnet, or the bridge of its containers, the next one, if there is a bridge.
   */
  readonly answers: 'device' | 'bridge';
  /** @throws RudderError `network-config` naming the option that makes no sense */
  configure(config: NetworkConfig): BackendSettings;
}

/** What a cluster's config makes of a kind: the same on all of its nodes. */
export interface BackendSettings {
  readonly type: string;
  /** The options with their defaults, by name: to be compared with those of another config. */
  readonly fields: Readonly<Record<string, string | number | boolean>>;
  /** The datagrams that nodes send each other; undefined: packets go as they are. */
  readonly tunnel: Tunnel | undefined;
  /** The tunnel's MTU; undefined: what fits the underlay. */
  readonly mtu: number | undefined;
  /** What is wrapped around each packet. */
  readonly overheadBytes: number;
  /** Why the node with that lease cannot be reached by this backend; undefined: it can. */
  problemOf(lease: Pick<Lease, 'backend' | 'reserved'>): string | undefined;
  /**
   * Opens what can fail for reasons of this host, so that nothing else has been touched when it does. Until persist() is
   * called, the end of the process undoes it all.
   * @throws RudderError `device` or `socket`
   */
  open(host: BackendHost): Promise<Backend>;
}

/** The host that a backend is opened on, and what its operator wants. */
export interface BackendHost {
  readonly config: NetworkConfig;
  readonly netlink: Netlink;
  readonly nodeId: string;
  /** Where a node keeps what is its own. */
  readonly stateDir: string;
  /** By which peers know this node. */
  readonly publicIp: Ipv4;
  /** The underlay interface, and its address. */
  readonly interface: string;
  readonly localAddress: Ipv4;
  readonly mtu: number;
  /** A NAT changes the ports of what this node sends. */
  readonly portMapped: boolean;
  readonly checkSource: boolean;
  /** Offloads to use where the kernel has them. */
  readonly offloads: ReadonlySet<Offload>;
  /** The code that encrypts, where packets are: the fastest that this CPU has, or the one that runs everywhere. */
  readonly cipher: 'auto' | 'portable';
  /** Undefined: as the config says. */
  readonly wireguardImplementation?: ImplementationChoice | undefined;
  readonly log: Logger;
}
