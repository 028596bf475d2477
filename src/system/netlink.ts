import { createRtNetlink, FlagsNew } from 'netlink';
import { type Ipv4, ipv4ToBytes } from '../core/ipv4.js';
import { createOneAtATime } from '../core/one-at-a-time.js';
import type { Subnet } from '../core/subnet.js';
import { NetlinkError } from './netlink/error.js';
import { type HostEvents, type WatchOptions, watchHost } from './netlink/events.js';
import { createForwarding, type Forwarding } from './netlink/forwarding.js';
import {
  type AddressInfo,
  askLink,
  type LinkInfo,
  listAddresses,
  listIpv6Addresses,
  listLinks,
} from './netlink/links.js';
import { AF_INET, attribute } from './netlink/messages.js';
import { createOwnDeletions } from './netlink/neighbours.js';
import { type Datagram, openNetfilter } from './netlink/netfilter.js';
import { openRequests, type Requests } from './netlink/requests.js';
import { defaultsIn, listRoutes, lookUpRoute, lookUpSource, MAIN_TABLE, type RouteInfo } from './netlink/routes.js';
import { createWireguard, type Wireguard } from './netlink/wireguard.js';

export { NetlinkError } from './netlink/error.js';
export type { HostEvents } from './netlink/events.js';
export type { Forwarding } from './netlink/forwarding.js';
export type { AddressInfo, LinkInfo } from './netlink/links.js';
export type { Mac } from './netlink/messages.js';
export type { Neighbour } from './netlink/neighbours.js';
export { type RouteEntry, RTN_BLACKHOLE, RTN_UNICAST, RTN_UNREACHABLE } from './netlink/route-entries.js';
export { type Hop, MAIN_TABLE, type RouteInfo } from './netlink/routes.js';
export type { MarkRule } from './netlink/rules.js';
export type { DetailedLink, VxlanSettings } from './netlink/vxlan.js';
export type { Wireguard, WireguardDevice, WireguardPeer } from './netlink/wireguard.js';

/**
 * The kernel's word on links, addresses and routes, and ours to it. Only this file and its folder know the netlink
 * package. Its traps, and what is done here about each:
 *  - hundreds of concurrent requests overflow its socket and abort the process: requests go one at a time;
 *  - it waits for ever for a lost answer: every request has a timeout;
 *  - its errors carry no code: the errno name is taken out of the text once, in error.ts;
 *  - what it fails to receive ends the process: notifications, which may be lost, are read by our own addon;
 *  - of a long list it makes megabytes of objects: lists are read message by message, in requests.ts.
 */
