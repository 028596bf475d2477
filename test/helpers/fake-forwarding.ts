import type { Ipv4 } from '../../src/core/ipv4.js';
import { contains } from '../../src/core/subnet.js';
import {
  type Forwarding,
  MAIN_TABLE,
  type MarkRule,
  type Neighbour,
  NetlinkError,
  type RouteEntry,
} from '../../src/system/netlink.js';

const ip = (a: number, b: number, c: number, d: number): Ipv4 => (a << 24) | (b << 16) | (c << 8) | d;

export const ETH0 = 2;
export const VXLAN = 5;
const OWN_ADDRESS = ip(10, 1, 1, 1);
const LINK = { address: ip(10, 1, 1, 0), prefixLength: 24 };

/** The kernel's tables in memory, on a host with eth0 (10.1.1.1/24, a default route) and a VXLAN device. */
export function createFakeForwarding(): Forwarding {
  const neighbours = new Map<Ipv4, Neighbour>();
  const fdb = new Map<string, Neighbour>();
  const routes = new Map<string, RouteEntry>();
  let rules: MarkRule[] = [];
  const placeOf = ({ destination, metric, table }: RouteEntry) =>
    `${destination.address}/${destination.prefixLength} ${metric} ${table}`;
  const sameAs = (rule: MarkRule) => (other: MarkRule) => JSON.stringify(other) === JSON.stringify(rule);
  const fail = (code: string) => {
    throw new NetlinkError(`netlink: Request rejected: ${code}`, code);
  };
  const unexpected = async () => fail('EOPNOTSUPP');

  return {
    details: unexpected,
    createVxlan: unexpected,
    changeVxlan: unexpected,
    setUp: unexpected,
    setMtu: unexpected,
    setMac: unexpected,
    addAddress: unexpected,
    deleteAddress: unexpected,
    neighbours: async () => [...neighbours.values()],
    async replaceNeighbour(_index, { address, mac }) {
      neighbours.set(address, { address, mac });
    },
    async deleteNeighbour(_index, { address }) {
      if (!neighbours.delete(address)) fail('ENOENT');
    },
    fdb: async () => [...fdb.values()],
    async replaceFdb(_index, { address, mac }) {
      fdb.set(mac, { address, mac });
    },
    async deleteFdb(_index, { address, mac }) {
      if (fdb.get(mac)?.address !== address) fail('ENOENT');
      fdb.delete(mac);
    },
    routeEntries: async ({ network, index, protocol, tables }) =>
      [...routes.values()].filter(
        (route) =>
          (route.protocol === protocol && tables.includes(route.table)) ||
          (route.table === MAIN_TABLE &&
            ((index !== undefined && route.index === index) ||
              (network !== undefined && contains(network, route.destination.address)))),
      ),
    rules: async (protocol) => rules.filter((rule) => rule.protocol === protocol),
    async addRule({ mark, table, priority, protocol }) {
      const rule = { mark, table, priority, protocol };
      if (rules.some(sameAs(rule))) fail('EEXIST');
      rules.push(rule);
    },
    async deleteRule({ mark, table, priority, protocol }) {
      const there = rules.find(sameAs({ mark, table, priority, protocol })) ?? fail('ENOENT');
      rules = rules.filter((rule) => rule !== there);
    },
    async replaceRoute(route) {
      const { destination, index, gateway, isOnLink, metric, table, source, mtu, protocol, type } = route;
      if (gateway !== undefined && !isOnLink && !contains(LINK, gateway)) fail('ENETUNREACH');
      routes.set(placeOf(route), { destination, index, gateway, isOnLink, metric, table, source, mtu, protocol, type });
    },
    async deleteRouteEntry(route) {
      const there = routes.get(placeOf(route));
      if (there?.gateway !== route.gateway || there?.index !== route.index) fail('ESRCH');
      routes.delete(placeOf(route));
    },
    hopTowards: async (address) => ({
      index: address === OWN_ADDRESS ? 1 : ETH0,
      isRouted: !contains(LINK, address),
      isLocal: address === OWN_ADDRESS,
    }),
  };
}
