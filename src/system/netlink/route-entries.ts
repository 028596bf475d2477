import { type Ipv4, ipv4FromBytes, ipv4ToBytes, NO_ADDRESS } from '../../core/ipv4.js';
import { contains, type Subnet } from '../../core/subnet.js';
import { AF_INET, attribute, uint32 } from './messages.js';
import { NLM_F_CREATE, NLM_F_REPLACE, type Requests } from './requests.js';
import {
  MAIN_TABLE,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTAX_MTU,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTMSG_BYTES,
  routeOf,
} from './routes.js';

/** Routes as they are written, one by one, and read back. */
export interface RouteEntry {
  readonly destination: Subnet;
  /** Undefined: it leads nowhere, such as a blackhole. */
  readonly index: number | undefined;
  readonly gateway: Ipv4 | undefined;
  /** The gateway is taken to be on the link, whatever the addresses there say. */
  readonly isOnLink: boolean;
  readonly metric: number;
  readonly table: number;
  /** Own address that this host's packets get by it; undefined: the kernel chooses one. */
  readonly source?: Ipv4 | undefined;
  /** Of packets that go by it; undefined: that of the interface. */
  readonly mtu?: number | undefined;
  /** Who made it: RTPROT_KERNEL (2), RTPROT_BOOT (3, what `ip` and flannel say), RTPROT_STATIC (4), ... */
  readonly protocol: number;
  /** RTN_UNICAST (1), RTN_BLACKHOLE (6), ... */
  readonly type: number;
}

/** What is listed: all routes of this protocol in these tables, ... */
export interface RouteFilter {
  readonly protocol: number;
  readonly tables: readonly number[];
  /** ... and of the main table those to destinations within this network, if one is named, ... */
  readonly network?: Subnet | undefined;
  /** ... and those through this link. */
  readonly index?: number | undefined;
}

export const RTN_UNICAST = 1;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;

const RTNH_F_ONLINK = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_NOWHERE = 255;

/** Of the many others of a host that knows the whole internet nothing is made but a look at their bytes. */
export async function listRouteEntries(requests: Requests, filter: RouteFilter): Promise<RouteEntry[]> {
  const body = Buffer.alloc(RTMSG_BYTES);
  body[0] = AF_INET;
  const routes: RouteEntry[] = [];
  await requests.dump('list routes', RTM_GETROUTE, body, (message) => {
    if (!mayPass(message.body, filter)) return;
    const route = routeOf(message.body);
    if (route === undefined || !filter.tables.includes(route.table)) return;
    const { destination, index, gateway, metric, table, source, mtu, type } = route;
    const isOnLink = (message.body.readUInt32LE(8) & RTNH_F_ONLINK) !== 0;
    routes.push({ destination, index, gateway, isOnLink, metric, table, source, mtu, type, protocol: message.body[5] });
  });
  return routes;
}

/** Without an object. A table's number of more than 8 bits is in an attribute, and the header says "unspecified". */
function mayPass(body: Buffer, { network, index, protocol }: RouteFilter): boolean {
  if (body[5] === protocol) return true;
  if (body[4] !== MAIN_TABLE) return false;
  let destination = NO_ADDRESS;
  let through: number | undefined;
  for (let at = RTMSG_BYTES; at + 8 <= body.length; at += (body.readUInt16LE(at) + 3) & ~3) {
    if (body.readUInt16LE(at) < 4) break;
    const type = body.readUInt16LE(at + 2);
    if (type === RTA_DST) destination = ipv4FromBytes(body.subarray(at + 4, at + 8));
    else if (type === RTA_OIF) through = body.readInt32LE(at + 4);
  }
  const isInside = network !== undefined && body[1] >= network.prefixLength && contains(network, destination);
  return isInside || (index !== undefined && through === index);
}

/** In the place of the first one there is with this destination and metric, whoever made it. */
export const replaceRoute = (requests: Requests, route: RouteEntry) =>
  requests.change('set a route', RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, bodyOf(route, RT_SCOPE_UNIVERSE));

/** This one and no other with the same destination. */
export const deleteRouteEntry = (requests: Requests, route: RouteEntry) =>
  requests.change('delete a route', RTM_DELROUTE, 0, bodyOf(route, RT_SCOPE_NOWHERE));

function bodyOf(route: RouteEntry, scope: number): Buffer {
  const { destination, index, gateway, isOnLink, metric, table, source, mtu, protocol, type } = route;
  const header = Buffer.from([AF_INET, destination.prefixLength, 0, 0, 0, protocol, scope, type, 0, 0, 0, 0]);
  header.writeUInt32LE(isOnLink ? RTNH_F_ONLINK : 0, 8);
  const attributes = [
    attribute(RTA_DST, ipv4ToBytes(destination.address)),
    // The header has room for 8 bits of it, and says "unspecified".
    attribute(RTA_TABLE, uint32(table)),
  ];
  if (metric !== 0) attributes.push(attribute(RTA_PRIORITY, uint32(metric)));
  if (gateway !== undefined) attributes.push(attribute(RTA_GATEWAY, ipv4ToBytes(gateway)));
  if (source !== undefined) attributes.push(attribute(RTA_PREFSRC, ipv4ToBytes(source)));
  if (mtu !== undefined) attributes.push(attribute(RTA_METRICS, attribute(RTAX_MTU, uint32(mtu))));
  if (index !== undefined) attributes.push(attribute(RTA_OIF, uint32(index)));
  return Buffer.concat([header, ...attributes]);
}
