import { lookup } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { parseIpv4 } from '../core/address-text.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { isLeasable, type NetworkConfig } from '../core/network-config.js';
import { contains, formatSubnet, type Subnet } from '../core/subnet.js';
import type { Netlink, RouteInfo } from '../system/netlink.js';
import { listNameservers } from '../system/resolv-conf.js';
import { type Cover, coverOf, type Overlay } from './cover.js';

/** What must be reached outside the overlay for the overlay to be there at all. */
interface Carrier {
  readonly address: Ipv4;
  /** In words, such as `etcd endpoint http://etcd-1:2379`. */
  readonly what: string;
}

/** A carrier that the overlay takes away, or would. */
export interface Covered extends Carrier {
  readonly cover: NonNullable<Cover>;
  readonly route: RouteInfo | undefined;
}

type Looked = Omit<Covered, 'cover'> & { readonly cover: Cover };
const isCovered = (carrier: Looked): carrier is Covered => carrier.cover !== undefined;

/** A resolver that takes longer is not waited for: names that it cannot tell now are looked at the next time. */
const RESOLVE_MS = 2000;
/** Names are resolved again this often: endpoints move. */
const RESOLVE_INTERVAL_MS = 60_000;
const RETRY_MS = 5000;

export interface Carriers {
  /**
   * etcd's endpoints and the default gateways, as far as the overlay takes them away: all addresses of an endpoint.
   * @param routes with the default routes among them
   */
  covered(overlay: Overlay, routes: readonly RouteInfo[]): Promise<Covered[]>;
}

/** @param endpoints of the store, as URLs; @param kind of store */
export function createCarriers(
  netlink: Pick<Netlink, 'routeTo'>,
  endpoints: readonly string[],
  kind = 'etcd',
): Carriers {
  /** The last answers: a name server that is silent says nothing about where etcd is. */
  const known = new Map<string, { carriers: readonly Carrier[]; until: number }>();

  async function addressesOf(endpoint: string): Promise<readonly Carrier[]> {
    const before = known.get(endpoint);
    if (before !== undefined && performance.now() < before.until) return before.carriers;
    const found = await resolve(endpoint, kind);
    const isSilent = found.length === 0;
    const carriers = isSilent ? (before?.carriers ?? []) : found;
    known.set(endpoint, { carriers, until: performance.now() + (isSilent ? RETRY_MS : RESOLVE_INTERVAL_MS) });
    return carriers;
  }

  const look = async (carrier: Carrier, overlay: Overlay): Promise<Looked> => ({
    ...carrier,
    ...(await coverOf(netlink, carrier.address, overlay)),
  });

  return {
    async covered(overlay, routes) {
      const ways = [...(await Promise.all(endpoints.map(addressesOf))), ...gatewaysOf(routes, overlay.device)];
      const found = await Promise.all(ways.map((carriers) => Promise.all(carriers.map((one) => look(one, overlay)))));
      // A name may have addresses that are of no use: gRPC tries them all.
      return found.filter((carriers) => carriers.every(isCovered)).flat();
    },
  };
}

async function resolve(endpoint: string, kind: string): Promise<Carrier[]> {
  const { hostname } = new URL(endpoint);
  const literal = parseIpv4(hostname);
  const what = kind === 'etcd' ? `etcd endpoint ${endpoint}` : `the Kubernetes API at ${endpoint}`;
  if (literal !== undefined) return [{ address: literal, what }];
  const silence = new AbortController();
  const answer = lookup(hostname, { all: true, family: 4 }).catch(() => []);
  const addresses = await Promise.race([answer, delay(RESOLVE_MS, [], { signal: silence.signal }).catch(() => [])]);
  silence.abort();
  return addresses.flatMap(({ address }) => {
    const ipv4 = parseIpv4(address);
    return ipv4 === undefined ? [] : [{ address: ipv4, what }];
  });
}

