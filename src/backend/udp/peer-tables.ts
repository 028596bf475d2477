import { type Ipv4, NO_ADDRESS } from '../../core/ipv4.js';
import { isPortMapped } from '../../core/lease.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { type Subnet, subnetAt, subnetOf } from '../../core/subnet.js';
import type { PeerTraffic } from '../backend.js';
import { nowMs } from './tables/clock.js';
import { createMemberSet, createMembers, type Members } from './tables/members.js';
import { createPeerCounters, readPeer } from './tables/peer-counters.js';
import { createRouteTable, entriesOf, type RouteTable, setEntry } from './tables/routes.js';

/** What the packet path knows of the peers, and the control side's hand on it. */
export interface PeerTables {
  readonly routes: RouteTable;
  readonly members: Members;
  /** Members behind a NAT that changes the ports of their datagrams. */
  readonly portMapped: Members;
  readonly peers: Int32Array;
  apply(changes: readonly LeaseChange[]): void;
  traffic(subnet: Subnet): PeerTraffic;
}

export function createPeerTables(config: NetworkConfig): PeerTables {
  const routes = createRouteTable(config);
  const members = createMembers(routes.nextHops.length);
  const portMapped = createMembers(routes.nextHops.length);
  const memberSet = createMemberSet(members);
  const portMappedSet = createMemberSet(portMapped);
  const peers = createPeerCounters(routes);
  const leases = createLeaseTable(config);
  return {
    routes,
    members,
    portMapped,
    peers,
    apply(changes) {
      for (const { type, lease } of changes) {
        const address = type === 'removed' ? NO_ADDRESS : lease.publicIp;
        leases.set(lease.subnet, address);
        // What a peer may send is known before anybody sends to it.
        memberSet.hold(keyOf(lease.subnet), address);
        portMappedSet.hold(keyOf(lease.subnet), isPortMapped(lease) ? address : NO_ADDRESS);
        const { first, count } = entriesOf(routes, lease.subnet);
        for (let number = first; number < first + count; number++) setEntry(routes, number, leases.nextHopOf(number));
      }
    },
    traffic: (subnet) => readPeer(peers, entriesOf(routes, subnet), nowMs()),
  };
}

const keyOf = ({ address, prefixLength }: Subnet) => address * 64 + prefixLength;

/** Next hops by subnet. A node with another SubnetLen has one of several entries, and others may lie inside it. */
function createLeaseTable({ network, subnetLength }: NetworkConfig) {
  const nextHops = new Map<number, Ipv4>();
  /** How many subnets there are of each prefix length: of one alone, as a rule. */
  const counts = new Map<number, number>();
  /** Longest first: the most specific one counts. */
  let lengths: number[] = [];

  return {
    set(subnet: Subnet, nextHop: Ipv4): void {
      const { size } = nextHops;
      if (nextHop === NO_ADDRESS) nextHops.delete(keyOf(subnet));
      else nextHops.set(keyOf(subnet), nextHop);
      const { prefixLength } = subnet;
      counts.set(prefixLength, (counts.get(prefixLength) ?? 0) + nextHops.size - size);
      lengths = [...counts].filter(([, count]) => count > 0).map(([length]) => length);
      lengths.sort((a, b) => b - a);
    },
    nextHopOf(subnetNumber: number): Ipv4 {
      const { address } = subnetAt(network, subnetLength, subnetNumber);
      for (const length of lengths) {
        const nextHop = nextHops.get(keyOf(subnetOf(address, length)));
        if (nextHop !== undefined) return nextHop;
      }
      return NO_ADDRESS;
    },
  };
}
