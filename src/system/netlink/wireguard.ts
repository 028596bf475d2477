import { type Ipv4, ipv4FromBytes, ipv4ToBytes } from '../../core/ipv4.js';
import type { Subnet } from '../../core/subnet.js';
import { familyOf, GENL_HEADER_BYTES, generic } from './generic.js';
import { IFINFOMSG_BYTES, IFLA_IFNAME, IFLA_MTU, linkInfo, RTM_NEWLINK } from './links.js';
import { AF_INET, attribute, attributeList, attributesOf, nest, text, uint16, uint32 } from './messages.js';
import { NLM_F_CREATE, NLM_F_EXCL, type Requests } from './requests.js';

/** linux/wireguard.h: links of kind wireguard, their keys and their peers. A key is 32 bytes. */
const FAMILY = 'wireguard';
const VERSION = 1;
const GET_DEVICE = 0;
const SET_DEVICE = 1;

const DEVICE_IFINDEX = 1;
const DEVICE_PRIVATE_KEY = 3;
const DEVICE_PUBLIC_KEY = 4;
const DEVICE_LISTEN_PORT = 6;
const DEVICE_FWMARK = 7;
const DEVICE_PEERS = 8;

const PEER_PUBLIC_KEY = 1;
const PEER_PRESHARED_KEY = 2;
const PEER_FLAGS = 3;
const PEER_ENDPOINT = 4;
const PEER_KEEPALIVE = 5;
const PEER_LAST_HANDSHAKE = 6;
const PEER_RX_BYTES = 7;
const PEER_TX_BYTES = 8;
const PEER_ALLOWED_IPS = 9;
const REMOVE_ME = 1;
const UPDATE_ONLY = 4;

const ALLOWED_FAMILY = 1;
const ALLOWED_ADDRESS = 2;
const ALLOWED_PREFIX_LENGTH = 3;

/** struct sockaddr_in: family, port (big-endian), address, eight bytes of nothing. */
const SOCKADDR_IN_BYTES = 16;
/** Of a list, whose items have no types. */
const ITEM = 0;

export interface WireguardEndpoint {
  readonly address: Ipv4;
  readonly port: number;
}

/** What a peer is to be; what is not said stays as it is. */
export interface WireguardPeerChange {
  readonly publicKey: Buffer;
  /** Zeros: none. */
  readonly presharedKey?: Buffer | undefined;
  readonly endpoint?: WireguardEndpoint | undefined;
  /** 0: off. */
  readonly keepaliveSeconds?: number | undefined;
  /** To be its own from now on, whoever's they were, beside those that it has. */
  readonly allowed?: readonly Subnet[] | undefined;
  /** `only if there`: it is not made. */
  readonly is?: 'removed' | 'only if there' | undefined;
}

export interface WireguardChange {
  readonly privateKey?: Buffer | undefined;
  readonly listenPort?: number | undefined;
  readonly mark?: number | undefined;
  readonly peers?: readonly WireguardPeerChange[] | undefined;
}

export interface WireguardPeer {
  readonly publicKey: Buffer;
  /** A view of what was received: to be wiped by who has looked at it. */
  readonly presharedKey: Buffer;
  /** Where it was heard last, or is as it was set; undefined: nowhere, or IPv6. */
  readonly endpoint: WireguardEndpoint | undefined;
  readonly keepaliveSeconds: number;
  /** Milliseconds since 1970; undefined: never. */
  readonly handshakeAt: number | undefined;
  /** As they are on the way: encrypted, handshakes and keepalives too. */
  readonly inBytes: number;
  readonly outBytes: number;
  /** Those of IPv4. */
  readonly allowed: readonly Subnet[];
}

export interface WireguardDevice {
  /** Undefined: it has no key. */
  readonly publicKey: Buffer | undefined;
  readonly listenPort: number;
  /** Of the datagrams that it sends; 0: none. */
  readonly mark: number;
  readonly peers: readonly WireguardPeer[];
}

