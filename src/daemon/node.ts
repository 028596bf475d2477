import type { KeyObject } from 'node:crypto';
import type { Backend } from '../backend/backend.js';
import type { BackendSettings } from '../backend/kind.js';
import type { Joined, Membership, OwnLease } from '../control/membership.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import type { Subnet } from '../core/subnet.js';
import type { Health } from '../health/health.js';
import type { NodeState } from '../state/node-state.js';
import type { Firewall } from '../system/firewall.js';
import type { Netlink } from '../system/netlink.js';
import type { SdNotify } from '../system/sd-notify.js';
import type { Underlay } from '../system/underlay.js';
import type { Announcer } from './announcer.js';
import type { Carriers } from './carriers.js';
import type { Cluster } from './cluster.js';
import type { ConfigWatch } from './config-watch.js';
import type { Footing } from './footing.js';
import type { HostKeeper } from './host-keeper.js';
import type { LastKnownKeeper } from './last-known-keeper.js';
import type { DaemonOptions } from './options.js';
import type { OverlayRoutes } from './overlay-routes.js';
import type { Past } from './past.js';
import type { PeerAdmission } from './peer-admission.js';
import type { PeerLog } from './peer-log.js';
import type { StatusSources } from './status.js';
import type { SubnetFile } from './subnet-file.js';

/** What a node is made of, in the order in which it comes to be: start-node.ts makes it, keep-node.ts keeps it. */

/** What a start works with. */
export interface StartContext {
  readonly options: DaemonOptions;
  readonly log: Logger;
  readonly version: string;
  readonly notify: SdNotify;
  readonly netlink: Netlink;
  readonly membership: Membership;
  /** Says what the start is waiting for. */
  readonly enter: (phase: string) => void;
  readonly signal: AbortSignal;
}

/** This host, and the cluster as far as it is known. */
export interface Ground extends Footing {
  /** By which other nodes know our questions; undefined: we ask none. */
  readonly key: KeyObject | undefined;
  readonly settings: BackendSettings;
  readonly underlay: Underlay;
  readonly state: NodeState;
  readonly publicIp: Ipv4;
  readonly carriers: Carriers;
  /** Throws RudderError if this host cannot have that network config. */
  readonly checkConfig: (config: NetworkConfig) => Promise<void>;
}

/** A node that has its subnet, and knows its peers. */
export interface Taken {
  readonly own: OwnLease;
  /** Why it is the lease of the last run; undefined: the registry has given it to us. */
  readonly degraded: string | undefined;
  readonly joined: Joined;
  readonly stored: ConfigWatch;
  readonly announcer: Announcer;
  readonly admission: PeerAdmission;
  readonly peerLog: PeerLog;
  /** Address of the tunnel's socket at the moment. */
  readonly carrier: { address: Ipv4 };
}

/** A node whose packets flow. */
export interface Ready extends Omit<Taken, 'own' | 'degraded'> {
  readonly subnet: Subnet;
  readonly backend: Backend;
  readonly firewall: Firewall | undefined;
  readonly subnetFile: SubnetFile;
  /** Withdraws the overlay's routes while they cut this host off; then throws. */
  readonly checkOverlay: () => Promise<OverlayRoutes>;
}

/** A node that is ready. */
export interface Node {
  readonly backend: Backend;
  readonly joined: Joined;
  readonly firewall: Firewall | undefined;
  readonly health: Health;
  readonly peerWatch: { stop(): void };
  readonly past: Past;
  readonly cluster: Cluster;
  readonly host: HostKeeper;
  readonly carrying: { stop(): void };
  readonly memory: LastKnownKeeper;
  readonly sources: StatusSources;
}
