import { writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { native } from './native.js';
import type { Netlink, RouteInfo } from './netlink.js';

export const DEVICE_NAME = 'rudder0';

/** Opens the TUN device, which is created if it does not exist. @throws RudderError `device` */
export function openTunDevice(name: string): number {
  try {
    return native.openTun(name);
  } catch (error) {
    throw new RudderError('device', `cannot open TUN device ${name}: ${explain(error, name)}`, { cause: error });
  }
}

function explain(error: unknown, name: string): string {
  switch (errnoOf(error)) {
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV':
      return '/dev/net/tun is missing, expected the kernel\'s TUN driver; run "modprobe tun", or pass the device into the container';
    // The open itself: the file's mode, which udev sets to 0666 since the capability decides anyway.
    case 'EACCES':
      return 'this user may not open /dev/net/tun, expected mode 0666; run "chmod 0666 /dev/net/tun", or run as root';
    case 'EPERM':
      return 'no permission for /dev/net/tun, expected the capability CAP_NET_ADMIN; run as root or through rudder.service';
    case 'EBUSY':
      return `another process has ${name} open, expected none; is rudder running already?`;
    case 'EINVAL':
      return `an interface named ${name} exists and is not a TUN device; remove it with "ip link delete ${name}"`;
    default:
      return `${messageOf(error)}; see docs/troubleshooting.md`;
  }
}

export interface TunSettings {
  readonly name: string;
  readonly address: Ipv4;
  readonly network: Subnet;
  readonly mtu: number;
  /** False: no route leads through it, since it would cut this host off. */
  readonly isRouted: boolean;
}

/**
 * The kernel's TUN devices begin with 500, half of what others have, and drop what comes when they are full. The worker may
 * have to wait for its turn on a core for a few milliseconds: 500 small packets are 4 ms at 120,000 a second.
 */
export const QUEUE_LENGTH = 1000;

/**
 * Brings the device to the state of contract 2.3: only this address, this MTU, up, the Network routed to it.
 * Idempotent: a persistent device of an earlier run keeps carrying packets meanwhile.
 */
export async function configureTunDevice(netlink: Netlink, settings: TunSettings): Promise<void> {
  const { name, address, network, mtu, isRouted } = settings;
  const link = (await netlink.links()).find((candidate) => candidate.name === name);
  if (link === undefined) throw new RudderError('device', `TUN device ${name} vanished while it was set up`);
  try {
    // Before the device is up, so that no IPv6 link-local address appears on it.
    await withoutIpv6(netlink, name, link.index);
    // Our ICMP errors come in through the device from its own address, which the kernel drops as a martian otherwise.
    await netlink.acceptLocal(link.index);
    await netlink.setOnlyAddress(link.index, address, network.prefixLength);
    await netlink.setLinkUp(link.index, mtu, QUEUE_LENGTH);
    if (isRouted) await netlink.ensureRoute(link.index, network, address);
    else await withdrawRoutes(netlink, link.index);
  } catch (error) {
    throw new RudderError(
      'device',
      `cannot configure ${name} with ${formatIpv4(address)}/${network.prefixLength} and MTU ${mtu}: ${messageOf(error)}; run as root or with CAP_NET_ADMIN`,
      { cause: error },
    );
  }
}

/**
 * What of the device somebody has changed, in words for a log line; undefined: nothing. "gone" is told apart because
 * the open descriptor is then of no use any more (the kernel answers EBADFD).
 */
export async function deviceProblem(netlink: Netlink, settings: TunSettings): Promise<string | undefined> {
  const { name, address, network, mtu } = settings;
  const link = (await netlink.links()).find((candidate) => candidate.name === name);
  if (link === undefined) return 'gone';
  if (!link.up) return 'down';
  if (link.mtu !== mtu) return `at MTU ${link.mtu} instead of ${mtu}`;
  const addresses = (await netlink.addresses()).filter(({ index }) => index === link.index);
  const right = addresses.filter((entry) => entry.address === address && entry.prefixLength === network.prefixLength);
  if (right.length !== 1 || addresses.length !== 1) {
    return `with ${addresses.map((entry) => formatIpv4(entry.address)).join(', ') || 'no address'} instead of ${formatIpv4(address)}`;
  }
  if (settings.isRouted && !(await netlink.hasRoute(link.index, network)))
    return `without its route to ${formatSubnet(network)}`;
  return undefined;
}

const RTN_UNICAST = 1;

/** Whether packets leave by the device: what is local to this host has its index too. */
export const isThroughRoute = (route: RouteInfo, index: number) => route.index === index && route.type === RTN_UNICAST;

/** Takes back all routes that lead through the device, whoever made them. */
export async function withdrawRoutes(netlink: Netlink, index: number): Promise<void> {
  const routes = (await netlink.routes(index)).filter((route) => isThroughRoute(route, index));
  for (const route of routes) await netlink.deleteRoute(index, route);
}

/** Writes one message, vnet header first. For set-up only: the packet path has its own way. @throws what write(2) says */
export function writeTunMessage(tun: number, message: Uint8Array): void {
  writeSync(tun, message);
}

/** Removes the device, and its address and routes with it. Does nothing if there is none. @throws RudderError `device` */
export async function removeDevice(netlink: Netlink, name: string): Promise<void> {
  const link = (await netlink.links()).find((candidate) => candidate.name === name);
  if (link === undefined) return;
  try {
    await netlink.deleteLink(link.index);
  } catch (error) {
    throw new RudderError('device', `cannot remove ${name}: ${messageOf(error)}; run as root or with CAP_NET_ADMIN`, {
      cause: error,
    });
  }
}

/** Best effort: a kernel without IPv6 has nothing to switch off, and one that cannot be told only adds noise. */
async function withoutIpv6(netlink: Netlink, name: string, index: number): Promise<void> {
  await netlink.noLinkLocalAddress(index).catch(() => undefined);
  // More than that, nothing of IPv6 is sent at all; /proc/sys is read-only in many containers.
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1').catch(() => undefined);
}
