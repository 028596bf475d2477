import { NO_ADDRESS } from '../../core/ipv4.js';
import { isPortMapped } from '../../core/lease.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { type Subnet, subnetAt, subnetOf } from '../../core/subnet.js';
import type { PeerTraffic } from '../backend.js';
import { nowMs } from './tables/clock.js';
import { createMemberSet, createMembers, type Members } from './tables/members.js';
import { type Allocate, sharedInts } from './tables/memory.js';
import { createPeerCounters, readPeer } from './tables/peer-counters.js';
import { createPeerSet, createPeers, NO_PEER, type Peers } from './tables/peers.js';
import { createRouteTable, entriesOf, type RouteTable, setEntry } from './tables/routes.js';

type TableConfig = Pick<NetworkConfig, 'network' | 'subnetLength'>;

/** What the packet path knows of the peers, and the control side's hand on it. */
export interface PeerTables {
  readonly routes: RouteTable;
  readonly peers: Peers;
  readonly members: Members;
  /** Members behind a NAT that changes the ports of their datagrams. */
  readonly portMapped: Members;
  readonly counters: Int32Array;
  apply(changes: readonly LeaseChange[]): void;
  traffic(subnet: Subnet): PeerTraffic;
}

/** Which peer a lease leads to. */
export interface PeerNumbers {
  /** NO_PEER: none. */
  numberOf(change: LeaseChange): number;
  /** The routes say so now. @param before what they have said of that subnet */
  settle(change: LeaseChange, before: number): void;
}

/** Has the routes follow what changes of peers. */
export function createPeerRoutes(config: TableConfig, routes: RouteTable, numbers: PeerNumbers) {
  const leases = createLeaseTable(config);
  return function apply(changes: readonly LeaseChange[]): void {
    for (const change of changes) {
      const { subnet } = change.lease;
      const before = leases.set(subnet, numbers.numberOf(change));
      const { first, count } = entriesOf(routes, subnet);
      for (let number = first; number < first + count; number++) setEntry(routes, number, leases.peerOf(number));
      numbers.settle(change, before);
    }
  };
}

/** @param port of every node */
export function createPeerTables(config: TableConfig, port: number, allocate: Allocate = sharedInts): PeerTables {
  const routes = createRouteTable(config, allocate);
  // Twice as many leases as there are subnets of our length, if there are some of every length.
  const peers = createPeers(2 * routes.nextHops.length, allocate);
  const members = createMembers(routes.nextHops.length, allocate);
  const portMapped = createMembers(routes.nextHops.length, allocate);
  const peerSet = createPeerSet(peers);
  const memberSet = createMemberSet(members);
  const portMappedSet = createMemberSet(portMapped);
  const counters = createPeerCounters(routes, allocate);
  const numbers: PeerNumbers = {
    numberOf({ type, lease }) {
      const address = type === 'removed' ? NO_ADDRESS : lease.publicIp;
      // What a peer may send is known before anybody sends to it.
      memberSet.hold(keyOf(lease.subnet), address);
      portMappedSet.hold(keyOf(lease.subnet), isPortMapped(lease) ? address : NO_ADDRESS);
      return address === NO_ADDRESS ? NO_PEER : peerSet.take(address, port);
    },
    // No route names it any more.
    settle: (_, before) => peerSet.release(before),
  };
  return {
    routes,
    peers,
    members,
    portMapped,
    counters,
    apply: createPeerRoutes(config, routes, numbers),
    traffic: (subnet) => readPeer(counters, entriesOf(routes, subnet), nowMs()),
  };
}

const keyOf = ({ address, prefixLength }: Subnet) => address * 64 + prefixLength;

/** Peer numbers by subnet. A node with another SubnetLen has one of several entries, and others may lie inside it. */
function createLeaseTable({ network, subnetLength }: TableConfig) {
  const peers = new Map<number, number>();
  /** How many subnets there are of each prefix length: of one alone, as a rule. */
  const counts = new Map<number, number>();
  /** Longest first: the most specific one counts. */
  let lengths: number[] = [];

  return {
    /** Returns the one before. */
    set(subnet: Subnet, peer: number): number {
      const { size } = peers;
      const before = peers.get(keyOf(subnet)) ?? NO_PEER;
      if (peer === NO_PEER) peers.delete(keyOf(subnet));
      else peers.set(keyOf(subnet), peer);
      const { prefixLength } = subnet;
      counts.set(prefixLength, (counts.get(prefixLength) ?? 0) + peers.size - size);
      lengths = [...counts].filter(([, count]) => count > 0).map(([length]) => length);
      lengths.sort((a, b) => b - a);
      return before;
    },
    peerOf(subnetNumber: number): number {
      const { address } = subnetAt(network, subnetLength, subnetNumber);
      for (const length of lengths) {
        const peer = peers.get(keyOf(subnetOf(address, length)));
        if (peer !== undefined) return peer;
      }
      return NO_PEER;
    },
  };
}
