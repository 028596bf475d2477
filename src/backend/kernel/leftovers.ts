import { removeOwnDevices } from '../../system/marked-devices.js';
import type { Netlink } from '../../system/netlink.js';
import { removeOurRoutes } from './tables.js';

/** Removes what a stopped node has left in the kernel. @returns what it was, in words */
export async function removeKernelState(netlink: Netlink): Promise<string[]> {
  const devices = [...(await removeOwnDevices(netlink, 'vxlan')), ...(await removeOwnDevices(netlink, 'wireguard'))];
  return [...devices, ...(await removeOurRoutes(netlink))];
}
