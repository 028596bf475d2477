import type { PeerTraffic } from '../../src/backend/backend.js';
import { createPeerTables } from '../../src/backend/packet-path/peer-tables.js';
import { type CounterName, readAll } from '../../src/backend/packet-path/tables/counters.js';
import {
  createSharedMemory,
  type PathSettings,
  type SharedMemory,
} from '../../src/backend/packet-path/tables/memory.js';
import { readPeer } from '../../src/backend/packet-path/tables/peer-counters.js';
import { entriesOf } from '../../src/backend/packet-path/tables/routes.js';
import { parseIpv4, parseSubnet } from '../../src/core/address-text.js';
import type { Ipv4 } from '../../src/core/ipv4.js';
import { maskOf } from '../../src/core/subnet.js';
import { createFakeNative, type FakeNative } from './fake-native.js';
import { udp } from './leases.js';

export const ip = (text: string): Ipv4 => parseIpv4(text)!;

/** Our node of the packet path tests leases 10.240.26.0/24 at 10.1.1.26; its one peer 10.240.77.0/24 at 10.1.1.77. */
export const OWN_CONTAINER = ip('10.240.26.2');
export const PEER_CONTAINER = ip('10.240.77.2');
export const PEER = ip('10.1.1.77');
export const PORT = 8285;
export const LOCAL_ADDRESS = ip('10.1.1.26');

/** How many system calls' messages the packets took: not what most tests are about. */
const MESSAGES = ['out_datagrams', 'in_writes'];

export interface TestPath {
  readonly memory: SharedMemory;
  readonly settings: PathSettings;
  readonly fake: FakeNative;
  /** Another peer comes, or one moves. */
  join(subnet: string, address: Ipv4, isPortMapped?: boolean): void;
  /** Traffic with the peer's subnet. */
  peer(): PeerTraffic;
  trafficWith(subnet: string): PeerTraffic;
  /** The counters that are not 0, but for those of messages. */
  counted(): Partial<Record<CounterName, number>>;
}

/** @param offloads those in use, by their numbers; none: the plain path */
export function createTestPath(checkSource = true, offloads: readonly number[] = []): TestPath {
  const memory = createSharedMemory();
  for (const offload of offloads) memory.offloads[offload] = 1;
  const tables = createPeerTables({ network: parseSubnet('10.240.0.0/16')!, subnetLength: 24 }, PORT);
  const { routes, peers, members, portMapped, counters: traffic } = tables;
  const join = (subnet: string, publicIp: Ipv4, isPortMapped = false) =>
    tables.apply([
      {
        type: 'added',
        lease: { subnet: parseSubnet(subnet)!, publicIp, nodeId: undefined, backend: udp(isPortMapped) },
      },
    ]);
  join('10.240.77.0/24', PEER);
  const trafficWith = (subnet: string) => readPeer(traffic, entriesOf(routes, parseSubnet(subnet)!), memory.clock[0]);
  return {
    memory,
    join,
    trafficWith,
    settings: {
      routes,
      peers,
      members,
      portMapped,
      traffic,
      ownAddress: ip('10.240.26.0'),
      ownMask: maskOf(24),
      port: PORT,
      localAddress: LOCAL_ADDRESS,
      checkSource,
    },
    fake: createFakeNative(memory),
    peer: () => trafficWith('10.240.77.0/24'),
    counted: () =>
      Object.fromEntries(
        Object.entries(readAll(memory.counters)).filter(([name, value]) => value !== 0 && !MESSAGES.includes(name)),
      ),
  };
}
