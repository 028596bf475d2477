import { NO_ADDRESS } from '../../core/ipv4.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { NetworkConfig } from '../../core/network-config.js';
import type { Subnet } from '../../core/subnet.js';
import type { PeerTraffic } from '../backend.js';
import { nowMs } from './clock.js';
import { createMemberSet, createMembers, type Members } from './members.js';
import { createPeerCounters, readPeer } from './peer-counters.js';
import { createRouteTable, type RouteTable, setRoute, subnetNumberOf } from './route-table.js';

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
  return {
    routes,
    members,
    portMapped,
    peers,
    apply(changes) {
      for (const { type, lease } of changes) {
        const number = subnetNumberOf(routes, lease.subnet.address);
        const address = type === 'removed' ? NO_ADDRESS : lease.publicIp;
        // What a peer may send is known before anybody sends to it.
        memberSet.hold(number, address);
        portMappedSet.hold(number, lease.portMapped ? address : NO_ADDRESS);
        setRoute(routes, lease.subnet, address);
      }
    },
    traffic: (subnet) => readPeer(peers, subnetNumberOf(routes, subnet.address), nowMs()),
  };
}
