import { type Ipv4, ipv4FromBytes, ipv4ToBytes } from '../../core/ipv4.js';
import { IFINFOMSG_BYTES } from './links.js';
import {
  AF_INET,
  attribute,
  attributesOf,
  type Mac,
  type Message,
  macFromBytes,
  macToBytes,
  uint32,
} from './messages.js';
import { NLM_F_CREATE, NLM_F_REPLACE, type Requests } from './requests.js';
import { RTN_UNICAST } from './route-entries.js';

/**
 * linux/neighbour.h: two tables behind one message. The neighbours (ARP) of a link say which hardware address an IPv4
 * address has; the forwarding database (FDB) of a VXLAN link says to which host frames for a hardware address go.
 */
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const AF_BRIDGE = 7;

/** struct ndmsg: family, padding (8 + 16 bits), link (32), state (16), flags, type (8 bits each). */
const NDMSG_BYTES = 12;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NUD_PERMANENT = 0x80;
/** The link's own database, and not that of a bridge it is a port of. */
const NTF_SELF = 2;

/** An entry of either table. */
export interface Neighbour {
  /** A neighbour's IPv4 address, or the host that frames go to. */
  readonly address: Ipv4;
  readonly mac: Mac;
}

/** Those of a link that stay for ever: others come and go by themselves. */
export async function listNeighbours(requests: Requests, index: number): Promise<Neighbour[]> {
  const header = Buffer.alloc(NDMSG_BYTES);
  header[0] = AF_INET;
  const body = Buffer.concat([header, attribute(NDA_IFINDEX, uint32(index))]);
  return list(requests, 'list neighbours', AF_INET, index, body);
}

/** Those of the link's own database that stay for ever. */
export async function listFdb(requests: Requests, index: number): Promise<Neighbour[]> {
  // With a struct ndmsg, and not a struct ifinfomsg, the kernel would list the entries of all links of the host.
  const body = Buffer.alloc(IFINFOMSG_BYTES);
  body[0] = AF_BRIDGE;
  body.writeInt32LE(index, 4);
  return list(requests, 'list FDB entries', AF_BRIDGE, index, body);
}

async function list(
  requests: Requests,
  what: string,
  family: number,
  index: number,
  body: Buffer,
): Promise<Neighbour[]> {
  const found: Neighbour[] = [];
  await requests.dump(what, RTM_GETNEIGH, body, ({ body: entry }) => {
    // Old kernels do not limit the list.
    if (entry[0] !== family || neighbourIndexOf(entry) !== index) return;
    if ((entry.readUInt16LE(8) & NUD_PERMANENT) === 0) return;
    if (family === AF_BRIDGE && (entry[10] & NTF_SELF) === 0) return;
    const attributes = attributesOf(entry, NDMSG_BYTES);
    const [address, mac] = [attributes.get(NDA_DST), attributes.get(NDA_LLADDR)];
    if (address?.length === 4 && mac !== undefined) {
      found.push({ address: ipv4FromBytes(address), mac: macFromBytes(mac) });
    }
  });
  return found;
}

/** Of which link a message's body is. */
export const neighbourIndexOf = (body: Message['body']) => body.readInt32LE(4);

const REPLACE = NLM_F_CREATE | NLM_F_REPLACE;

export const replaceNeighbour = (requests: Requests, index: number, entry: Neighbour) =>
  requests.change('set a neighbour', RTM_NEWNEIGH, REPLACE, bodyOf(AF_INET, index, entry));

export const deleteNeighbour = (requests: Requests, own: OwnDeletions, index: number, entry: Neighbour) =>
  erase(requests, own, 'delete a neighbour', bodyOf(AF_INET, index, entry));

export const replaceFdb = (requests: Requests, index: number, entry: Neighbour) =>
  requests.change('set an FDB entry', RTM_NEWNEIGH, REPLACE, bodyOf(AF_BRIDGE, index, entry));

export const deleteFdb = (requests: Requests, own: OwnDeletions, index: number, entry: Neighbour) =>
  erase(requests, own, 'delete an FDB entry', bodyOf(AF_BRIDGE, index, entry));

async function erase(requests: Requests, own: OwnDeletions, what: string, body: Buffer): Promise<void> {
  own.add(body);
  try {
    await requests.change(what, RTM_DELNEIGH, 0, body);
  } catch (error) {
    own.take(body);
    throw error;
  } finally {
    own.answered();
  }
}

/** Of a deletion the kernel tells all that listen, and says for no neighbour and no FDB entry who has asked for it. */
export interface OwnDeletions {
  /** It is about to be asked for. */
  add(body: Buffer): void;
  /** That of add() is over: it has been told by now, or never will be. */
  answered(): void;
  /** Whether it is one of those; once for each. */
  take(body: Buffer): boolean;
  /** Whoever listens has heard all that there was. */
  heardAll(): void;
  /** From now on somebody listens, who takes what is added. What was lost is forgotten. */
  begin(): void;
}

export function createOwnDeletions(): OwnDeletions {
  /** How often each: a peer may go, come back and go between two looks. */
  const places = new Map<string, number>();
  let isHeard = false;
  let underWay = 0;
  return {
    add(body) {
      underWay++;
      if (!isHeard) return;
      const place = placeOf(body);
      places.set(place, (places.get(place) ?? 0) + 1);
    },
    answered() {
      underWay--;
    },
    take(body) {
      if (places.size === 0) return false;
      const place = placeOf(body);
      const times = places.get(place) ?? 0;
      if (times > 1) places.set(place, times - 1);
      else places.delete(place);
      return times > 0;
    },
    heardAll() {
      // Of a neighbour that anybody looks up at that moment the kernel tells no deletion: the next one is somebody else's.
      if (underWay === 0) places.clear();
    },
    begin() {
      isHeard = true;
      places.clear();
    },
  };
}

/** What there is one entry of: an address of a link, or a hardware address. */
function placeOf(body: Buffer): string {
  const family = body[0];
  const name = attributesOf(body, NDMSG_BYTES).get(family === AF_BRIDGE ? NDA_LLADDR : NDA_DST);
  return `${family} ${neighbourIndexOf(body)} ${name?.toString('hex')}`;
}

function bodyOf(family: number, index: number, { address, mac }: Neighbour): Buffer {
  const header = Buffer.alloc(NDMSG_BYTES);
  header[0] = family;
  header.writeInt32LE(index, 4);
  header.writeUInt16LE(NUD_PERMANENT, 8);
  header[10] = family === AF_BRIDGE ? NTF_SELF : 0;
  header[11] = family === AF_BRIDGE ? 0 : RTN_UNICAST;
  return Buffer.concat([header, attribute(NDA_DST, ipv4ToBytes(address)), attribute(NDA_LLADDR, macToBytes(mac))]);
}
