import type { CertificateEnd } from '../core/certificates.js';
import type { HistogramCounts } from '../core/histogram.js';
import type { PeerState } from '../core/peer-state.js';
import type { RegistryKind } from '../core/registry-kind.js';

/** Everything a node tells about itself: what `rudder status --json` prints and metrics and health are made of. */
export interface Status {
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly node: {
    readonly id: string;
    /** Null: the host has none. */
    readonly name: string | null;
    readonly publicIp: string;
    readonly interface: string;
    readonly network: string;
    readonly subnet: string;
    readonly subnetFile: string;
    /** Null: somebody else sees to the pods of this node, or there are none. */
    readonly cniConf: string | null;
    /** UDP port of the tunnel, the same on all nodes; null: there is no tunnel. */
    readonly port: number | null;
  };
  /** The overlay's device; where packets go as they are, that of the underlay. */
  readonly device: { readonly name: string; readonly mtu: number; readonly up: boolean; readonly repairs: number };
  /** Why this host cannot carry the overlay at the moment. */
  readonly hostProblem: string | null;
  readonly lease: {
    /** Null: the store has no such thing. */
    readonly ttlSeconds: number | null;
    /** Null: it never runs out, as a reservation. */
    readonly remainingSeconds: number | null;
    /** The own key as last read: as it was written, gone (then nothing is left), or with something else in it. */
    readonly key: 'written' | 'gone' | 'differs';
    readonly recoveries: number;
    /** Why it could not be renewed, or its key written, the last time that it was tried; null: it could. */
    readonly problem: string | null;
  };
  /** The store that all nodes share. */
  readonly registry: {
    readonly kind: RegistryKind;
    readonly endpoints: readonly string[];
    /** False: peers are as they were when the watch broke. */
    readonly current: boolean;
    /** Since the watch broke; 0 while it is up. */
    readonly staleSeconds: number;
    /** Why it is not current. */
    readonly problem: string | null;
    /** Since an answer or an event; null: none since the start. */
    readonly lastContactSeconds: number | null;
    /** What it is spoken to with, and when it ends. */
    readonly certificates: readonly CertificateEnd[];
  };
  readonly config: ConfigStatus;
  readonly backend: {
    readonly type: string;
    /** What the kernel was told for the peers; null: a packet path of ours moves the packets. */
    readonly kernel: { readonly wanted: number; readonly present: number } | null;
    /** Peers that are reached without the tunnel at the moment; null: that is not wanted (DirectRouting). */
    readonly direct: number | null;
    /** Which implementation of the cipher runs; null or not there: packets go as they are. */
    readonly cipher?: string | null;
    /** Who encrypts, the kernel or the daemon, and why that one; null or not there: nobody, or there is but one. */
    readonly implementation?: { readonly runs: 'kernel' | 'user'; readonly why: string } | null;
    /** By how much the clock is behind what peers were told before, which they believe no less; 0: it is not. */
    readonly clockBehindSeconds?: number;
  };
  /** Null: the kernel moves the packets. */
  readonly packetPath: PacketPathStatus | null;
  readonly offloads: Readonly<Record<string, 'on' | 'off'>>;
  readonly firewall: {
    readonly kept: boolean;
    readonly checks: number;
    readonly repairs: number;
    readonly problem: string | null;
    /** Whether packets of containers pass this host; null: nobody knows. */
    readonly forwarding: ForwardingStatus | null;
    /** What the rules are made of, so that another can look whether they are there; null: they are left alone. */
    readonly settings: FirewallSettingsStatus | null;
  };
  readonly peers: readonly PeerStatus[];
  /** Where an average would lie. */
  readonly latencies: {
    /** Echoes through the overlay, of all peers. */
    readonly probes: HistogramCounts;
    /** Requests to the store; null: it has none. */
    readonly registry: HistogramCounts | null;
  };
  /** Keys below the prefix that are no peers', the first of them with the reason. */
  readonly ignoredLeases: { readonly count: number; readonly first: readonly IgnoredLeaseStatus[] };
  /** Why the node is not ready; empty if it is. */
  readonly problems: readonly string[];
  /** What an operator should look at although the node is ready. */
  readonly warnings: readonly string[];
}

