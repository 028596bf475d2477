import type { Netlink } from '../../system/netlink.js';
import { DEVICE_ALIAS } from '../../system/tun-device.js';
import { removeOurRoutes } from './tables.js';

/** What a link with our mark may be, beside the TUN device. */
type OwnKind = 'vxlan' | 'wireguard';

/** Removes the devices of a kind that have our mark, with all that leads through them. @returns their names */
export async function removeOwnDevices(netlink: Netlink, own: OwnKind, except?: string): Promise<string[]> {
  const removed: string[] = [];
  for (const { index, name, kind, alias } of await netlink.links()) {
    if (kind !== own || alias !== DEVICE_ALIAS || name === except) continue;
    await netlink.deleteLink(index);
    removed.push(name);
  }
  return removed;
}

/** Removes what a stopped node has left in the kernel. @returns what it was, in words */
export async function removeKernelState(netlink: Netlink): Promise<string[]> {
  const devices = [...(await removeOwnDevices(netlink, 'vxlan')), ...(await removeOwnDevices(netlink, 'wireguard'))];
  return [...devices, ...(await removeOurRoutes(netlink))];
}
