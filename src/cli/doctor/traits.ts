import { VXLAN_OVERHEAD_BYTES } from '../../backend/kernel/vxlan-device.js';
import { ROUTE_PROTOCOL } from '../../backend/kernel/wanted.js';
import { UDP_OVERHEAD_BYTES } from '../../backend/udp/kind.js';
import { WIREGUARD_OVERHEAD_BYTES } from '../../backend/wireguard/options.js';
import { DATA_OVERHEAD_BYTES } from '../../backend/wireguard/protocol/messages.js';
import { isWithin } from '../../core/subnet.js';
import type { PeerStatus, Status } from '../../ops/status.js';
import { subnetOf } from './containers.js';
import type { Route } from './ip.js';
import { toSubnet } from './subnets.js';

/** What the checks have to know of a kind of backend, beside what its nodes tell. */
export interface Traits {
  /** Whose routes lead to peers: ours, one for the whole Network or one for each peer; or others'. */
  readonly routes: 'network' | 'each' | 'others';
  /** What is wrapped around each packet. */
  readonly overheadBytes: number;
  /** Where to say that the way carries less. */
  readonly mtu: string;
  /** What to do where the way carries so many bytes. */
  readonly mtuFor: (bytes: number) => string;
}

const TRAITS: Record<string, Traits> = {
  udp: {
    routes: 'network',
    overheadBytes: UDP_OVERHEAD_BYTES,
    mtu: `Backend.MTU or --mtu to it less ${UDP_OVERHEAD_BYTES}`,
    mtuFor: (bytes) => `set Backend.MTU ${bytes - UDP_OVERHEAD_BYTES}, for all nodes, or --mtu of this one`,
  },
  vxlan: {
    routes: 'each',
    overheadBytes: VXLAN_OVERHEAD_BYTES,
    mtu: `Backend.MTU to it, or --mtu to it less ${VXLAN_OVERHEAD_BYTES}`,
    mtuFor: (bytes) => `set Backend.MTU ${bytes}, for all nodes, or --mtu ${bytes - VXLAN_OVERHEAD_BYTES} of this one`,
  },
  wireguard: {
    routes: 'network',
    // What goes over IPv4: the MTU leaves room for IPv6.
    overheadBytes: UDP_OVERHEAD_BYTES + DATA_OVERHEAD_BYTES,
    mtu: `Backend.MTU to it, or --mtu to it less ${WIREGUARD_OVERHEAD_BYTES}`,
    mtuFor: (bytes) =>
      `set Backend.MTU ${bytes}, for all nodes, or --mtu ${bytes - WIREGUARD_OVERHEAD_BYTES} of this one`,
  },
  'host-gw': { routes: 'each', overheadBytes: 0, mtu: '--mtu to it', mtuFor: (bytes) => `set --mtu ${bytes}` },
};
/** Of alloc, and of what a later version may have. */
const OTHERS: Traits = {
  routes: 'others',
  overheadBytes: 0,
  mtu: '--mtu to it',
  mtuFor: (bytes) => `set --mtu ${bytes}`,
};

export const traitsOf = (type: string): Traits => TRAITS[type] ?? OTHERS;

/** Whether a device of our own carries the overlay: else packets leave by the underlay as they are. */
export const hasDevice = ({ device, node }: Status) => device.name !== node.interface;

/** By which routes to peers are told from others', as `ip` prints it. */
export const OUR_PROTOCOL = String(ROUTE_PROTOCOL);

/** Whether it is a node's doing. */
export const isOurs = (status: Status, { protocol, dev }: Route) =>
  protocol === OUR_PROTOCOL || (hasDevice(status) && dev === status.device.name);

/** Whether it is the plain route to a peer on the link, of DirectRouting. */
const isDirect = (peer: PeerStatus | undefined, way: Route | undefined) =>
  peer !== undefined && way?.protocol === OUR_PROTOCOL && way.gateway === peer.nextHop;

/** Whether a packet on that way comes to the peer. @param peer undefined: nobody has the address */
export function isRight(status: Status, peer: PeerStatus | undefined, way: Route | undefined): boolean {
  const { routes } = traitsOf(status.backend.type);
  if (routes === 'network') return way?.dev === status.device.name || isDirect(peer, way);
  const to = way === undefined || way.dst === 'default' ? undefined : toSubnet(way.dst);
  const isInside = to !== undefined && isWithin(to, subnetOf(status.node.network));
  if (peer === undefined) return !isInside && way?.table === undefined;
  if (!isInside) return false;
  return way?.gateway === peer.nextHop || (hasDevice(status) && way?.dev === status.device.name);
}

/** Those that packets are sent to. One route for all leads to the others too. */
export function routedPeers({ peers, backend }: Status): readonly PeerStatus[] {
  const { routes } = traitsOf(backend.type);
  return routes === 'each' ? peers.filter(({ problem, reserved }) => problem === null && !reserved) : peers;
}
