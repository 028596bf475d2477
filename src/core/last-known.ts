import type { Ipv4 } from './ipv4.js';
import type { Lease } from './lease.js';
import type { Subnet } from './subnet.js';

/**
 * What the store's word on a node's subnet was: the store's own affair, which a node remembers for its next run. Whoever
 * reads it has it checked by the store that wrote it.
 */
export type Holding = Readonly<Record<string, string | number>>;

/** What a node knew of the cluster when it last ran: enough to go on without the store while its lease is valid. */
export interface LastKnown {
  /** Of which cluster: the store, and what of it, as the node was told. */
  readonly source: string;
  readonly configJson: string;
  /** Who the node was: with another id, say because its state was lost, the own key would not be its own. */
  readonly nodeId: string;
  readonly publicIp: Ipv4;
  readonly subnet: Subnet;
  /** For the node to go on with. */
  readonly holding: Holding;
  /** When the lease runs out unless renewed, in ms since 1970; null: it never does. */
  readonly validUntil: number | null;
  /** The lease's TTL; undefined: it has none, or the file is of an earlier version. */
  readonly ttlSeconds: number | undefined;
  /** When this was written, in ms since 1970; undefined in files of earlier versions. */
  readonly savedAt: number | undefined;
  /** The own key said something else than it should, and could not be put right. */
  readonly keyDiffers: boolean;
  readonly peers: readonly Lease[];
}
