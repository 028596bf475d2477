import { RudderError } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import type { Lease } from '../../core/lease.js';
import { createKernelBackend } from '../kernel/kernel-backend.js';
import { onUnderlay } from '../kernel/underlay-link.js';
import { forwardToPeers } from '../kernel/wanted.js';
import type { BackendHost, BackendKind } from '../kind.js';
import { whyOtherType } from '../other-type.js';

/** Plain routes, as flannel sets them: nodes on one link, whose packets go as they are. */
export const hostGw: BackendKind = {
  type: 'host-gw',
  keys: [],
  answers: 'bridge',
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
      return createKernelBackend(host, onUnderlay(host), forwardToPeers(false), toPeer);
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
