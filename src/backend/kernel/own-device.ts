import { writeFile } from 'node:fs/promises';
import { errnoOf } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import { contains, type Subnet } from '../../core/subnet.js';
import type { LinkInfo, Netlink } from '../../system/netlink.js';
import { DEVICE_ALIAS } from '../../system/tun-device.js';

/** What devices of ours have in common, of whatever kind of the kernel's they are. */

/**
 * Our mark, its MTU, and nothing of IPv6.
 * @param inForce the MTU that it was given last: that it has this one is nobody's change but the underlay's
 * @returns what was wrong, in words
 */
export async function putLinkRight(netlink: Netlink, link: LinkInfo, mtu: number, inForce: number): Promise<string[]> {
  const { index, name } = link;
  const found: string[] = [];
  if (link.mtu !== mtu) {
    await netlink.setMtu(index, mtu);
    if (link.mtu !== inForce) found.push(`at MTU ${link.mtu} instead of ${mtu}`);
  }
  if (link.alias !== DEVICE_ALIAS) await netlink.setAlias(index, DEVICE_ALIAS);
  // Before it is up, so that no link-local address appears. Each call is a change that wakes who watches the host.
  if (!link.up || (await netlink.hasIpv6Address(index))) await withoutIpv6(netlink, name, index);
  return found;
}

export interface Whole {
  readonly netlink: Netlink;
  readonly network: Subnet;
  /** What it means that the kernel cannot have its UDP port. */
  readonly portTaken: () => Error;
}

/** Its address is the first one of our subnet, and no other one of the Network; it is up. @returns what was wrong, in words */
export async function bringUp(whole: Whole, { index, up }: LinkInfo, own: Subnet): Promise<string[]> {
  const { netlink, network, portTaken } = whole;
  const found: string[] = [];
  const addresses = (await netlink.addresses()).filter((entry) => entry.index === index);
  const isOurs = ({ address, prefixLength }: { address: Ipv4; prefixLength: number }) =>
    address === own.address && prefixLength === 32;
  if (!addresses.some(isOurs)) {
    await netlink.addAddress({ index, address: own.address, prefixLength: 32 });
    found.push('without its address');
  }
  for (const other of addresses) {
    if (isOurs(other) || !contains(network, other.address)) continue;
    await netlink.deleteAddress(other);
    found.push(`with address ${formatIpv4(other.address)}`);
  }
  if (!up) {
    await netlink.setUp(index).catch((error: unknown) => {
      throw errnoOf(error) === 'EADDRINUSE' ? portTaken() : error;
    });
    found.push('down');
  }
  return found;
}

/** Best effort: a kernel without IPv6 has nothing to switch off; /proc/sys is read-only in many containers. */
async function withoutIpv6(netlink: Netlink, name: string, index: number): Promise<void> {
  await netlink.noLinkLocalAddress(index).catch(() => undefined);
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/accept_ra`, '0').catch(() => undefined);
  await netlink.removeIpv6Addresses(index).catch(() => undefined);
}
