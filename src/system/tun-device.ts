import { writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { native } from './native.js';
import { type LinkInfo, type Netlink, type RouteInfo, RTN_UNICAST } from './netlink.js';

export const DEVICE_NAME = 'rudder0';
/** The mark of a device that a node has configured, by which it is told from another one of that name. */
export const DEVICE_ALIAS = 'rudder overlay';

/** One that packets for the overlay go into, ours or an earlier run's: no way to reach anybody by. */
export function isOverlayDevice({ name, alias }: Pick<LinkInfo, 'name' | 'alias'>): boolean {
  return name === DEVICE_NAME || alias === DEVICE_ALIAS;
}

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
  /**
   * Of the address. That of the Network brings its route along, and a broadcast address: kernels before 5.14 take the
   * lowest address of a network for one too, so where a node has that it is 32, and the route is one by itself.
   */
  readonly prefixLength: number;
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
  const { name, address, network, prefixLength, mtu, isRouted } = settings;
  const link = await netlink.link(name);
  if (link?.kind !== 'tun') {
    const what = link === undefined ? 'vanished while it was set up' : `is of kind ${link.kind || 'hardware'} now`;
    throw new RudderError('device', `TUN device ${name} ${what}`);
  }
  try {
    // Before the device is up, so that no IPv6 link-local address appears on it.
    await withoutIpv6(netlink, name, link.index);
    // Our ICMP errors come in through the device from its own address, which the kernel drops as a martian otherwise.
    await netlink.acceptLocal(link.index);
    await netlink.setAlias(link.index, DEVICE_ALIAS);
    await netlink.setOnlyAddress(link.index, address, prefixLength);
    await netlink.setLinkUp(link.index, mtu, QUEUE_LENGTH);
    // Below an MTU of 1280 the kernel forgets all of IPv6 on a device, the settings too, and begins anew above it.
    await withoutIpv6(netlink, name, link.index);
    if (isRouted) await netlink.ensureRoute(link.index, network, address);
    else await withdrawRoutes(netlink, link.index);
  } catch (error) {
    throw new RudderError(
      'device',
      `cannot configure ${name} with ${formatIpv4(address)}/${prefixLength} and MTU ${mtu}: ${messageOf(error)}; run as root or with CAP_NET_ADMIN`,
      { cause: error },
    );
  }
}

/**
 * What of the device somebody has changed, in words for a log line; undefined: nothing. "gone" is told apart because
 * the open descriptor is then of no use any more (the kernel answers EBADFD). So it is where another's has its name.
 */
export async function deviceProblem(netlink: Netlink, settings: TunSettings): Promise<string | undefined> {
  const { name, address, network, prefixLength, mtu } = settings;
  const link = await netlink.link(name);
  if (link?.kind !== 'tun') return 'gone';
  if (!link.up) return 'down';
  if (link.mtu !== mtu) return `at MTU ${link.mtu} instead of ${mtu}`;
  const addresses = (await netlink.addresses()).filter(({ index }) => index === link.index);
  const right = addresses.filter((entry) => entry.address === address && entry.prefixLength === prefixLength);
  if (right.length !== 1 || addresses.length !== 1) {
    return `with ${addresses.map((entry) => formatIpv4(entry.address)).join(', ') || 'no address'} instead of ${formatIpv4(address)}`;
  }
  if (await netlink.hasIpv6Address(link.index)) return 'with an IPv6 address';
  if (!settings.isRouted && (await netlink.routes(link.index)).some((route) => isThroughRoute(route, link.index))) {
    return 'with a route that cuts this host off';
  }
  if (settings.isRouted && !(await netlink.hasRoute(link.index, network)))
    return `without its route to ${formatSubnet(network)}`;
  return undefined;
}

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

/** A device of our name that no node uses. */
export type Leftover =
  | { readonly is: 'absent' }
  /** Another's, to be left alone: `what` tells why. */
  | { readonly is: 'not ours'; readonly what: string }
  /**
   * Held by us, so that no node can start on it until it is removed, or we end; but where there is no TUN driver for us, as in
   * a container without the device. remove() throws RudderError `device`.
   */
  | { readonly is: 'ours'; readonly remove: () => void | Promise<void> };

/**
 * Looks for a device that a stopped node has left. It is ours if it is a TUN device with our mark: the name alone may
 * be anybody's. One that has no mark because an earlier version made it is not: the next start of a node marks it.
 * @throws RudderError `usage` if a process has it open: that is a running node
 */
export async function findLeftover(netlink: Netlink, name: string): Promise<Leftover> {
  const link = await netlink.link(name);
  if (link === undefined) return { is: 'absent' };
  if (link.kind !== 'tun') return { is: 'not ours', what: `of kind ${link.kind || 'hardware'} and not tun` };
  if (link.carrier) throw inUse(name);
  if (link.alias !== DEVICE_ALIAS) return { is: 'not ours', what: `without the alias "${DEVICE_ALIAS}"` };
  let tun: number;
  try {
    tun = native.openTun(name);
  } catch (error) {
    if (errnoOf(error) === 'EBUSY') throw inUse(name);
    if (errnoOf(error) === 'EINVAL') return { is: 'not ours', what: 'no TUN device of one queue' };
    const reason = explain(error, name);
    const removeLink = () =>
      netlink.deleteLink(link.index).catch(() => {
        throw new RudderError('device', `cannot remove ${name}: ${reason}`, { cause: error });
      });
    return { is: 'ours', remove: removeLink };
  }
  // With its last descriptor goes a device that is not persistent, and its address and routes with it.
  const remove = () => {
    native.setTunPersistent(tun, 0);
    native.close(tun);
  };
  return { is: 'ours', remove };
}

function inUse(name: string): RudderError {
  return new RudderError(
    'usage',
    `a process has ${name} open: expected no running node; stop it with "systemctl stop rudder"`,
  );
}

/**
 * Removes the device of a node that has stopped. One that is not ours is left alone.
 * @throws RudderError `device`, or `usage` if a process has it open
 */
export async function removeDevice(netlink: Netlink, name: string): Promise<void> {
  const leftover = await findLeftover(netlink, name);
  if (leftover.is === 'ours') await leftover.remove();
}

/** Best effort: a kernel without IPv6 has nothing to switch off, and one that cannot be told only adds noise. */
async function withoutIpv6(netlink: Netlink, name: string, index: number): Promise<void> {
  await netlink.noLinkLocalAddress(index).catch(() => undefined);
  // More than that, nothing of IPv6 is sent at all; /proc/sys is read-only in many containers.
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1').catch(() => undefined);
  await netlink.removeIpv6Addresses(index).catch(() => undefined);
}
