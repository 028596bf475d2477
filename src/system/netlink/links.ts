import { type Ipv4, ipv4FromBytes, ipv4ToBytes } from '../../core/ipv4.js';
import { AF_INET, attribute, attributesOf, type Message, text } from './messages.js';
import { NLM_F_CREATE, NLM_F_REPLACE, type Requests } from './requests.js';

/** linux/rtnetlink.h: links and addresses, as lists and as notifications. */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Whether it is a port of a bridge, as the links of containers are. */
  readonly isPort: boolean;
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

export const AF_INET6 = 10;

/** struct ifinfomsg: family, padding, device type (16 bits), index, flags, change mask. */
export const IFINFOMSG_BYTES = 16;
export const IFF_UP = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_CARRIER = 33;
/** What a list of thousands of links mostly consists of, unless it is left out. */
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 8;

/** struct ifaddrmsg: family, prefix length, flags, scope (8 bits each), index. */
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;

/** linux/if_link.h and linux/if_tun.h, below IFLA_LINKINFO. For the kernel, TUN and TAP are of one kind. */
const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
const IFLA_TUN_TYPE = 3;
const IFF_TAP = 2;

export async function listLinks(requests: Requests): Promise<LinkInfo[]> {
  const mask = Buffer.alloc(4);
  mask.writeUInt32LE(RTEXT_FILTER_SKIP_STATS);
  const body = Buffer.concat([Buffer.alloc(IFINFOMSG_BYTES), attribute(IFLA_EXT_MASK, mask)]);
  const links: LinkInfo[] = [];
  await requests.dump('list links', RTM_GETLINK, body, (message) => links.push(linkOf(message)));
  return links;
}

/** One link, by its name or index; undefined if there is none. @throws NetlinkError */
export async function askLink(requests: Requests, who: string | number): Promise<LinkInfo | undefined> {
  const message = await lookUpLink(requests, who);
  return message && linkOf(message);
}

/** What the kernel says of one link, for who wants to know more of it. */
export async function lookUpLink(requests: Requests, who: string | number): Promise<Message | undefined> {
  const header = Buffer.alloc(IFINFOMSG_BYTES);
  if (typeof who === 'number') header.writeInt32LE(who, 4);
  const name = typeof who === 'string' ? [attribute(IFLA_IFNAME, Buffer.from(`${who}\0`))] : [];
  try {
    return await requests.ask('look up a link', RTM_GETLINK, Buffer.concat([header, ...name]));
  } catch (error) {
    if ((error as { code: string }).code === 'ENODEV') return undefined;
    throw error;
  }
}

/** What a message about a link, a list's or a notification's, says. */
export function linkOf({ body }: Message): LinkInfo {
  const attributes = attributesOf(body, IFINFOMSG_BYTES);
  return {
    index: body.readInt32LE(4),
    name: textOf(attributes.get(IFLA_IFNAME)),
    mtu: attributes.get(IFLA_MTU)?.readUInt32LE() ?? 0,
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    isPort: attributes.has(IFLA_MASTER),
    kind: kindOf(attributes.get(IFLA_LINKINFO)),
    alias: textOf(attributes.get(IFLA_IFALIAS)),
    carrier: attributes.get(IFLA_CARRIER)?.[0] === 1,
  };
}

/** Up to the first zero. */
const textOf = (value: Buffer | undefined) => value?.toString('utf8').replace(/\0.*$/s, '') ?? '';

function kindOf(linkInfo: Buffer | undefined): string {
  if (linkInfo === undefined) return '';
  const info = attributesOf(linkInfo, 0);
  const kind = textOf(info.get(IFLA_INFO_KIND));
  if (kind !== 'tun') return kind;
  const type = attributesOf(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0), 0).get(IFLA_TUN_TYPE);
  return type?.[0] === IFF_TAP ? 'tap' : kind;
}

/** Of a link that is made or changed: its kind, and what that kind has of settings. */
export function linkInfo(kind: string, data: readonly Buffer[]): Buffer {
  const info = [attribute(IFLA_INFO_KIND, text(kind)), attribute(IFLA_INFO_DATA, Buffer.concat(data))];
  return attribute(IFLA_LINKINFO, Buffer.concat(info));
}

export interface Ipv6Address {
  readonly bytes: Buffer;
  readonly prefixLength: number;
}

/** IPv6 addresses of one interface. */
export async function listIpv6Addresses(requests: Requests, index: number): Promise<Ipv6Address[]> {
  const body = Buffer.alloc(IFADDRMSG_BYTES);
  body[0] = AF_INET6;
  const addresses: Ipv6Address[] = [];
  await requests.dump('list IPv6 addresses', RTM_GETADDR, body, (message) => {
    const bytes = attributesOf(message.body, IFADDRMSG_BYTES).get(IFA_ADDRESS);
    // A kernel without IPv6 answers with others.
    if (bytes === undefined || message.body[0] !== AF_INET6 || message.body.readInt32LE(4) !== index) return;
    addresses.push({ bytes: Buffer.from(bytes), prefixLength: message.body[1] });
  });
  return addresses;
}

export async function listAddresses(requests: Requests): Promise<AddressInfo[]> {
  const body = Buffer.alloc(IFADDRMSG_BYTES);
  body[0] = AF_INET;
  const addresses: AddressInfo[] = [];
  await requests.dump('list addresses', RTM_GETADDR, body, (message) => {
    const attributes = attributesOf(message.body, IFADDRMSG_BYTES);
    const local = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    if (local === undefined || message.body[0] !== AF_INET) return;
    addresses.push({
      index: message.body.readInt32LE(4),
      address: ipv4FromBytes(local),
      prefixLength: message.body[1],
      scope: message.body[3],
    });
  });
  return addresses;
}

/** Puts an address beside those that the interface has; one that it has stays. */
export const addAddress = (requests: Requests, entry: Omit<AddressInfo, 'scope'>) =>
  requests.change('add an address', RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, addressBody(entry));

export const deleteAddress = (requests: Requests, entry: Omit<AddressInfo, 'scope'>) =>
  requests.change('delete an address', RTM_DELADDR, 0, addressBody(entry));

function addressBody({ index, address, prefixLength }: Omit<AddressInfo, 'scope'>): Buffer {
  const header = Buffer.alloc(IFADDRMSG_BYTES);
  header[0] = AF_INET;
  header[1] = prefixLength;
  header.writeInt32LE(index, 4);
  const bytes = ipv4ToBytes(address);
  return Buffer.concat([header, attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)]);
}
