import type { Ipv4 } from '../../core/ipv4.js';
import { type AddressInfo, addAddress, deleteAddress } from './links.js';
import type { Mac } from './messages.js';
import * as neighbours from './neighbours.js';
import type { Requests } from './requests.js';
import {
  deleteRouteEntry,
  listRouteEntries,
  type RouteEntry,
  type RouteFilter,
  replaceRoute,
} from './route-entries.js';
import { type Hop, lookUpHop } from './routes.js';
import { addRule, deleteRule, listRules, type MarkRule } from './rules.js';
import * as links from './vxlan.js';

/** What it takes to have the kernel forward packets by itself: a VXLAN link, its tables, and routes. Each throws NetlinkError. */
export interface Forwarding {
  details(who: string | number): Promise<links.DetailedLink | undefined>;
  createVxlan(
    settings: links.VxlanSettings & { readonly name: string; readonly mac: Mac; readonly mtu: number },
  ): Promise<void>;
  /** In place: its entries and traffic stay. */
  changeVxlan(index: number, settings: Omit<links.VxlanSettings, 'port' | 'gbp'>): Promise<void>;
  setUp(index: number): Promise<void>;
  setMtu(index: number, mtu: number): Promise<void>;
  /** The kernel forgets the link's neighbours with it, even if it is the same one. */
  setMac(index: number, mac: Mac): Promise<void>;
  addAddress(entry: Omit<AddressInfo, 'scope'>): Promise<void>;
  deleteAddress(entry: Omit<AddressInfo, 'scope'>): Promise<void>;
  /** Of the neighbours and FDB entries of a link those that stay for ever. */
  neighbours(index: number): Promise<neighbours.Neighbour[]>;
  replaceNeighbour(index: number, entry: neighbours.Neighbour): Promise<void>;
  deleteNeighbour(index: number, entry: neighbours.Neighbour): Promise<void>;
  fdb(index: number): Promise<neighbours.Neighbour[]>;
  replaceFdb(index: number, entry: neighbours.Neighbour): Promise<void>;
  deleteFdb(index: number, entry: neighbours.Neighbour): Promise<void>;
  routeEntries(filter: RouteFilter): Promise<RouteEntry[]>;
  /** In the place of the first one there is in its table with this destination and metric, whoever made it. */
  replaceRoute(route: RouteEntry): Promise<void>;
  /** This one and no other with the same destination. */
  deleteRouteEntry(route: RouteEntry): Promise<void>;
  /** Rules of policy routing, of that protocol. */
  rules(protocol: number): Promise<MarkRule[]>;
  addRule(rule: MarkRule): Promise<void>;
  deleteRule(rule: MarkRule): Promise<void>;
  /** The next step of packets to an address; undefined: there is no way there. */
  hopTowards(address: Ipv4): Promise<Hop | undefined>;
}

export function createForwarding(requests: Requests, own: neighbours.OwnDeletions): Forwarding {
  return {
    details: (who) => links.askDetails(requests, who),
    createVxlan: (settings) => links.createVxlan(requests, settings),
    changeVxlan: (index, settings) => links.changeVxlan(requests, index, settings),
    setUp: (index) => links.setUp(requests, index),
    setMtu: (index, mtu) => links.setMtu(requests, index, mtu),
    setMac: (index, mac) => links.setMac(requests, index, mac),
    addAddress: (entry) => addAddress(requests, entry),
    deleteAddress: (entry) => deleteAddress(requests, entry),
    neighbours: (index) => neighbours.listNeighbours(requests, index),
    replaceNeighbour: (index, entry) => neighbours.replaceNeighbour(requests, index, entry),
    deleteNeighbour: (index, entry) => neighbours.deleteNeighbour(requests, own, index, entry),
    fdb: (index) => neighbours.listFdb(requests, index),
    replaceFdb: (index, entry) => neighbours.replaceFdb(requests, index, entry),
    deleteFdb: (index, entry) => neighbours.deleteFdb(requests, own, index, entry),
    routeEntries: (filter) => listRouteEntries(requests, filter),
    replaceRoute: (route) => replaceRoute(requests, route),
    deleteRouteEntry: (route) => deleteRouteEntry(requests, route),
    rules: (protocol) => listRules(requests, protocol),
    addRule: (rule) => addRule(requests, rule),
    deleteRule: (rule) => deleteRule(requests, rule),
    hopTowards: (address) => lookUpHop(requests, address),
  };
}
