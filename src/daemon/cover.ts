import type { Ipv4 } from '../core/ipv4.js';
import { contains, type Subnet } from '../core/subnet.js';
import { DEFAULT_TABLE, MAIN_TABLE, RTN_LOCAL } from '../system/netlink/routes.js';
import type { Netlink, RouteInfo } from '../system/netlink.js';

/** The overlay as the routing of this host sees it. */
export interface Overlay {
  /** Undefined: not known yet. */
  readonly network: Subnet | undefined;
  /** Interface index of our device; undefined: there is none yet. */
  readonly device: number | undefined;
}

/**
 * How the overlay takes an address away that is needed to carry it. `device`: the kernel routes it into our device now.
 * `network`: it will as soon as the Network is routed there, since no more specific route leads elsewhere.
 * Undefined: it does not.
 */
export type Cover = 'device' | 'network' | undefined;

/** @param source of the packets, if they have one already */
export async function coverOf(
  netlink: Pick<Netlink, 'routeTo'>,
  address: Ipv4,
  { network, device }: Overlay,
  source?: Ipv4,
): Promise<{ cover: Cover; route: RouteInfo | undefined }> {
  const route = await netlink.routeTo(address, source);
  return { cover: judge(route, address, network, device), route };
}

function judge(
  route: RouteInfo | undefined,
  address: Ipv4,
  network: Subnet | undefined,
  device: number | undefined,
): Cover {
  if (route?.type === RTN_LOCAL) return undefined;
  if (route !== undefined && device !== undefined && route.index === device) return 'device';
  if (network === undefined || !contains(network, address)) return undefined;
  if (route === undefined) return 'network';
  // Tables of policy rules are asked before the main one, where ours will be.
  if (route.table !== MAIN_TABLE && route.table !== DEFAULT_TABLE) return undefined;
  return route.destination.prefixLength > network.prefixLength ? undefined : 'network';
}
