import { createNetlink, Flags, getMap, type NetlinkSocket, Protocol } from 'netlink';
import { type Ipv4, ipv4ToBytes } from '../../core/ipv4.js';
import { attribute, nest } from './messages.js';

/** linux/netfilter/nfnetlink.h: a message's type is its subsystem and number; its own header of 4 bytes begins with the family. */
const NFGENMSG_BYTES = 4;
const AF_INET = 2;

/** linux/netfilter/nf_tables.h: the request has no attributes, the answer this one. */
const NFT_MSG_GETGEN = (10 << 8) | 16;
const NFTA_GEN_ID = 1;

/** linux/netfilter/nfnetlink_conntrack.h. A tuple is one direction of an entry. */
const CT_DELETE = (1 << 8) | 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_IP = 1;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const IPPROTO_UDP = 17;

/** The addresses and ports of a UDP datagram. */
export interface Datagram {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
}

const REQUEST = { timeout: 2000 };
const BUFFERS = { recvBufferSize: 1 << 18, sendBufferSize: 1 << 16 };

/** Opened when first needed: a host without netfilter shall not load it for us. */
export function openNetfilter() {
  let opened: NetlinkSocket | undefined;
  const socket = () => (opened ??= createNetlink(Protocol.NETFILTER, BUFFERS).on('error', () => undefined));
  return {
    async rulesGeneration(): Promise<number> {
      const body = Buffer.alloc(NFGENMSG_BYTES);
      const [messages] = await socket().request(NFT_MSG_GETGEN, body, { ...REQUEST, flags: Flags.REQUEST });
      const attributes = getMap(messages[0].data.subarray(NFGENMSG_BYTES), (value) => value);
      return attributes.get(NFTA_GEN_ID)!.readUInt32BE();
    },
    async deleteConntrack(datagram: Datagram): Promise<void> {
      const header = Buffer.from([AF_INET, 0, 0, 0]);
      await socket().request(CT_DELETE, Buffer.concat([header, tupleOf(datagram)]), REQUEST);
    },
    close: () => opened?.close(),
  };
}

/** The kernel finds an entry by either of its directions, so one attribute serves for both. */
function tupleOf({ source, sourcePort, destination, destinationPort }: Datagram): Buffer {
  return nest(
    CTA_TUPLE_ORIG,
    nest(
      CTA_TUPLE_IP,
      attribute(CTA_IP_V4_SRC, ipv4ToBytes(source)),
      attribute(CTA_IP_V4_DST, ipv4ToBytes(destination)),
    ),
    nest(
      CTA_TUPLE_PROTO,
      attribute(CTA_PROTO_NUM, Buffer.from([IPPROTO_UDP])),
      attribute(CTA_PROTO_SRC_PORT, Buffer.from([sourcePort >> 8, sourcePort & 255])),
      attribute(CTA_PROTO_DST_PORT, Buffer.from([destinationPort >> 8, destinationPort & 255])),
    ),
  );
}