/** The kernel's WireGuard, where it has one. Each throws NetlinkError. */
export interface Wireguard {
  /** Makes a link, which is down. EOPNOTSUPP: this kernel has no WireGuard; EEXIST: the name is taken. */
  create(name: string, mtu: number): Promise<void>;
  read(index: number): Promise<WireguardDevice>;
  /** EADDRINUSE: the port is another's. */
  change(index: number, change: WireguardChange): Promise<void>;
}

/** @param route for what is common to all links @param ofFamily opened when first needed */
export function createWireguard(route: Pick<Requests, 'change'>, ofFamily: () => Requests): Wireguard {
  // Asked for each time, which costs microseconds: a module that was loaded anew has another number.
  const family = () => familyOf(ofFamily(), FAMILY);
  return {
    create(name, mtu) {
      const attributes = [attribute(IFLA_IFNAME, text(name)), attribute(IFLA_MTU, uint32(mtu)), linkInfo(FAMILY, [])];
      const body = Buffer.concat([Buffer.alloc(IFINFOMSG_BYTES), ...attributes]);
      return route.change(`create ${name}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body);
    },
    async read(index) {
      const bodies: Buffer[] = [];
      const type = await family();
      try {
        await ofFamily().dump('look at a WireGuard link', type, encodeGet(index), ({ body }) => bodies.push(body));
        return decodeDevice(bodies);
      } catch (error) {
        wipe(bodies);
        throw error;
      }
    },
    async change(index, change) {
      const body = encodeChange(index, change);
      try {
        await ofFamily().change('change a WireGuard link', await family(), 0, body);
      } finally {
        body.fill(0);
      }
    },
  };
}

export const encodeGet = (index: number) => generic(GET_DEVICE, VERSION, attribute(DEVICE_IFINDEX, uint32(index)));

export function encodeChange(index: number, { privateKey, listenPort, mark, peers }: WireguardChange): Buffer {
  const attributes = [
    attribute(DEVICE_IFINDEX, uint32(index)),
    ...given(privateKey, (key) => attribute(DEVICE_PRIVATE_KEY, key)),
    ...given(listenPort, (port) => attribute(DEVICE_LISTEN_PORT, uint16(port))),
    ...given(mark, (value) => attribute(DEVICE_FWMARK, uint32(value))),
    ...given(peers, (list) => wiping(list.map(peerOf), (parts) => nest(DEVICE_PEERS, ...parts))),
  ];
  return wiping(attributes, (parts) => generic(SET_DEVICE, VERSION, ...parts));
}

/** There may be a key in the pieces: of what is made of them there is one copy. */
function wiping(pieces: readonly Buffer[], make: (pieces: readonly Buffer[]) => Buffer): Buffer {
  try {
    return make(pieces);
  } finally {
    wipe(pieces);
  }
}

function wipe(pieces: readonly Buffer[]): void {
  for (const bytes of pieces) bytes.fill(0);
}

function peerOf({ publicKey, presharedKey, endpoint, keepaliveSeconds, allowed, is }: WireguardPeerChange): Buffer {
  const attributes = [
    attribute(PEER_PUBLIC_KEY, publicKey),
    ...given(is, (what) => attribute(PEER_FLAGS, uint32(what === 'removed' ? REMOVE_ME : UPDATE_ONLY))),
    ...given(presharedKey, (key) => attribute(PEER_PRESHARED_KEY, key)),
    ...given(endpoint, (to) => attribute(PEER_ENDPOINT, sockaddrOf(to))),
    ...given(keepaliveSeconds, (seconds) => attribute(PEER_KEEPALIVE, uint16(seconds))),
    ...given(allowed, (subnets) => nest(PEER_ALLOWED_IPS, ...subnets.map(allowedOf))),
  ];
  return wiping(attributes, (parts) => nest(ITEM, ...parts));
}

const allowedOf = ({ address, prefixLength }: Subnet) =>
  nest(
    ITEM,
    attribute(ALLOWED_FAMILY, uint16(AF_INET)),
    attribute(ALLOWED_ADDRESS, ipv4ToBytes(address)),
    attribute(ALLOWED_PREFIX_LENGTH, Buffer.from([prefixLength])),
  );

function sockaddrOf({ address, port }: WireguardEndpoint): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_IN_BYTES);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(ipv4ToBytes(address), 4);
  return bytes;
}

const given = <T>(value: T | undefined, encode: (value: T) => Buffer): Buffer[] =>
  value === undefined ? [] : [encode(value)];

/**
 * What a list consists of: the device is in the first message, and its peers are in all of them. A peer with many subnets goes
 * on in the next message, which says nothing else of it. The private key is wiped.
 */
export function decodeDevice(bodies: readonly Buffer[]): WireguardDevice {
  let device: Omit<WireguardDevice, 'peers'> = { publicKey: undefined, listenPort: 0, mark: 0 };
  const peers: WireguardPeer[] = [];
  for (const body of bodies) {
    const attributes = attributesOf(body, GENL_HEADER_BYTES);
    attributes.get(DEVICE_PRIVATE_KEY)?.fill(0);
    const port = attributes.get(DEVICE_LISTEN_PORT);
    if (port !== undefined) {
      const publicKey = attributes.get(DEVICE_PUBLIC_KEY);
      device = { publicKey, listenPort: port.readUInt16LE(), mark: attributes.get(DEVICE_FWMARK)?.readUInt32LE() ?? 0 };
    }
    for (const [, item] of attributeList(attributes.get(DEVICE_PEERS) ?? Buffer.alloc(0))) {
      const peer = decodePeer(item);
      const last = peers.at(-1);
      if (last?.publicKey.equals(peer.publicKey)) {
        peers[peers.length - 1] = { ...last, allowed: [...last.allowed, ...peer.allowed] };
      } else peers.push(peer);
    }
  }
  return { ...device, peers };
}

function decodePeer(item: Buffer): WireguardPeer {
  const attributes = attributesOf(item, 0);
  return {
    publicKey: attributes.get(PEER_PUBLIC_KEY)!,
    presharedKey: attributes.get(PEER_PRESHARED_KEY) ?? Buffer.alloc(0),
    endpoint: endpointIn(attributes.get(PEER_ENDPOINT)),
    keepaliveSeconds: attributes.get(PEER_KEEPALIVE)?.readUInt16LE() ?? 0,
    handshakeAt: timeIn(attributes.get(PEER_LAST_HANDSHAKE)),
    inBytes: Number(attributes.get(PEER_RX_BYTES)?.readBigUInt64LE() ?? 0),
    outBytes: Number(attributes.get(PEER_TX_BYTES)?.readBigUInt64LE() ?? 0),
    allowed: attributeList(attributes.get(PEER_ALLOWED_IPS) ?? Buffer.alloc(0)).flatMap(([, subnet]) =>
      allowedIn(subnet),
    ),
  };
}

function endpointIn(sockaddr: Buffer | undefined): WireguardEndpoint | undefined {
  if (sockaddr === undefined || sockaddr.readUInt16LE(0) !== AF_INET) return undefined;
  return { address: ipv4FromBytes(sockaddr.subarray(4, 8)), port: sockaddr.readUInt16BE(2) };
}

/** struct __kernel_timespec: seconds, nanoseconds, of 64 bits each; zeros say never. */
function timeIn(timespec: Buffer | undefined): number | undefined {
  const ms =
    timespec === undefined
      ? 0
      : Number(timespec.readBigInt64LE(0)) * 1000 + Math.floor(Number(timespec.readBigInt64LE(8)) / 1e6);
  return ms === 0 ? undefined : ms;
}

function allowedIn(item: Buffer): Subnet[] {
  const attributes = attributesOf(item, 0);
  if (attributes.get(ALLOWED_FAMILY)?.readUInt16LE() !== AF_INET) return [];
  const address = ipv4FromBytes(attributes.get(ALLOWED_ADDRESS)!);
  return [{ address, prefixLength: attributes.get(ALLOWED_PREFIX_LENGTH)![0] }];
}