export interface PacketPathStatus {
  readonly heartbeatSeconds: number;
  readonly counters: Readonly<Record<string, number>>;
}

export const CONFIG_STATES = ['current', 'changed', 'invalid', 'deleted', 'unknown'] as const;

/** The stored network config as last read, compared with the one in use; unknown: not read since the start. */
export interface ConfigStatus {
  readonly state: (typeof CONFIG_STATES)[number];
  /** What is other or wrong, and what a restart would do; null: nothing is. */
  readonly detail: string | null;
}

/** Beside the device, the network, the own subnet and the port. */
export interface FirewallSettingsStatus {
  readonly devices: readonly string[];
  /** By which other nodes' own packets come from their addresses in the underlay. */
  readonly bareWay: string | null;
  readonly tunnel: { readonly port: number; readonly vni?: number | undefined } | null;
  readonly ipMasq: boolean;
  readonly localAddress: string;
  readonly isTracked: boolean;
  readonly uplinks: readonly string[];
}

/** Of packets that cross the tunnel, by what entered and what left since the rules last changed. */
export interface ForwardingStatus {
  readonly out: Passage;
  readonly in: Passage;
  /** Chains of others that may be why packets do not pass. */
  readonly suspects: readonly string[];
  /**
   * Datagrams dropped that claimed to come from a member, that came from a host which is none (of our VXLAN, where the
   * kernel would take them), and that others on this host sent to a member's tunnel port.
   */
  readonly forged: number;
  readonly strangers: number;
  readonly forwarded: number;
}

export type Passage = 'unknown' | 'passes' | 'dropped' | 'translated';

export interface IgnoredLeaseStatus {
  readonly key: string;
  /** Null, all of these: it does not say. */
  readonly host: string | null;
  readonly version: string | null;
  readonly backend: string | null;
  readonly nextHop: string | null;
  readonly problem: string;
}

/** What is known of how a peer is, by what was heard of it; src/health says how it is found out. */
export interface PeerHealthStatus {
  readonly state: PeerState;
  /** Why it is unreachable; null: it is not, or nobody knows. */
  readonly reason: string | null;
  /** Of the last echo that came back; null: none has, or it is silent now. */
  readonly rttMs: number | null;
  /** Null: nothing was ever heard. */
  readonly lastHeardSeconds: number | null;
}

export interface PeerStatus {
  /** Null: the node does not say, as flannel's do not. */
  readonly host: string | null;
  readonly version: string | null;
  readonly subnet: string;
  readonly nextHop: string;
  /** Why nothing is sent there; null: it is a peer. */
  readonly problem: string | null;
  readonly health: PeerHealthStatus;
  /** Kept for a node that has not taken it yet, and from which nothing was ever heard. */
  readonly reserved: boolean;
  /** Null, as all of traffic: the kernel moves the packets, and does not count by peer; WireGuard's counts bytes. */
  readonly outPackets: number | null;
  readonly outBytes: number | null;
  readonly inPackets: number | null;
  readonly inBytes: number | null;
  /** Null: never, or nobody knows. */
  readonly heardSecondsAgo: number | null;
  /** Null or not there: packets go as they are, or the node is no peer. */
  readonly session?: SessionStatus | null;
}

/** How it is with the keys that packets to and from a peer are encrypted by. */
export interface SessionStatus {
  /** None is no fault: a session is made when there is a packet, and ends three minutes after the last one. */
  readonly state: 'up' | 'none' | 'trying';
  /** Since a handshake was completed; null: none was. */
  readonly handshakeSeconds: number | null;
  /** For how long the peer has not answered a handshake; null: none is under way. */
  readonly tryingSeconds: number | null;
  /** Where the peer was heard last; null: nowhere. */
  readonly endpoint: string | null;
}

/** Direction and reason of a drop counter, such as `in_drop_source`; undefined for any other counter. */
export function dropOf(counter: string): { direction: string; reason: string } | undefined {
  const match = /^(out|in)_drop_(.*)$/.exec(counter);
  return match === null ? undefined : { direction: match[1], reason: match[2] };
}

/** A peer as people know it: by name, and where it is. */
export function nameOf({ host, nextHop }: Pick<PeerStatus, 'host' | 'nextHop'>): string {
  return host === null ? nextHop : `${host} (${nextHop})`;
}
