import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import type { Subnet } from '../../core/subnet.js';
import {
  type Hop,
  type Mac,
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
 * And of ourselves a blackhole for our own subnet, which any route of a bridge beats: what no container has must not
 * leave by the default route, which would send it back to us.
 */
export interface KernelPeer {
  readonly subnet: Subnet;
  /** Where it receives datagrams, or packets. */
  readonly endpoint: Ipv4;
  /** Of its VXLAN device; undefined: it has told none. */
  readonly mac?: Mac | undefined;
}

/** The links of this host that matter. */
export interface Ground {
  readonly underlay: { readonly index: number; readonly name: string };
  /** Index of the VXLAN device; undefined: packets go as they are. */
  readonly tunnel: number | undefined;
}

export type Entry =
  | ({ readonly kind: 'neighbour' } & Neighbour)
  | ({ readonly kind: 'fdb' } & Neighbour)
  | ({ readonly kind: 'route' } & RouteEntry);

/** In the order in which they are written: a route without what is before it would lose packets. */
export const KINDS = ['neighbour', 'fdb', 'route'] as const;

/** By which ours are told from others' (nobody else's in linux/rtnetlink.h and iproute2's rt_protos). */
export const ROUTE_PROTOCOL = 80;
const BLACKHOLE_METRIC = 0xffffffff;

/** What the kernel holds once: another entry of the same place takes the place of the first. */
export function placeOf(entry: Entry): string {
  switch (entry.kind) {
    case 'neighbour':
      return `neighbour ${entry.address}`;
    case 'fdb':
      return `fdb ${entry.mac}`;
    case 'route':
      return `route ${entry.destination.address}/${entry.destination.prefixLength} ${entry.metric}`;
  }
}

/** Whether two entries of one place are equal. */
export function isSame(a: Entry | undefined, b: Entry): boolean {
  if (a?.kind === 'route' && b.kind === 'route') {
    const isSameWay = a.index === b.index && a.gateway === b.gateway && a.isOnLink === b.isOnLink;
    return isSameWay && a.type === b.type && a.protocol === b.protocol;
  }
  if (a === undefined || a.kind === 'route' || b.kind === 'route') return false;
  return a.kind === b.kind && a.address === b.address && a.mac === b.mac;
}

/** Why a peer cannot be reached; a text for one log line. */
export interface Unreachable {
  readonly problem: string;
}

/**
 * What one peer needs.
 * @param hop the way to its endpoint, if that matters; undefined: there is none
 * @param direct whether a peer on the same link is reached without the device
 */
export function entriesFor(
  peer: KernelPeer,
  { underlay, tunnel }: Ground,
  hop: Hop | undefined,
  direct: boolean,
): Entry[] | Unreachable {
  const { subnet, endpoint, mac } = peer;
  const whyNotDirect = notOnLink(endpoint, underlay, hop);
  if (tunnel === undefined || (direct && whyNotDirect === undefined)) {
    if (whyNotDirect !== undefined) return { problem: whyNotDirect };
    return [routeTo(subnet, underlay.index, endpoint, false)];
  }
  if (mac === undefined) return { problem: 'its lease has no VtepMAC' };
  return [
    { kind: 'neighbour', address: subnet.address, mac },
    { kind: 'fdb', address: endpoint, mac },
    routeTo(subnet, tunnel, subnet.address, true),
  ];
}

/** The kernel would refuse such a route, or worse, take it. */
function notOnLink(endpoint: Ipv4, underlay: Ground['underlay'], hop: Hop | undefined): string | undefined {
  const address = `its address ${formatIpv4(endpoint)}`;
  if (hop === undefined) return `${address} cannot be reached: there is no route to it`;
  if (hop.isLocal) return `${address} is one of this host's own`;
  if (hop.isRouted) return `${address} is behind a router, expected on the link of ${underlay.name}; use vxlan`;
  if (hop.index !== underlay.index) return `${address} is not on the link of ${underlay.name}; choose it with --iface`;
  return undefined;
}

function routeTo(destination: Subnet, index: number, gateway: Ipv4, isOnLink: boolean): Entry {
  return {
    kind: 'route',
    destination,
    index,
    gateway,
    isOnLink,
    metric: 0,
    protocol: ROUTE_PROTOCOL,
    type: RTN_UNICAST,
  };
}

export function blackholeFor(own: Subnet): Entry {
  const nowhere = { index: undefined, gateway: undefined, isOnLink: false, type: RTN_BLACKHOLE };
  return { kind: 'route', destination: own, metric: BLACKHOLE_METRIC, protocol: ROUTE_PROTOCOL, ...nowhere };
}
