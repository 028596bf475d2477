import { RudderError } from '../../core/errors.js';
import type { LinkInfo, Netlink } from '../../system/netlink.js';
import type { BackendHost } from '../kind.js';
import type { KernelLinks } from './kernel-backend.js';
import type { Looked } from './sync.js';

/** The underlay's link as it is now: made anew, it has the same name and another index. @throws RudderError `interface` */
export async function findUnderlay(netlink: Pick<Netlink, 'link'>, name: string): Promise<LinkInfo> {
  const link = await netlink.link(name);
  if (link !== undefined) return link;
  throw new RudderError(
    'interface',
    `interface ${name} is gone, expected the underlay there; bring it back, or choose another one with --iface`,
  );
}

/** All that a backend without a device of its own has to look at. */
export async function lookAtUnderlay(netlink: Pick<Netlink, 'link'>, name: string): Promise<Looked> {
  const { index } = await findUnderlay(netlink, name);
  return { ground: { underlay: { index, name }, tunnel: undefined }, repaired: undefined };
}

/** Links of a backend without a device of its own. */
export function onUnderlay({ netlink, interface: name, mtu: initial }: BackendHost): KernelLinks {
  let [underlay, mtu] = [name, initial];
  return {
    device: undefined,
    leaves: ['routes'],
    leaseData: () => ({}),
    mtu: () => mtu,
    ways: () => [underlay],
    bareWay: () => underlay,
    configure: async () => undefined,
    async adapt(change) {
      underlay = change.interface;
      mtu = change.mtu;
    },
    ensure: () => lookAtUnderlay(netlink, underlay),
    remove: async () => undefined,
  };
}
