import { type Ipv4, ipv4FromBytes, ipv4ToBytes, NO_ADDRESS } from '../../core/ipv4.js';
import type { Subnet } from '../../core/subnet.js';
import { AF_INET, attribute, attributesOf } from './messages.js';
import type { Requests } from './requests.js';

/** linux/rtnetlink.h: routes, as a list, as answers to a question, and as notifications. */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

export interface RouteInfo {
  readonly table: number;
  readonly destination: Subnet;
  /** Where it leads out; of several next hops the first one that is alive. Undefined: nowhere (unreachable, say). */
  readonly index: number | undefined;
  readonly gateway: Ipv4 | undefined;
  /** Own address that packets get by this route; undefined: the route does not say. */
  readonly source?: Ipv4 | undefined;
  readonly metric: number;
  /** Of packets by this route; undefined: that of the interface. */
  readonly mtu?: number | undefined;
  /** RTN_UNICAST (1), RTN_LOCAL (2), RTN_BLACKHOLE (6), ... */
  readonly type: number;
}

export const MAIN_TABLE = 254;
export const DEFAULT_TABLE = 253;
export const RTN_LOCAL = 2;

/** struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type (8 bits each), flags. */
export const RTMSG_BYTES = 12;
export const RTA_DST = 1;
const RTA_SRC = 2;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_PREFSRC = 7;
export const RTA_METRICS = 8;
/** Below RTA_METRICS. */
export const RTAX_MTU = 2;
const RTA_MULTIPATH = 9;
export const RTA_TABLE = 15;
/** A gateway of the other family. */
const RTA_VIA = 18;
/** A cached exception of another route, such as a path's MTU: no route by itself. */
const RTM_F_CLONED = 0x200;
const RTM_F_LOOKUP_TABLE = 0x1000;
/** The answer is the route that matched, and not what it means for this one address. */
const RTM_F_FIB_MATCH = 0x2000;

/** struct rtnexthop: length (16 bits), flags, hops (8 bits each), interface (32 bits), attributes. */
const RTNEXTHOP_BYTES = 8;
const RTNH_F_DEAD = 1;

/**
 * The default routes, and what leads through one interface, of all tables: of the many others of a host that knows the
 * whole internet nothing is made but a look at their bytes.
 * @param index undefined: the default routes alone
 */
export async function listRoutes(requests: Requests, index: number | undefined): Promise<RouteInfo[]> {
  const body = Buffer.alloc(RTMSG_BYTES);
  body[0] = AF_INET;
  const routes: RouteInfo[] = [];
  await requests.dump('list routes', RTM_GETROUTE, body, (message) => {
    if (message.body[1] !== 0 && !mayLeadThrough(message.body, index)) return;
    const route = routeOf(message.body);
    if (route === undefined) return;
    if (route.destination.prefixLength === 0 || route.index === index) routes.push(route);
  });
  return routes;
}

/** Default routes of the main table that lead out somewhere, the best first. */
export function defaultsIn(routes: readonly RouteInfo[]): RouteInfo[] {
  return routes
    .filter(
      ({ table, index, destination }) => table === MAIN_TABLE && index !== undefined && destination.prefixLength === 0,
    )
    .sort((a, b) => a.metric - b.metric);
}

/** Without an object: whether the route has that interface, or several next hops, which are read later. */
function mayLeadThrough(body: Buffer, index: number | undefined): boolean {
  for (let at = RTMSG_BYTES; at + 8 <= body.length; at += (body.readUInt16LE(at) + 3) & ~3) {
    const type = body.readUInt16LE(at + 2);
    if (type === RTA_OIF) return body.readInt32LE(at + 4) === index;
    if (type === RTA_MULTIPATH) return true;
    if (body.readUInt16LE(at) < 4) return false;
  }
  return false;
}

/**
 * The route that the kernel would take, its policy rules included.
 * @param source that packets have already; undefined: the kernel would choose it
 * @returns undefined if there is none
 * @throws NetlinkError
 */
export async function lookUpRoute(requests: Requests, address: Ipv4, source?: Ipv4): Promise<RouteInfo | undefined> {
  const body = await lookUp(requests, address, source, RTM_F_FIB_MATCH | RTM_F_LOOKUP_TABLE);
  return body && routeOf(body);
}

