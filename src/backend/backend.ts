import type { Ipv4 } from '../core/ipv4.js';
import type { BackendData } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Subnet } from '../core/subnet.js';

/** `routes`: those with the mark of ours, and rules. */
export type Leftover = 'tun device' | 'vxlan devices' | 'wireguard devices' | 'routes';

/** What the daemon needs of whatever moves the packets. */
export interface Backend {
  /** Name of the device that the whole Network is routed to; undefined: there is none. */
  readonly device: string | undefined;
  /** What it takes over of an earlier run when it starts, and has in the kernel that stays when the process ends. */
  readonly leaves: readonly Leftover[];
  /** Interfaces that the overlay's packets leave and arrive by: the device, and where some go as they are the underlay. */
  ways(): readonly string[];
  /**
   * The one of these by which other nodes' own packets come from their addresses in the underlay; undefined or not there:
   * they come from their overlay addresses.
   */
  readonly bareWay?: (() => string | undefined) | undefined;
  /** What peers need to know of this node beside its address, for its lease. */
  leaseData(): BackendData;
  /** MTU of the tunnel at the moment, for `subnet.env`. */
  mtu(): number;
  /** Brings the device up for our subnet, and forwards to the peers that are known by then: to all of them. */
  start(own: Subnet): Promise<void>;
  /**
   * Follows peers that appeared, moved or left, packets under way included. Resolves when that is in force, as far as it
   * can be: a peer that cannot be set up now is tried again, and `problemOf` says why.
   */
  apply(changes: readonly LeaseChange[]): Promise<void>;
  /** Why nothing reaches the peer with that subnet at the moment; undefined: nothing is known to be wrong. */
  problemOf(subnet: Subnet): string | undefined;
  /**
   * Puts back what somebody has changed of the device, and makes it anew if it was deleted.
   * @returns what was wrong, in words; undefined: nothing
   */
  repair(): Promise<string | undefined>;
  /** Follows the host: another address of the underlay, another MTU. What cannot be done now leaves all as it was. */
  adapt(host: HostChange): Promise<void>;
  /** Withdraws what routes this host's packets into the overlay, or puts it back; forwarding goes on meanwhile. */
  setRouted(isRouted: boolean): Promise<void>;
  /** Undefined: the kernel moves the packets, and tells less. */
  readonly packetPath: PacketPathReport | undefined;
  /** What the kernel counts of a peer; undefined or not there: nothing. */
  readonly kernelTraffic?: ((subnet: Subnet) => KernelTraffic | undefined) | undefined;
  /** Whether there is something to repair that the kernel tells nobody of, since this was last asked. */
  readonly takeUntold?: (() => boolean) | undefined;
  /** What is known of the encryption; undefined or not there: packets go as they are. */
  readonly sessions?: SessionsReport | undefined;
  /** This node has another key from then on, which its lease has to say. @throws RudderError `file` */
  readonly rotateKey?: (() => Promise<void>) | undefined;
  /** What the kernel has been told for the peers; undefined: nothing, a packet path of ours moves the packets. */
  kernelEntries(): KernelEntries | undefined;
  /** Peers that are reached without the tunnel at the moment; undefined: that is not wanted (DirectRouting). */
  directPeers(): number | undefined;
  /** Lets the device outlive the process, so that a restart breaks no flow. */
  persist(): void;
  /** Stops forwarding. `removeDevice`: the device and its routes go too. */
  stop(removeDevice: boolean): Promise<void>;
  /** Rejects when forwarding has ended by itself. */
  readonly failure: Promise<never>;
}

export interface HostChange {
  readonly interface: string;
  readonly localAddress: Ipv4;
  /** Of the tunnel. */
  readonly mtu: number;
}

/** What only a packet path in user space can tell. */
export interface PacketPathReport {
  counters(): Record<string, number>;
  /** Traffic with a peer's subnet since the start. */
  traffic(subnet: Subnet): PeerTraffic;
  /** Which of the kernel's offloads are in use at the moment. */
  offloads(): Record<string, 'on' | 'off'>;
  /** How long ago the packet path last showed that it runs. */
  heartbeatAgeMs(): number;
}

export interface PeerTraffic {
  readonly outPackets: number;
  readonly outBytes: number;
  readonly inPackets: number;
  readonly inBytes: number;
  /** Undefined: never. */
  readonly heardSecondsAgo: number | undefined;
}

/** Where the kernel moves the packets, and counts those of each peer. */
export interface KernelTraffic {
  /** As they are on the way: encrypted, and with what the tunnel sends of its own. */
  readonly outBytes: number;
  readonly inBytes: number;
  /** Undefined: never. */
  readonly heardSecondsAgo: number | undefined;
  /** How many of these bytes a packet of so many is. */
  sizeOnTheWay(bytes: number): number;
}

/** Who encrypts: the kernel, or this process. */
export interface Implementation {
  readonly runs: 'kernel' | 'user';
  /** Why that one. */
  readonly why: string;
}

/** Of a backend that encrypts. */
export interface SessionsReport {
  readonly implementation?: Implementation | undefined;
  /** Which implementation of the cipher runs; `kernel`: its own. */
  cipher(): string;
  /** By how much the clock is behind what peers were told before; 0: it is not. */
  clockBehindSeconds(): number;
  /** Undefined: that subnet is no peer's. */
  of(subnet: Subnet): SessionReport | undefined;
  /** Asks that peer for a session, without a packet for it: once. Undefined: any packet may do so, it costs little. */
  readonly begin?: ((subnet: Subnet) => void) | undefined;
}

/** Nothing of it is a secret. */
export interface SessionReport {
  /** Since the last handshake was completed; undefined: none was. */
  readonly handshakeAgeMs: number | undefined;
  readonly hasSession: boolean;
  /** A handshake is under way, and has no answer for so long. */
  readonly tryingForMs: number | undefined;
  /** Where the peer was heard last, or is by its lease. */
  readonly endpoint: { readonly address: Ipv4; readonly port: number } | undefined;
}

/** Routes, neighbours and forwarding entries: how many there should be, and how many there were at the last look. */
export interface KernelEntries {
  readonly wanted: number;
  readonly present: number;
}
