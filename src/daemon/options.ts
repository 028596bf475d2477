import type { Offload } from '../backend/packet-path/tables/offloads.js';
import type { ImplementationChoice } from '../backend/wireguard/implementations.js';
import type { RegistryOptions } from '../control/open.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { StoreSettings } from '../ops/store-settings.js';
import type { UnderlayChoice } from '../system/underlay.js';

/** Everything the command line decides about a daemon, parsed and checked. */
export interface DaemonOptions {
  readonly registry: RegistryOptions;
  /** The same as the flags say it, for those who ask; undefined: it has none to ask. */
  readonly store: StoreSettings | undefined;
  readonly underlay: UnderlayChoice;
  /** What people call the node; undefined: it has no name that is one. */
  readonly nodeName: string | undefined;
  /** What peers are told to send to, if it is not the underlay interface's own address. */
  readonly publicIp: Ipv4 | undefined;
  /** A NAT before this host changes the ports of what it sends. */
  readonly portMapped: boolean;
  readonly subnetFile: string;
  readonly subnetEnvPrefix: string;
  /** We may not write the subnet file: root does, of what is proposed beside it. */
  readonly subnetProposal: boolean;
  /** The list of CNI plugins for this node's pods; undefined: somebody else sees to them. */
  readonly cniConf: string | undefined;
  readonly stateDir: string;
  readonly leaseTtlSeconds: number;
  readonly mtu: number | undefined;
  readonly checkSource: boolean;
  readonly offloads: ReadonlySet<Offload>;
  /** The code that encrypts: the fastest that this CPU has, or the one that runs everywhere. */
  readonly cipher: 'auto' | 'portable';
  /** Whose WireGuard; undefined: as the config says. */
  readonly wireguardImplementation: ImplementationChoice | undefined;
  /** Masquerade what our containers send to the outside. */
  readonly ipMasq: boolean;
  /** Ask peers from time to time whether they are there. */
  readonly probes: boolean;
  /** Ask other nodes how they see each other, and answer that. */
  readonly summary: boolean;
  /** Keep firewall rules. */
  readonly firewall: boolean;
  readonly cleanupOnExit: boolean;
  /** Where health and metrics are served; undefined: nowhere. */
  readonly healthz: { readonly address: string; readonly port: number } | undefined;
}
