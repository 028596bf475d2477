import type { Ipv4 } from '../../src/core/ipv4.js';
import { formatSubnet, type Subnet } from '../../src/core/subnet.js';
import { type LinkInfo, type Netlink, NetlinkError, type Wireguard } from '../../src/system/netlink.js';
import { createFakeForwarding, ETH0 } from './fake-forwarding.js';

export interface FakePeer {
  presharedKey: Buffer;
  endpoint: { address: Ipv4; port: number } | undefined;
  keepaliveSeconds: number;
  handshakeAt: number | undefined;
  inBytes: number;
  outBytes: number;
}

interface FakeDevice {
  privateKey: Buffer | undefined;
  publicKey: Buffer | undefined;
  listenPort: number;
  mark: number;
  /** By key in base64. */
  readonly peers: Map<string, FakePeer>;
  /** Keys by subnet, such as `10.240.7.0/24`. */
  readonly allowed: Map<string, string>;
}

type Link = { -readonly [Key in keyof LinkInfo]: LinkInfo[Key] };

const link = (index: number, name: string, kind: string, mtu: number): Link => ({
  ...{ index, name, kind, mtu, up: kind === '', isPort: false, alias: '', carrier: true },
});

/**
 * A host with eth0 whose kernel has WireGuard, in memory.
 * @param publicOf the public half of a private key
 */
export function createFakeWireguard(publicOf: (privateKey: Buffer) => Buffer) {
  const links: Link[] = [link(ETH0, 'eth0', '', 1500)];
  const devices = new Map<number, FakeDevice>();
  const addresses: { index: number; address: Ipv4; prefixLength: number; scope: number }[] = [];
  let lastIndex = 10;
  /** What the kernel refuses, and how. */
  const refuses: { create?: string; up?: string } = {};
  const fail = (code: string): never => {
    throw new NetlinkError(`netlink: Request rejected: ${code}`, code);
  };
  const find = (index: number) => links.find((candidate) => candidate.index === index) ?? fail('ENODEV');
  const deviceAt = (index: number) => devices.get(index) ?? fail('ENODEV');

  const wireguard: Wireguard = {
    async create(name, mtu) {
      if (refuses.create !== undefined) fail(refuses.create);
      if (links.some((candidate) => candidate.name === name)) fail('EEXIST');
      links.push(link(++lastIndex, name, 'wireguard', mtu));
      const nothing = { privateKey: undefined, publicKey: undefined, listenPort: 0, mark: 0 };
      devices.set(lastIndex, { ...nothing, peers: new Map(), allowed: new Map() });
    },
    async read(index) {
      const { publicKey, listenPort, mark, peers, allowed } = deviceAt(index);
      return {
        publicKey: publicKey && Buffer.from(publicKey),
        listenPort,
        mark,
        peers: [...peers].map(([key, peer]) => ({
          ...peer,
          publicKey: Buffer.from(key, 'base64'),
          presharedKey: Buffer.from(peer.presharedKey),
          allowed: [...allowed].flatMap(([subnet, owner]) => (owner === key ? [subnetOf(subnet)] : [])),
        })),
      };
    },
    async change(index, { privateKey, listenPort, mark, peers = [] }) {
      const device = deviceAt(index);
      if (privateKey !== undefined) {
        device.privateKey = Buffer.from(privateKey);
        device.publicKey = publicOf(privateKey);
        for (const peer of device.peers.values()) peer.handshakeAt = undefined;
      }
      device.listenPort = listenPort ?? device.listenPort;
      device.mark = mark ?? device.mark;
      for (const { publicKey, is, presharedKey, endpoint, keepaliveSeconds, allowed = [] } of peers) {
        const key = publicKey.toString('base64');
        if (is === 'removed') {
          device.peers.delete(key);
          for (const [subnet, owner] of device.allowed) if (owner === key) device.allowed.delete(subnet);
          continue;
        }
        const before = device.peers.get(key);
        if (before === undefined && is === 'only if there') continue;
        const peer = before ?? { ...NEW_PEER };
        device.peers.set(key, peer);
        if (presharedKey !== undefined) peer.presharedKey = Buffer.from(presharedKey);
        if (endpoint !== undefined) peer.endpoint = endpoint;
        if (keepaliveSeconds !== undefined) peer.keepaliveSeconds = keepaliveSeconds;
        for (const subnet of allowed) device.allowed.set(formatSubnet(subnet), key);
      }
    },
  };

  const netlink: Partial<Netlink> = {
    ...createFakeForwarding(),
    wireguard,
    links: async () => links.map((one) => ({ ...one })),
    link: async (who) => {
      const found = links.find(({ index, name }) => index === who || name === who);
      return found && { ...found };
    },
    deleteLink: async (index) => {
      links.splice(links.indexOf(find(index)), 1);
      devices.delete(index);
    },
    setAlias: async (index, alias) => void Object.assign(find(index), { alias }),
    setMtu: async (index, mtu) => void Object.assign(find(index), { mtu }),
    setUp: async (index) => {
      if (refuses.up !== undefined) fail(refuses.up);
      find(index).up = true;
    },
    noLinkLocalAddress: async () => undefined,
    hasIpv6Address: async () => false,
    removeIpv6Addresses: async () => undefined,
    addresses: async () => [...addresses],
    addAddress: async (entry) => void addresses.push({ ...entry, scope: 0 }),
    deleteAddress: async ({ index, address }) => {
      const at = addresses.findIndex((entry) => entry.index === index && entry.address === address);
      addresses.splice(at, 1);
    },
  };

  return {
    netlink: netlink as Netlink,
    links,
    addresses,
    refuses,
    /** The one that is called so; undefined: there is none. */
    device: (name: string) => devices.get(links.find((one) => one.name === name)?.index ?? -1),
  };
}

const NEW_PEER: FakePeer = {
  presharedKey: Buffer.alloc(32),
  endpoint: undefined,
  keepaliveSeconds: 0,
  handshakeAt: undefined,
  inBytes: 0,
  outBytes: 0,
};

function subnetOf(text: string): Subnet {
  const [address, length] = text.split('/');
  const bytes = address.split('.').map(Number);
  return { address: Buffer.from(bytes).readInt32BE(), prefixLength: Number(length) };
}