function gatewaysOf(routes: readonly RouteInfo[], device: number | undefined): Carrier[][] {
  const defaults = routes.filter(({ destination, index }) => destination.prefixLength === 0 && index !== device);
  return defaults.flatMap(({ gateway }) =>
    gateway === undefined ? [] : [[{ address: gateway, what: 'the default gateway' }]],
  );
}

/**
 * Refuses a Network that would take away what carries it.
 * @throws RudderError `network-config` naming the address, and what heals it
 */
export async function refuseCover(
  netlink: Pick<Netlink, 'routes' | 'routeTo' | 'link' | 'addresses'>,
  carriers: Carriers,
  overlay: Overlay & { readonly network: Subnet },
): Promise<void> {
  const { network, device } = overlay;
  const own = await ownNetworkAround(netlink, overlay);
  if (own !== undefined) throw refusal(`${own} fills`, network, 'choose another Network');
  const [first] = await carriers.covered(overlay, await netlink.routes(device));
  if (first === undefined) return;
  const way = first.route?.index === undefined ? undefined : await netlink.link(first.route.index);
  throw refusal(`${nameOf(first)} lies inside`, network, remedyOf(first, way?.name));
}

/** @throws RudderError `network-config` if some node's subnet may hold the address that peers send to */
export function checkPublicIp(publicIp: Ipv4, config: NetworkConfig): void {
  if (!isLeasable(config, publicIp)) return;
  throw new RudderError(
    'network-config',
    `public address ${formatIpv4(publicIp)} lies inside the overlay ${formatSubnet(config.network)}: expected one outside; choose another Network`,
  );
}

/** A name server inside the overlay may be a container, as in Kubernetes; or this host may be deaf from now on. */
export async function warnOfNameservers(
  netlink: Pick<Netlink, 'routeTo'>,
  overlay: Overlay & { readonly network: Subnet },
  log: Logger,
): Promise<void> {
  for (const address of await listNameservers()) {
    const { cover } = await coverOf(netlink, address, overlay);
    if (cover === undefined) continue;
    const nameserver = formatIpv4(address);
    log.warn(
      { nameserver, network: formatSubnet(overlay.network) },
      'a name server of this host is reached through the overlay only: without it no name resolves here; give it a route of its own, or use another one',
    );
  }
}

/** A network of this host's own that is as wide as the overlay, which would take its place; undefined: there is none. */
export async function ownNetworkAround(
  netlink: Pick<Netlink, 'link' | 'addresses'>,
  { network, device }: Overlay & { readonly network: Subnet },
): Promise<string | undefined> {
  for (const { index, address, prefixLength } of await netlink.addresses()) {
    if (index === device || prefixLength > network.prefixLength || !contains(network, address)) continue;
    return `${formatIpv4(address)}/${prefixLength} of ${(await netlink.link(index))?.name}, a network of this host's own,`;
  }
  return undefined;
}

function refusal(what: string, network: Subnet, remedy: string): RudderError {
  return new RudderError(
    'network-config',
    `${what} the overlay ${formatSubnet(network)}, which would cut this host off: expected it outside, or with a more specific route of its own; ${remedy}`,
  );
}

/** The carrier in words, its address among them. */
function nameOf({ what, address }: Carrier): string {
  const text = formatIpv4(address);
  return what.includes(text) ? what : `${what} (${text})`;
}

/** @param device where the kernel sends to that address now */
function remedyOf({ address, route }: Covered, device: string | undefined): string {
  if (device === undefined) return 'choose another Network, or add such a route';
  const via = route?.gateway === undefined ? '' : `via ${formatIpv4(route.gateway)} `;
  return `choose another Network, or run "ip route add ${formatIpv4(address)}/32 ${via}dev ${device}" and let the host's network configuration keep that`;
}

/** Why a node is cut off, in one line. */
export function describeCutOff(covered: Covered, device: string): string {
  const way = covered.cover === 'device' ? `is routed into ${device}` : `would be routed into ${device}`;
  return `cut off: ${nameOf(covered)} ${way}; the overlay's routes are withdrawn until it has another way`;
}
