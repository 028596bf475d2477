import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import type { Subnet } from '../../core/subnet.js';
import {
  type Hop,
  MAIN_TABLE,
  type Mac,
  type MarkRule,
  type Neighbour,
  type RouteEntry,
  RTN_BLACKHOLE,
  RTN_UNICAST,
} from '../../system/netlink.js';

/**
 * What the kernel has to hold so that it forwards to the peers by itself. Of a peer 10.240.7.0/24 at 10.1.1.7:
 *
 *     through a VXLAN device     neighbour  10.240.7.0     -> its VtepMAC       a name for the gateway: it is never asked for
 *                                FDB        its VtepMAC    -> 10.1.1.7          where the frames go
 *                                route      10.240.7.0/24  via 10.240.7.0 dev flannel.1 onlink
 *     without one (host-gw), and with DirectRouting if it is on the same link
 *                                route      10.240.7.0/24  via 10.1.1.7 dev eth0
 *
 *     through WireGuard's        peer       its public key -> 10.1.1.7:51820
 *                                allowed    10.240.7.0/24  -> its public key    whose packets these are, both ways
 *
 * And of ourselves a blackhole for our own subnet, which any route of a bridge beats: what no container has must not
 * leave by the default route, which would send it back to us. Of WireGuard one route for all of the Network into the device,
 * which refuses what no peer has.
 */
export interface KernelPeer {
  readonly subnet: Subnet;
  /** Where it receives datagrams, or packets. */
  readonly endpoint: Ipv4;
  /** Of its VXLAN device; undefined: it has told none. */
  readonly mac?: Mac | undefined;
  /** Of its end of WireGuard, the key in base64. */
  readonly wireguard?: { readonly publicKey: string; readonly port: number } | undefined;
}

/** The links of this host that matter. */
export interface Ground {
  readonly underlay: { readonly index: number; readonly name: string };
  /** Index of the tunnel's device; undefined: packets go as they are. */
  readonly tunnel: number | undefined;
  /** The device's own MAC. */
  readonly mac?: Mac | undefined;
}

/** A node as WireGuard knows it. */
export interface PeerEntry {
  readonly kind: 'peer';
  readonly publicKey: string;
  /** Where it is at first: it may be heard elsewhere later. Undefined, as found: nowhere. */
  readonly endpoint: { readonly address: Ipv4; readonly port: number } | undefined;
  /** It has the cluster's preshared key and keepalive. */
  readonly isOurs: boolean;
}

/** Whose key packets of a subnet come and go by. */
export interface AllowedEntry {
  readonly kind: 'allowed';
  readonly subnet: Subnet;
  readonly publicKey: string;
}

export type Entry =
  | PeerEntry
  | AllowedEntry
  | ({ readonly kind: 'neighbour' } & Neighbour)
  | ({ readonly kind: 'fdb' } & Neighbour)
  | ({ readonly kind: 'rule' } & MarkRule)
  | ({ readonly kind: 'route' } & RouteEntry);

/** In the order in which they are written: a route without what is before it would lose packets. */
export const KINDS = ['peer', 'allowed', 'neighbour', 'fdb', 'rule', 'route'] as const;

/** By which our routes and rules are told from others' (nobody else's in linux/rtnetlink.h and iproute2's rt_protos). */
export const ROUTE_PROTOCOL = 80;
/** Where routes lie that nothing takes but what has our mark: udp's DirectRouting, see backend/udp/direct. */
export const PROBE_TABLE = 8285;
const BLACKHOLE_METRIC = 0xffffffff;

/** What the kernel holds once: another entry of the same place takes the place of the first. */
export function placeOf(entry: Entry): string {
  switch (entry.kind) {
    case 'peer':
      return `peer ${entry.publicKey}`;
    case 'allowed':
      return `allowed ${entry.subnet.address}/${entry.subnet.prefixLength}`;
    case 'neighbour':
      return `neighbour ${entry.address}`;
    case 'fdb':
      return `fdb ${entry.mac}`;
    case 'route':
      return `route ${entry.destination.address}/${entry.destination.prefixLength} ${entry.metric} ${entry.table}`;
    case 'rule':
      return `rule ${entry.priority} ${entry.mark} ${entry.table}`;
  }
}

