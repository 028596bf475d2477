import { NO_ADDRESS } from '../../core/ipv4.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { NetworkConfig } from '../../core/network-config.js';
import type { Subnet } from '../../core/subnet.js';
import type { PeerTraffic } from '../backend.js';
import { nowMs } from './clock.js';
import { createMemberSet, createMembers, type Members } from './members.js';
import { createPeerCounters, readPeer } from './peer-counters.js';
import { createRouteTable, nextHopOf, type RouteTable, setRoute, subnetNumberOf } from './route-table.js';

/** What the packet path knows of the peers, and the control side's hand on it. */
export interface PeerTables {
  readonly routes: RouteTable;
  readonly members: Members;
  readonly peers: Int32Array;
  apply(changes: readonly LeaseChange[]): void;
  traffic(subnet: Subnet): PeerTraffic;
}

export function createPeerTables(config: NetworkConfig): PeerTables {
  const routes = createRouteTable(config);
  const members = createMembers(routes.nextHops.length);
  const memberSet = createMemberSet(members);
  const peers = createPeerCounters(routes);
  return {
    routes,
    members,
    peers,
    apply(changes) {
      for (const { type, lease } of changes) {
        const before = nextHopOf(routes, lease.subnet.address);
        if (type !== 'removed') memberSet.add(lease.publicIp);
        setRoute(routes, lease.subnet, type === 'removed' ? NO_ADDRESS : lease.publicIp);
        if (before !== NO_ADDRESS) memberSet.remove(before);
      }
    },
    traffic: (subnet) => readPeer(peers, subnetNumberOf(routes, subnet.address), nowMs()),
  };
}