export interface Netlink extends Forwarding {
  readonly wireguard: Wireguard;
  links(): Promise<LinkInfo[]>;
  /** One of them, by name or index, which costs little where there are thousands. */
  link(who: string | number): Promise<LinkInfo | undefined>;
  addresses(): Promise<AddressInfo[]>;
  /** Interface index of the IPv4 default route with the lowest metric; undefined if there is none. */
  defaultRouteInterface(): Promise<number | undefined>;
  /** The default routes of all tables, and all routes that lead through one interface, if one is named. */
  routes(index: number | undefined): Promise<RouteInfo[]>;
  /** Interface index through which the kernel would send to that address. @throws ENETUNREACH if it would not */
  interfaceTowards(address: Ipv4): Promise<number | undefined>;
  /**
   * The route that the kernel would take to an address, its policy rules included; undefined if there is none.
   * @param source of the packets, if they have one already
   */
  routeTo(address: Ipv4, source?: Ipv4): Promise<RouteInfo | undefined>;
  /** @param queueLength packets that may wait to be sent */
  setLinkUp(index: number, mtu: number, queueLength: number): Promise<void>;
  /** What the sysctl net.ipv4.conf.NAME.accept_local sets, also where /proc/sys is read-only, as in a container. */
  acceptLocal(index: number): Promise<void>;
  /** The own address that the kernel would give a packet to that address; undefined: it has no route. */
  sourceTowards(address: Ipv4): Promise<Ipv4 | undefined>;
  /** No IPv6 link-local address appears when the interface comes up. */
  noLinkLocalAddress(index: number): Promise<void>;
  hasIpv6Address(index: number): Promise<boolean>;
  removeIpv6Addresses(index: number): Promise<void>;
  /** Gives the interface exactly this IPv4 address. */
  setOnlyAddress(index: number, address: Ipv4, prefixLength: number): Promise<void>;
  hasRoute(index: number, destination: Subnet): Promise<boolean>;
  /** Adds the route that comes with the address, unless the interface has it. */
  ensureRoute(index: number, destination: Subnet, source: Ipv4): Promise<void>;
  deleteRoute(index: number, route: Pick<RouteInfo, 'destination' | 'table'>): Promise<void>;
  deleteLink(index: number): Promise<void>;
  /** A note on the interface, which `ip link` shows: whose it is. */
  setAlias(index: number, alias: string): Promise<void>;
  /** Of this namespace's nf_tables rules: another number after each change. */
  rulesGeneration(): Promise<number>;
  /** Removes the connection tracking entry that such a datagram would belong to. @throws ENOENT if there is none */
  deleteConntrack(datagram: Datagram): Promise<void>;
  /** Tells from now on of changes that may concern a device and the network that is routed to it. */
  watch(device: string, network: Subnet, options?: WatchOptions): Promise<HostEvents>;
  close(): void;
}

const AF_INET6 = 10;

/** linux/if_link.h and linux/ip.h: settings of one interface, below IFLA_AF_SPEC. */
const IFLA_INET_CONF = 1;
const IPV4_DEVCONF_ACCEPT_LOCAL = 23;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;

const REQUEST = { timeout: 2000 };
/** The types ask for both although the code has defaults. */
const BUFFERS = { recvBufferSize: 1 << 18, sendBufferSize: 1 << 16 };

