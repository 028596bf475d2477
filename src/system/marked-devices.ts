import type { LinkInfo, Netlink } from './netlink.js';
import { DEVICE_ALIAS } from './tun-device.js';

/** What a link with our mark may be. */
type OwnKind = 'tun' | 'vxlan' | 'wireguard';

/** Whether a device is of that kind, and has our mark. */
export const isOwnDevice =
  (own: OwnKind) =>
  ({ kind, alias }: Pick<LinkInfo, 'kind' | 'alias'>): boolean =>
    kind === own && alias === DEVICE_ALIAS;

/** Removes the devices of a kind that have our mark, with all that leads through them. @returns their names */
export async function removeOwnDevices(netlink: Netlink, own: OwnKind, except?: string): Promise<string[]> {
  const removed: string[] = [];
  for (const link of await netlink.links()) {
    if (!isOwnDevice(own)(link) || link.name === except) continue;
    await netlink.deleteLink(link.index);
    removed.push(link.name);
  }
  return removed;
}
