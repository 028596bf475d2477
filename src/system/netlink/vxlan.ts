import { type Ipv4, ipv4FromBytes, ipv4ToBytes } from '../../core/ipv4.js';
import {
  IFF_UP,
  IFINFOMSG_BYTES,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_LINKINFO,
  IFLA_MTU,
  type LinkInfo,
  linkInfo,
  linkOf,
  lookUpLink,
  RTM_NEWLINK,
} from './links.js';
import { attribute, attributesOf, type Mac, macFromBytes, macToBytes, text, uint32 } from './messages.js';
import { NLM_F_CREATE, NLM_F_EXCL, type Requests } from './requests.js';

/** linux/if_link.h: links of kind vxlan, and what else of a link is changed one by one. */
export interface VxlanSettings {
  /** The VNI. */
  readonly id: number;
  /** Index of the link that carries the datagrams; 0: the routing decides. */
  readonly link: number;
  /** Address that they are sent from; undefined: the routing decides. */
  readonly local: Ipv4 | undefined;
  readonly port: number;
  /** Whether it learns from frames that come in which host has which hardware address. */
  readonly learning: boolean;
  /** Group Based Policy: a mark of each packet in the VXLAN header. */
  readonly gbp: boolean;
}

export interface DetailedLink extends LinkInfo {
  readonly mac: Mac;
  /** Of a link of kind vxlan. */
  readonly vxlan?: VxlanSettings & {
    /** It has a default destination, or takes the VNI of each packet from outside: no device as ours. */
    readonly isOfAnotherSort: boolean;
  };
}

const IFLA_ADDRESS = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
/** The one number here that is big-endian. */
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GROUP6 = 16;
/** A flag: it is there or not, and has no value. */
const IFLA_VXLAN_GBP = 23;
const IFLA_VXLAN_COLLECT_METADATA = 25;

/** One link by its name or index, with what a list of links leaves out. @throws NetlinkError */
export async function askDetails(requests: Requests, who: string | number): Promise<DetailedLink | undefined> {
  const message = await lookUpLink(requests, who);
  if (message === undefined) return undefined;
  const link = linkOf(message);
  const attributes = attributesOf(message.body, IFINFOMSG_BYTES);
  const mac = macFromBytes(attributes.get(IFLA_ADDRESS) ?? Buffer.alloc(0));
  if (link.kind !== 'vxlan') return { ...link, mac };
  const info = attributesOf(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0), 0);
  return { ...link, mac, vxlan: settingsOf(attributesOf(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0), 0)) };
}

function settingsOf(data: Map<number, Buffer>): DetailedLink['vxlan'] {
  const local = data.get(IFLA_VXLAN_LOCAL);
  const metadata = data.get(IFLA_VXLAN_COLLECT_METADATA);
  return {
    id: data.get(IFLA_VXLAN_ID)?.readUInt32LE() ?? 0,
    link: data.get(IFLA_VXLAN_LINK)?.readUInt32LE() ?? 0,
    local: local === undefined ? undefined : ipv4FromBytes(local),
    port: data.get(IFLA_VXLAN_PORT)?.readUInt16BE() ?? 0,
    learning: data.get(IFLA_VXLAN_LEARNING)?.[0] === 1,
    gbp: data.has(IFLA_VXLAN_GBP),
    isOfAnotherSort: data.has(IFLA_VXLAN_GROUP) || data.has(IFLA_VXLAN_GROUP6) || metadata?.[0] === 1,
  };
}

/** Makes a link, which is down. @throws NetlinkError such as EEXIST: the name, or the VNI on this port, is taken */
export function createVxlan(
  requests: Requests,
  { name, mac, mtu, ...settings }: VxlanSettings & { readonly name: string; readonly mac: Mac; readonly mtu: number },
): Promise<void> {
  const port = Buffer.alloc(2);
  port.writeUInt16BE(settings.port);
  const data = [
    ...changeable(settings),
    attribute(IFLA_VXLAN_PORT, port),
    ...(settings.gbp ? [attribute(IFLA_VXLAN_GBP, Buffer.alloc(0))] : []),
  ];
  const body = Buffer.concat([
    Buffer.alloc(IFINFOMSG_BYTES),
    attribute(IFLA_IFNAME, text(name)),
    attribute(IFLA_ADDRESS, macToBytes(mac)),
    attribute(IFLA_MTU, uint32(mtu)),
    linkInfo('vxlan', data),
  ]);
  return requests.change(`create ${name}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body);
}

/** Changes one in place; its entries and traffic stay. The port cannot be changed, nor be in the message. */
export const changeVxlan = (requests: Requests, index: number, settings: Omit<VxlanSettings, 'port' | 'gbp'>) =>
  requests.change(
    'change a VXLAN link',
    RTM_NEWLINK,
    0,
    Buffer.concat([header(index), linkInfo('vxlan', changeable(settings))]),
  );

function changeable({ id, link, local, learning }: Omit<VxlanSettings, 'port' | 'gbp'>): Buffer[] {
  return [
    attribute(IFLA_VXLAN_ID, uint32(id)),
    attribute(IFLA_VXLAN_LINK, uint32(link)),
    ...(local === undefined ? [] : [attribute(IFLA_VXLAN_LOCAL, ipv4ToBytes(local))]),
    attribute(IFLA_VXLAN_LEARNING, Buffer.from([learning ? 1 : 0])),
  ];
}

export const setUp = (requests: Requests, index: number) =>
  requests.change('set a link up', RTM_NEWLINK, 0, header(index, IFF_UP));

export const setMtu = (requests: Requests, index: number, mtu: number) =>
  requests.change('set an MTU', RTM_NEWLINK, 0, Buffer.concat([header(index), attribute(IFLA_MTU, uint32(mtu))]));

/** The kernel forgets the link's neighbours with it, even if it is the same one. */
export const setMac = (requests: Requests, index: number, mac: Mac) =>
  requests.change(
    'set a hardware address',
    RTM_NEWLINK,
    0,
    Buffer.concat([header(index), attribute(IFLA_ADDRESS, macToBytes(mac))]),
  );

/** struct ifinfomsg. @param flags to be set; no other is changed */
function header(index: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(IFINFOMSG_BYTES);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(flags, 12);
  return bytes;
}