/** Whether two entries of one place are equal. */
export function isSame(a: Entry | undefined, b: Entry): boolean {
  if (a?.kind === 'route' && b.kind === 'route') {
    const isSameWay = a.index === b.index && a.gateway === b.gateway && a.isOnLink === b.isOnLink;
    return isSameWay && a.source === b.source && a.mtu === b.mtu && a.type === b.type && a.protocol === b.protocol;
  }
  if (a?.kind === 'rule' && b.kind === 'rule') return a.protocol === b.protocol;
  if (a?.kind === 'peer' && b.kind === 'peer') {
    const isSameEnd = a.endpoint?.address === b.endpoint?.address && a.endpoint?.port === b.endpoint?.port;
    return a.publicKey === b.publicKey && a.isOurs === b.isOurs && isSameEnd;
  }
  if (a?.kind === 'allowed' && b.kind === 'allowed') return a.publicKey === b.publicKey;
  if (a?.kind !== 'neighbour' && a?.kind !== 'fdb') return false;
  return a.kind === b.kind && a.address === b.address && a.mac === b.mac;
}

/** Why a peer cannot be reached; a text for one log line. */
export interface Unreachable {
  readonly problem: string;
}

/** What nodes of one kind need in the kernel, so that packets come to their peers. */
export interface Wants {
  /** Some peers may be reached without the tunnel, and others through it. */
  readonly direct: boolean;
  /** Whether it matters by which way a peer's endpoint is reached, so that the kernel has to be asked. */
  asksHop(on: Ground): boolean;
  /** @param hop the way to its endpoint, if that was asked for; undefined: there is none */
  ofPeer(peer: KernelPeer, on: Ground, hop: Hop | undefined): Entry[] | Unreachable;
  /** This node's own. */
  ofSelf(own: Subnet, on: Ground): Entry[];
}

/**
 * A route to each peer, through the device if there is one.
 * @param direct whether a peer on the same link is reached without the device
 */
export function forwardToPeers(direct: boolean): Wants {
  return {
    direct,
    asksHop: ({ tunnel }) => direct || tunnel === undefined,
    ofPeer: (peer, on, hop) => entriesFor(peer, on, hop, direct),
    ofSelf: (own) => [blackholeFor(own)],
  };
}

function entriesFor(
  peer: KernelPeer,
  { underlay, tunnel, mac: ownMac }: Ground,
  hop: Hop | undefined,
  direct: boolean,
): Entry[] | Unreachable {
  const { subnet, endpoint, mac } = peer;
  const whyNotDirect = notOnLink(endpoint, underlay, hop);
  if (tunnel === undefined || (direct && whyNotDirect === undefined)) {
    if (whyNotDirect !== undefined) return { problem: whyNotDirect };
    return [plainRoute(peer, underlay.index)];
  }
  if (mac === undefined) return { problem: 'its lease has no VtepMAC, expected the hardware address of one host' };
  // The kernel drops what comes from its own MAC.
  if (mac === ownMac) return { problem: `its VtepMAC ${mac} is this node's own: two nodes have the same node id` };
  return [
    { kind: 'neighbour', address: subnet.address, mac },
    { kind: 'fdb', address: endpoint, mac },
    routeEntry(subnet, { index: tunnel, gateway: subnet.address, isOnLink: true }),
  ];
}

/** The kernel would refuse such a route, or worse, take it. */
export function notOnLink(endpoint: Ipv4, underlay: Ground['underlay'], hop: Hop | undefined): string | undefined {
  const address = `its address ${formatIpv4(endpoint)}`;
  if (hop === undefined) return `${address} cannot be reached: there is no route to it`;
  if (hop.isLocal) return `${address} is one of this host's own`;
  if (hop.isRouted) return `${address} is behind a router, expected on the link of ${underlay.name}; use vxlan`;
  if (hop.index !== underlay.index) return `${address} is not on the link of ${underlay.name}; choose it with --iface`;
  return undefined;
}

/** A route of ours: in the main table, and to nowhere, as far as nothing else is said. */
export function routeEntry(destination: Subnet, rest: Partial<RouteEntry>): Entry {
  const nowhere = { index: undefined, gateway: undefined, isOnLink: false, source: undefined, mtu: undefined };
  const ours = { metric: 0, table: MAIN_TABLE, protocol: ROUTE_PROTOCOL, type: RTN_UNICAST };
  return { kind: 'route', destination, ...nowhere, ...ours, ...rest };
}

/** Without a tunnel, over the link of the underlay. */
export const plainRoute = ({ subnet, endpoint }: KernelPeer, index: number, rest: Partial<RouteEntry> = {}): Entry =>
  routeEntry(subnet, { index, gateway: endpoint, ...rest });

const blackholeFor = (own: Subnet): Entry => routeEntry(own, { type: RTN_BLACKHOLE, metric: BLACKHOLE_METRIC });
