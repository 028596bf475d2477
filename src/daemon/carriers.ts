import { lookup } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { parseIpv4 } from '../core/address-text.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
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

/** A resolver that takes longer is not waited for: names that it cannot tell now are looked at the next time. */
const RESOLVE_MS = 2000;
/** Names are resolved again this often: endpoints move. */
const RESOLVE_INTERVAL_MS = 60_000;

export interface Carriers {
  /**
   * etcd's endpoints and the default gateways, as far as the overlay takes them away.
   * @param routes with the default routes among them
   */
  covered(overlay: Overlay, routes: readonly RouteInfo[]): Promise<Covered[]>;
}

/** @param endpoints of etcd, as URLs */
export function createCarriers(netlink: Pick<Netlink, 'routeTo'>, endpoints: readonly string[]): Carriers {
  let resolved: Carrier[] = [];
  let resolvedAt = Number.NEGATIVE_INFINITY;

  async function etcdAddresses(): Promise<Carrier[]> {
    if (performance.now() - resolvedAt > RESOLVE_INTERVAL_MS) {
      resolvedAt = performance.now();
      resolved = (await Promise.all(endpoints.map(resolve))).flat();
    }
    return resolved;
  }

  return {
    async covered(overlay, routes) {
      const carriers = [...(await etcdAddresses()), ...gatewaysOf(routes, overlay.device)];
      const found = await Promise.all(
        carriers.map(async (carrier) => ({ ...carrier, ...(await coverOf(netlink, carrier.address, overlay)) })),
      );
      return found.flatMap(({ cover, ...rest }) => (cover === undefined ? [] : [{ ...rest, cover }]));
    },
  };
}

async function resolve(endpoint: string): Promise<Carrier[]> {
  const { hostname } = new URL(endpoint);
  const literal = parseIpv4(hostname);
  const what = `etcd endpoint ${endpoint}`;
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

function gatewaysOf(routes: readonly RouteInfo[], device: number | undefined): Carrier[] {
  const defaults = routes.filter(({ destination, index }) => destination.prefixLength === 0 && index !== device);
  return defaults.flatMap(({ gateway }) =>
    gateway === undefined ? [] : [{ address: gateway, what: 'the default gateway' }],
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
  for (const { index, address, prefixLength } of await netlink.addresses()) {
    if (index === device || prefixLength > network.prefixLength || !contains(network, address)) continue;
    throw refusal(
      `${formatIpv4(address)}/${prefixLength} of ${(await netlink.link(index))?.name}, a network of this host's own, fills`,
      network,
      'choose another Network',
    );
  }
  const [first] = await carriers.covered(overlay, await netlink.routes(device));
  if (first === undefined) return;
  const way = first.route?.index === undefined ? undefined : await netlink.link(first.route.index);
  throw refusal(describe(first), network, remedyOf(first, way?.name));
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

function refusal(what: string, network: Subnet, remedy: string): RudderError {
  return new RudderError(
    'network-config',
    `${what} the overlay ${formatSubnet(network)}, which would cut this host off: expected it outside, or with a more specific route of its own; ${remedy}`,
  );
}

function describe({ what, address }: Covered): string {
  const text = formatIpv4(address);
  return `${what.includes(text) ? what : `${what} (${text})`} lies inside`;
}

/** @param device where the kernel sends to that address now */
function remedyOf({ address, route }: Covered, device: string | undefined): string {
  if (device === undefined) return 'choose another Network, or add such a route';
  const via = route?.gateway === undefined ? '' : `via ${formatIpv4(route.gateway)} `;
  return `choose another Network, or run "ip route add ${formatIpv4(address)}/32 ${via}dev ${device}" and let the host's network configuration keep that`;
}

/** Why a node is cut off, in one line. */
export function describeCutOff({ what, address, cover }: Covered, device: string): string {
  const text = formatIpv4(address);
  const way = cover === 'device' ? `is routed into ${device}` : `would be routed into ${device}`;
  return `cut off: ${what.includes(text) ? what : `${what} (${text})`} ${way}; the overlay's routes are withdrawn until it has another way`;
}
