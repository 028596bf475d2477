import type { Netlink } from '../../system/netlink.js';
import { DEVICE_ALIAS } from '../../system/tun-device.js';
import { removeOurRoutes } from './tables.js';

/** Removes the VXLAN devices that have our mark, with all that leads through them. @returns their names */
export async function removeVxlanDevices(netlink: Netlink, except?: string): Promise<string[]> {
  const removed: string[] = [];
  for (const { index, name, kind, alias } of await netlink.links()) {
    if (kind !== 'vxlan' || alias !== DEVICE_ALIAS || name === except) continue;
    await netlink.deleteLink(index);
    removed.push(name);
  }
  return removed;
}

/** Removes what a stopped node has left in the kernel. @returns what it was, in words */
export async function removeKernelState(netlink: Netlink): Promise<string[]> {
  const devices = await removeVxlanDevices(netlink);
  return [...devices, ...(await removeOurRoutes(netlink))];
}