export function openNetlink(): Netlink {
  const requests = openRequests();
  const ownDeletions = createOwnDeletions();
  const netfilter = openNetfilter();
  let generic: Requests | undefined;
  const socket = createRtNetlink(BUFFERS);
  // Without listeners a socket error would go unheard and an `invalid` message unnoticed; requests then time out.
  socket.socket.on('error', () => undefined);
  const oneAtATime = createOneAtATime();

  /** Runs a request of the package's after all earlier ones have ended. */
  function request<T>(what: string, send: () => Promise<T>): Promise<T> {
    return oneAtATime(send).catch((error: unknown) => {
      throw NetlinkError.fromPackage(what, error);
    });
  }

  const addresses = () => listAddresses(requests);

  async function hasRoute(index: number, { address, prefixLength }: Subnet): Promise<boolean> {
    return (await listRoutes(requests, index)).some(
      ({ table, destination, index: through }) =>
        through === index &&
        table === MAIN_TABLE &&
        destination.prefixLength === prefixLength &&
        destination.address === address,
    );
  }

  return {
    ...createForwarding(requests, ownDeletions),
    wireguard: createWireguard(requests, () => (generic ??= openRequests('generic'))),
    links: () => listLinks(requests),
    link: (who) => askLink(requests, who),
    addresses,
    hasRoute,
    routes: (index) => listRoutes(requests, index),
    sourceTowards: (address) => lookUpSource(requests, address),
    routeTo: (address, source) => lookUpRoute(requests, address, source),
    defaultRouteInterface: async () => defaultsIn(await listRoutes(requests, undefined)).at(0)?.index,
    async interfaceTowards(address) {
      const route = await lookUpRoute(requests, address);
      if (route === undefined) throw new NetlinkError('netlink: look up a route: no route', 'ENETUNREACH');
      return route.index;
    },
    async setLinkUp(index, mtu, queueLength) {
      const attributes = { mtu, txqlen: queueLength };
      await request('set link', () =>
        socket.setLink({ index, flags: { up: true }, change: { up: true } }, attributes, REQUEST),
      );
    },
    async acceptLocal(index) {
      const one = Buffer.alloc(4);
      one.writeUInt32LE(1);
      const settings = attribute(IFLA_INET_CONF, attribute(IPV4_DEVCONF_ACCEPT_LOCAL, one));
      await request('accept packets from own addresses', () =>
        socket.setLink({ index }, { afSpec: new Map([[AF_INET, settings]]) }, REQUEST),
      );
    },
    async noLinkLocalAddress(index) {
      const mode = attribute(IFLA_INET6_ADDR_GEN_MODE, Buffer.from([IN6_ADDR_GEN_MODE_NONE]));
      await request('make no IPv6 address', () =>
        socket.setLink({ index }, { afSpec: new Map([[AF_INET6, mode]]) }, REQUEST),
      );
    },
    hasIpv6Address: async (index) => (await listIpv6Addresses(requests, index)).length > 0,
    async removeIpv6Addresses(index) {
      for (const { bytes, prefixLength } of await listIpv6Addresses(requests, index)) {
        const data = { family: AF_INET6, prefixlen: prefixLength, index };
        await request('delete IPv6 address', () => socket.delAddress(data, { local: bytes, address: bytes }, REQUEST));
      }
    },
    async setOnlyAddress(index, address, prefixLength) {
      const present = (await addresses()).filter((entry) => entry.index === index);
      for (const stale of present) {
        if (stale.address === address && stale.prefixLength === prefixLength) continue;
        const local = ipv4ToBytes(stale.address);
        const data = { family: AF_INET, prefixlen: stale.prefixLength, index };
        await request('delete address', () => socket.delAddress(data, { local, address: local }, REQUEST));
      }
      const local = ipv4ToBytes(address);
      const data = { family: AF_INET, prefixlen: prefixLength, index };
      const flags = FlagsNew.CREATE | FlagsNew.REPLACE;
      await request('set address', () => socket.newAddress(data, { local, address: local }, { ...REQUEST, flags }));
    },
    async ensureRoute(index, destination, source) {
      if (await hasRoute(index, destination)) return;
      const dst = ipv4ToBytes(destination.address);
      const data = {
        family: AF_INET,
        dstLen: destination.prefixLength,
        table: MAIN_TABLE,
        protocol: 'KERNEL' as const,
        scope: 'LINK' as const,
        type: 'UNICAST' as const,
      };
      // Without CREATE the kernel answers ENOENT.
      const flags = FlagsNew.CREATE | FlagsNew.REPLACE;
      await request('add route', () =>
        socket.newRoute(data, { dst, oif: index, prefsrc: ipv4ToBytes(source) }, { ...REQUEST, flags }),
      );
    },
    async deleteRoute(index, { destination, table }) {
      const data = {
        family: AF_INET,
        dstLen: destination.prefixLength,
        // What has more than 8 bits is in the attribute alone.
        table: table & 0xff,
        scope: 'NOWHERE' as const,
      };
      const dst = destination.prefixLength === 0 ? {} : { dst: ipv4ToBytes(destination.address) };
      await request('delete route', () => socket.delRoute(data, { ...dst, oif: index, table }, REQUEST));
    },
    async deleteLink(index) {
      await request('delete link', () => socket.delLink({ index }, {}, REQUEST));
    },
    async setAlias(index, alias) {
      await request('set alias', () => socket.setLink({ index }, { ifalias: alias }, REQUEST));
    },
    rulesGeneration: () => request('ask for the generation of nf_tables', netfilter.rulesGeneration),
    deleteConntrack: (datagram) =>
      request('delete a connection tracking entry', () => netfilter.deleteConntrack(datagram)),
    watch: async (device, network, options) => {
      const events = watchHost(device, network, { port: requests.port, deletions: ownDeletions }, options);
      // Before the next one is told of: what it is called now.
      events.setDeviceIndex((await askLink(requests, device))?.index);
      return events;
    },
    close() {
      requests.close();
      generic?.close();
      socket.socket.close();
      netfilter.close();
    },
  };
}
