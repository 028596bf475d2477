import { constants } from 'node:os';
import {
  createNetlink,
  createRtNetlink,
  Flags,
  FlagsNew,
  getMap,
  type NetlinkSocket,
  Protocol,
  type rt,
} from 'netlink';
import { type Ipv4, ipv4FromBytes, ipv4ToBytes } from '../core/ipv4.js';
import { createOneAtATime } from '../core/one-at-a-time.js';
import type { Subnet } from '../core/subnet.js';

/**
 * The only file that knows the netlink package. Its traps, and what is done here about each:
 *  - hundreds of concurrent requests overflow its socket and abort the process: requests go one at a time;
 *  - it waits for ever for a lost answer: every request has a timeout;
 *  - its errors carry no code: the errno name is taken out of the text once, here.
 */
export interface Netlink {
  links(): Promise<LinkInfo[]>;
  addresses(): Promise<AddressInfo[]>;
  /** Interface index of the IPv4 default route with the lowest metric; undefined if there is none. */
  defaultRouteInterface(): Promise<number | undefined>;
  /** Interface index through which the kernel would send to that address. */
  interfaceTowards(address: Ipv4): Promise<number | undefined>;
  /** @param queueLength packets that may wait to be sent */
  setLinkUp(index: number, mtu: number, queueLength: number): Promise<void>;
  /** What the sysctl net.ipv4.conf.NAME.accept_local sets, also where /proc/sys is read-only, as in a container. */
  acceptLocal(index: number): Promise<void>;
  /** No IPv6 link-local address appears when the interface comes up. */
  noLinkLocalAddress(index: number): Promise<void>;
  /** Gives the interface exactly this IPv4 address. */
  setOnlyAddress(index: number, address: Ipv4, prefixLength: number): Promise<void>;
  hasRoute(index: number, destination: Subnet): Promise<boolean>;
  /** Adds the route that comes with the address, unless the interface has it. */
  ensureRoute(index: number, destination: Subnet, source: Ipv4): Promise<void>;
  deleteLink(index: number): Promise<void>;
  /** A note on the interface, which `ip link` shows: whose it is. */
  setAlias(index: number, alias: string): Promise<void>;
  /** Of this namespace's nf_tables rules: another number after each change. */
  rulesGeneration(): Promise<number>;
  close(): void;
}

export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  /** What the kernel calls it: tun, tap, bridge, veth and so on; empty for hardware and loopback. */
  readonly kind: string;
  /** See setAlias(); empty if there is none. */
  readonly alias: string;
  /** Of a TUN device: whether a process has it open. */
  readonly carrier: boolean;
}

export interface AddressInfo {
  readonly index: number;
  readonly address: Ipv4;
  readonly prefixLength: number;
  /** 0 is global: usable from outside. */
  readonly scope: number;
}

export class NetlinkError extends Error {
  readonly syscall = 'netlink';
  readonly errno: number | undefined;

  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
    const errno = (constants.errno as Record<string, number | undefined>)[code];
    this.errno = errno === undefined ? undefined : -errno;
  }
}

const AF_INET = 2;
const AF_INET6 = 10;
const MAIN_TABLE = 254;

/** linux/if_link.h and linux/ip.h: settings of one interface, below IFLA_AF_SPEC. */
const IFLA_INET_CONF = 1;
const IPV4_DEVCONF_ACCEPT_LOCAL = 23;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;

/** One attribute: length with this header and type, 16 bits each in the host's order, then the value, padded to 4 bytes. */
function attribute(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(type, 2);
  return Buffer.concat([header, value, Buffer.alloc(-value.length & 3)]);
}

/** linux/rtnetlink.h, struct rtnexthop: length (16 bits), flags, hops (8 bits each), interface (32 bits), attributes. */
const NEXT_HOP_BYTES = 8;
const RTNH_F_DEAD = 1;

/** Where a route leads out; of several next hops the first one that is alive. Undefined: nowhere (unreachable, say). */
function interfaceOf({ attrs: { oif, multipath } }: rt.RouteMessage): number | undefined {
  if (oif !== undefined || multipath === undefined) return oif;
  for (
    let at = 0;
    at + NEXT_HOP_BYTES <= multipath.length;
    at += Math.max(NEXT_HOP_BYTES, multipath.readUInt16LE(at))
  ) {
    if ((multipath[at + 2] & RTNH_F_DEAD) === 0) return multipath.readInt32LE(at + 4);
  }
  return undefined;
}

/** linux/if_link.h and linux/if_tun.h, below IFLA_LINKINFO. For the kernel, TUN and TAP are of one kind. */
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_TUN_TYPE = 3;
const IFF_TAP = 2;

function kindOf(linkInfo: Buffer | undefined): string {
  if (linkInfo === undefined) return '';
  const info = getMap(linkInfo, (value) => value);
  const kind = info.get(IFLA_INFO_KIND)?.toString('latin1').replace(/\0+$/, '') ?? '';
  if (kind !== 'tun') return kind;
  const type = getMap(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0), (value) => value).get(IFLA_TUN_TYPE);
  return type?.[0] === IFF_TAP ? 'tap' : kind;
}

