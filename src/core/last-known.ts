import type { Ipv4 } from './ipv4.js';
import type { Lease } from './lease.js';
import type { Subnet } from './subnet.js';

/** What a node knew of the cluster when it last ran: enough to go on without etcd while its lease is valid. */
export interface LastKnown {
  /** Of which etcd: the endpoints and the prefix that the node was told. */
  readonly source: string;
  readonly configJson: string;
  /** Who the node was: with another id, say because its state was lost, the own key would not be its own. */
  readonly nodeId: string;
  readonly publicIp: Ipv4;
  readonly subnet: Subnet;
  /** What etcd gave for the own key, for the node to go on with. */
  readonly revision: number;
  readonly ttlId: string;
  /** When the lease runs out unless renewed, in ms since 1970; null: it is a reservation and never does. */
  readonly validUntil: number | null;
  /** The lease's TTL; undefined in files of earlier versions. */
  readonly ttlSeconds: number | undefined;
  /** When this was written, in ms since 1970; undefined in files of earlier versions. */
  readonly savedAt: number | undefined;
  /** The own key said something else than it should, and could not be put right. */
  readonly keyDiffers: boolean;
  readonly peers: readonly Lease[];
}
