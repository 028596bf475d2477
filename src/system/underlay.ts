import { parseIpv4 } from '../core/address-text.js';
import { messageOf, quote, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Netlink, RouteInfo } from './netlink.js';
import { DEVICE_NAME } from './tun-device.js';

/** The interface that carries the encapsulated packets. */
export interface Underlay {
  readonly name: string;
  readonly address: Ipv4;
  readonly mtu: number;
}

export interface UnderlayChoice {
  /** Names or addresses, the first match wins. */
  readonly iface: readonly string[];
  /** Patterns for addresses, then for names; the first match wins. */
  readonly ifaceRegex: readonly RegExp[];
  /** The interface through which this address is reached. */
  readonly canReach: Ipv4 | undefined;
}

/** One usable address of an interface that is up. */
export interface Candidate extends Underlay {
  readonly index: number;
}

const GLOBAL_SCOPE = 0;

/**
 * Chooses the underlay: --iface, else --iface-regex, else --iface-can-reach, else the interface of the default route.
 * @param current the address in use, preferred to another one of the same interface (a virtual one that moves between
 *   hosts, say)
 * @throws RudderError `interface` naming the interfaces there are
 */
export async function selectUnderlay(netlink: Netlink, choice: UnderlayChoice, current?: Ipv4): Promise<Underlay> {
  const isOther = ({ address }: Candidate) => Number(address !== current);
  const candidates = (await listCandidates(netlink)).sort((a, b) => isOther(a) - isOther(b));
  if (choice.iface.length > 0 || choice.ifaceRegex.length > 0) {
    const match = matchInterface(candidates, choice);
    if (match !== undefined) return match;
    const wanted = [...choice.iface.map(quote), ...choice.ifaceRegex.map(String)].join(' or ');
    throw new RudderError(
      'interface',
      `no interface matches ${wanted}: expected ${listOf(candidates)}; correct --iface`,
    );
  }
  const index = await (choice.canReach === undefined
    ? netlink.defaultRouteInterface()
    : interfaceTowards(netlink, choice.canReach));
  const match = candidates.find((candidate) => candidate.index === index);
  if (match !== undefined) return match;
  const reason =
    choice.canReach === undefined
      ? 'this host has no IPv4 default route over an interface with an address'
      : `no interface with an address leads to ${formatIpv4(choice.canReach)}`;
  throw new RudderError('interface', `${reason}: expected ${listOf(candidates)}; choose one with --iface`);
}

/** An exact match of each name or address in turn, then each pattern on addresses first and on names second. */
export function matchInterface(
  candidates: readonly Candidate[],
  choice: Pick<UnderlayChoice, 'iface' | 'ifaceRegex'>,
): Candidate | undefined {
  for (const wanted of choice.iface) {
    const address = parseIpv4(wanted);
    const match = candidates.find(({ name, address: own }) =>
      address === undefined ? name === wanted : own === address,
    );
    if (match !== undefined) return match;
  }
  for (const pattern of choice.ifaceRegex) {
    const match =
      candidates.find(({ address }) => pattern.test(formatIpv4(address))) ??
      candidates.find(({ name }) => pattern.test(name));
    if (match !== undefined) return match;
  }
  return undefined;
}

async function listCandidates(netlink: Netlink): Promise<Candidate[]> {
  const links = await netlink.links();
  const addresses = await netlink.addresses();
  return addresses
    .filter(({ scope }) => scope === GLOBAL_SCOPE)
    .flatMap(({ index, address }) => {
      const link = links.find((candidate) => candidate.index === index);
      // Our own device of an earlier run is no way to reach anybody.
      return link?.up && link.name !== DEVICE_NAME ? [{ index, address, name: link.name, mtu: link.mtu }] : [];
    });
}

/**
 * Names of the interfaces that lead to other hosts: the underlay's, and those of all default routes.
 * @param routes with the default routes among them
 */
export async function uplinksOf(
  netlink: Pick<Netlink, 'link'>,
  routes: readonly RouteInfo[],
  underlay: Underlay,
): Promise<string[]> {
  const names = new Set([underlay.name]);
  for (const { destination, index } of routes) {
    if (destination.prefixLength > 0 || index === undefined) continue;
    const name = (await netlink.link(index))?.name;
    if (name !== undefined && name !== DEVICE_NAME) names.add(name);
  }
  return [...names].sort();
}

async function interfaceTowards(netlink: Netlink, address: Ipv4): Promise<number | undefined> {
  try {
    return await netlink.interfaceTowards(address);
  } catch (error) {
    throw new RudderError(
      'interface',
      `no route to --iface-can-reach ${formatIpv4(address)}: ${messageOf(error)}; choose a reachable address or use --iface`,
      { cause: error },
    );
  }
}

function listOf(candidates: readonly Candidate[]): string {
  if (candidates.length === 0) return 'an interface that is up and has an IPv4 address, of which there is none';
  return candidates.map(({ name, address }) => `${name} (${formatIpv4(address)})`).join(', ');
}