/** linux/netfilter/nf_tables.h: the request without a body but its header of 4 bytes, and the attribute of the answer. */
const NFT_MSG_GETGEN = (10 << 8) | 16;
const NFGENMSG_BYTES = 4;
const NFTA_GEN_ID = 1;

const REQUEST = { timeout: 2000 };
/** The types ask for both although the code has defaults. */
const BUFFERS = { recvBufferSize: 1 << 18, sendBufferSize: 1 << 16 };

export function openNetlink(): Netlink {
  const socket = createRtNetlink(BUFFERS);
  // Without listeners a socket error would go unheard and an `invalid` message unnoticed; requests then time out.
  socket.socket.on('error', () => undefined);
  /** Opened when first needed: a host without nf_tables shall not load it for us. */
  let netfilter: NetlinkSocket | undefined;
  const oneAtATime = createOneAtATime();

  /** Runs a request after all earlier ones have ended. */
  function request<T>(what: string, send: () => Promise<T>): Promise<T> {
    return oneAtATime(send).catch((error: unknown) => {
      throw toNetlinkError(what, error);
    });
  }

  async function addresses(): Promise<AddressInfo[]> {
    const messages = await request('list addresses', () => socket.getAddresses({ family: AF_INET }, {}, REQUEST));
    return messages.flatMap(({ data, attrs }) => {
      const local = attrs.local ?? attrs.address;
      if (local === undefined || data.family !== AF_INET) return [];
      const { index = 0, prefixlen = 32, scope = 0 } = data;
      return [{ index, address: ipv4FromBytes(local), prefixLength: prefixlen, scope }];
    });
  }

  async function routes(): Promise<rt.RouteMessage[]> {
    const messages = await request('list routes', () => socket.getRoutes({ family: AF_INET }, {}, REQUEST));
    return messages.filter(({ data, attrs }) => (attrs.table ?? data.table) === MAIN_TABLE);
  }

  async function hasRoute(index: number, destination: Subnet): Promise<boolean> {
    const wanted = ipv4ToBytes(destination.address);
    return (await routes()).some(
      ({ data, attrs }) =>
        attrs.oif === index &&
        data.dstLen === destination.prefixLength &&
        attrs.dst !== undefined &&
        wanted.equals(attrs.dst),
    );
  }

  return {
    async links() {
      const messages = await request('list links', () => socket.getLinks({}, {}, REQUEST));
      return messages.map(({ data, attrs }) => ({
        index: data.index ?? 0,
        name: attrs.ifname ?? '',
        mtu: attrs.mtu ?? 0,
        up: data.flags?.up === true,
        kind: kindOf(attrs.linkinfo),
        alias: attrs.ifalias ?? '',
        carrier: attrs.carrier === 1,
      }));
    },
    addresses,
    hasRoute,
    async defaultRouteInterface() {
      const defaults = (await routes())
        .filter(({ data }) => data.dstLen === 0)
        .sort((a, b) => (a.attrs.priority ?? 0) - (b.attrs.priority ?? 0));
      return defaults.map(interfaceOf).find((index) => index !== undefined);
    },
    async interfaceTowards(address) {
      const destination = { dst: ipv4ToBytes(address) };
      const messages = await request('look up a route', () =>
        socket.getRoute({ family: AF_INET, dstLen: 32 }, destination, REQUEST),
      );
      return messages[0]?.attrs.oif;
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
    async deleteLink(index) {
      await request('delete link', () => socket.delLink({ index }, {}, REQUEST));
    },
    async setAlias(index, alias) {
      await request('set alias', () => socket.setLink({ index }, { ifalias: alias }, REQUEST));
    },
    async rulesGeneration() {
      const [messages] = await request('ask for the generation of nf_tables', () => {
        netfilter ??= createNetlink(Protocol.NETFILTER, BUFFERS).on('error', () => undefined);
        const body = Buffer.alloc(NFGENMSG_BYTES);
        return netfilter.request(NFT_MSG_GETGEN, body, { ...REQUEST, flags: Flags.REQUEST });
      });
      const attributes = getMap(messages[0].data.subarray(NFGENMSG_BYTES), (value) => value);
      return attributes.get(NFTA_GEN_ID)!.readUInt32BE();
    },
    close() {
      socket.socket.close();
      netfilter?.close();
    },
  };
}

/** "Request rejected: EEXIST" and the like; a timeout has no errno of its own. */
function toNetlinkError(what: string, error: unknown): NetlinkError {
  const text = error instanceof Error ? error.message : String(error);
  const code = /\b(E[A-Z0-9]+)$/.exec(text)?.[1] ?? (/timeout/i.test(text) ? 'ETIMEDOUT' : 'EIO');
  return new NetlinkError(`netlink: ${what}: ${text}`, code);
}