/** The own address that the kernel would give a packet to an address; undefined: it has no route. @throws NetlinkError */
export async function lookUpSource(requests: Requests, address: Ipv4): Promise<Ipv4 | undefined> {
  const body = await lookUp(requests, address, undefined, 0);
  const source = body && attributesOf(body, RTMSG_BYTES).get(RTA_PREFSRC);
  return source && ipv4FromBytes(source);
}

/** What the kernel answers; undefined: it has no way there. */
async function lookUp(
  requests: Requests,
  address: Ipv4,
  source: Ipv4 | undefined,
  flags: number,
): Promise<Buffer | undefined> {
  const header = Buffer.alloc(RTMSG_BYTES);
  header[0] = AF_INET;
  header[1] = 32;
  header[2] = source === undefined ? 0 : 32;
  header.writeUInt32LE(flags, 8);
  const attributes = [attribute(RTA_DST, ipv4ToBytes(address))];
  if (source !== undefined) attributes.push(attribute(RTA_SRC, ipv4ToBytes(source)));
  try {
    return (await requests.ask('look up a route', RTM_GETROUTE, Buffer.concat([header, ...attributes]))).body;
  } catch (error) {
    // "no route", an unreachable, a prohibit, a blackhole and a throw route.
    // With a source EINVAL says that this host does not have that address.
    const { code } = error as { code: string };
    if (NO_ROUTE.has(code) && !(code === 'EINVAL' && source !== undefined)) return undefined;
    throw error;
  }
}

/** The next step of packets to an address. */
export interface Hop {
  /** The interface they leave by. */
  readonly index: number;
  /** Whether a router forwards them; if not, the address is on that interface's link. */
  readonly isRouted: boolean;
  /** Whether the address is this host's own. */
  readonly isLocal: boolean;
}

/** @returns undefined if the kernel has no way there @throws NetlinkError */
export async function lookUpHop(requests: Requests, address: Ipv4): Promise<Hop | undefined> {
  const body = await lookUp(requests, address, undefined, 0);
  if (body === undefined) return undefined;
  const attributes = attributesOf(body, RTMSG_BYTES);
  const index = attributes.get(RTA_OIF)?.readInt32LE();
  if (index === undefined) return undefined;
  const isRouted = attributes.has(RTA_GATEWAY) || attributes.has(RTA_VIA);
  return { index, isRouted, isLocal: body[7] === RTN_LOCAL };
}

const NO_ROUTE = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL', 'EAGAIN']);

/** What a message's body says of a route; undefined: it is not one of IPv4, or a cached exception of one. */
export function routeOf(body: Buffer): RouteInfo | undefined {
  if (body[0] !== AF_INET || (body.readUInt32LE(8) & RTM_F_CLONED) !== 0) return undefined;
  const attributes = attributesOf(body, RTMSG_BYTES);
  const hop = firstHop(attributes);
  const destination = attributes.get(RTA_DST);
  const source = attributes.get(RTA_PREFSRC);
  const metrics = attributes.get(RTA_METRICS);
  return {
    table: attributes.get(RTA_TABLE)?.readUInt32LE() ?? body[4],
    destination: {
      address: destination === undefined ? NO_ADDRESS : ipv4FromBytes(destination),
      prefixLength: body[1],
    },
    index: hop.index,
    gateway: hop.gateway === undefined ? undefined : ipv4FromBytes(hop.gateway),
    source: source === undefined ? undefined : ipv4FromBytes(source),
    metric: attributes.get(RTA_PRIORITY)?.readUInt32LE() ?? 0,
    mtu: metrics && attributesOf(metrics, 0).get(RTAX_MTU)?.readUInt32LE(),
    type: body[7],
  };
}

function firstHop(attributes: Map<number, Buffer>): { index?: number; gateway?: Buffer } {
  const multipath = attributes.get(RTA_MULTIPATH);
  const index = attributes.get(RTA_OIF)?.readInt32LE();
  if (index !== undefined || multipath === undefined) return { index, gateway: attributes.get(RTA_GATEWAY) };
  for (let at = 0; at + RTNEXTHOP_BYTES <= multipath.length; ) {
    const length = Math.max(RTNEXTHOP_BYTES, multipath.readUInt16LE(at));
    if ((multipath[at + 2] & RTNH_F_DEAD) === 0) {
      const gateway = attributesOf(multipath.subarray(at, at + length), RTNEXTHOP_BYTES).get(RTA_GATEWAY);
      return { index: multipath.readInt32LE(at + 4), gateway };
    }
    at += (length + 3) & ~3;
  }
  return {};
}
