import { RudderError } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import type { Lease } from '../../core/lease.js';
import { createKernelBackend, type KernelLinks } from '../kernel/kernel-backend.js';
import { lookAtUnderlay } from '../kernel/underlay-link.js';
import type { BackendHost, BackendKind } from '../kind.js';
import { whyOtherType } from '../other-type.js';

/** Plain routes, as flannel sets them: nodes on one link, whose packets go as they are. */
export const hostGw: BackendKind = {
  type: 'host-gw',
  keys: [],
  answers: 'bridge',
  leaves: ['routes'],
  configure: () => ({
    type: 'host-gw',
    fields: {},
    tunnel: undefined,
    mtu: undefined,
    overheadBytes: 0,
    problemOf: (lease) => whyOtherType(lease, 'host-gw'),
    async open(host) {
      refuseNat(host);
      const toPeer = ({ subnet, publicIp }: Lease) => ({ subnet, endpoint: publicIp });
      return createKernelBackend(host, linksOf(host), false, toPeer);
    },
  }),
};

/** Peers route to the public address, and packets without a tunnel pass no NAT on their way to it. */
function refuseNat({ publicIp, localAddress, interface: name }: BackendHost): void {
  if (publicIp === localAddress) return;
  throw new RudderError(
    'network-config',
    `host-gw with the public address ${formatIpv4(publicIp)}: expected ${formatIpv4(localAddress)}, the one of ${name}; run without --public-ip, or choose another backend`,
  );
}

function linksOf({ netlink, interface: name, mtu: initial }: BackendHost): KernelLinks {
  let [underlay, mtu] = [name, initial];
  return {
    device: undefined,
    leaseData: () => ({}),
    mtu: () => mtu,
    ways: () => [underlay],
    configure: async () => undefined,
    async adapt(change) {
      underlay = change.interface;
      mtu = change.mtu;
    },
    ensure: () => lookAtUnderlay(netlink, underlay),
    remove: async () => undefined,
  };
}
