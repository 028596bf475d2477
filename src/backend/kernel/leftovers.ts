import { removeOwnDevices } from '../../system/marked-devices.js';
import type { Netlink } from '../../system/netlink.js';
import { DEVICE_NAME } from '../../system/tun-device.js';
import { removeOurRoutes } from './tables.js';

/**
 * Removes what a stopped node has left in the kernel, whatever somebody has named it since; not what has the name of the TUN
 * device, which may be open still. @returns what it was, in words
 */
export async function removeKernelState(netlink: Netlink): Promise<string[]> {
  const renamed = await removeOwnDevices(netlink, 'tun', DEVICE_NAME);
  const devices = [...(await removeOwnDevices(netlink, 'vxlan')), ...(await removeOwnDevices(netlink, 'wireguard'))];
  return [...renamed, ...devices, ...(await removeOurRoutes(netlink))];
}
