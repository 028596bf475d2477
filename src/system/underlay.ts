import { parseIpv4 } from '../core/address-text.js';
import { messageOf, quote, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { contains } from '../core/subnet.js';
import { defaultsIn } from './netlink/routes.js';
import type { Netlink, RouteInfo } from './netlink.js';
import { isOverlayDevice } from './tun-device.js';

/** The interface that carries the encapsulated packets. */
export interface Underlay {
  readonly name: string;
  readonly address: Ipv4;
  readonly mtu: number;
  /** Other addresses of the interface, which could have been taken. */
  readonly others?: readonly Ipv4[];
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
  readonly prefixLength: number;
}

const GLOBAL_SCOPE = 0;

/**
 * Chooses the underlay: --iface, else --iface-regex, else --iface-can-reach, else the interface of the default route.
 * Of its addresses the kernel's choice, if that is one of them: see byPreference().
 * @param current the address in use, or of the last run: preferred to another one of the same interface (a virtual one
 *   that moves between hosts, say)
 * @throws RudderError `interface` naming the interfaces there are
 */
export async function selectUnderlay(netlink: Netlink, choice: UnderlayChoice, current?: Ipv4): Promise<Underlay> {
  const candidates = await byPreference(netlink, choice, await listCandidates(netlink), current);
  const match = await selectCandidate(netlink, choice, candidates);
  const others = candidates.filter(({ index, address }) => index === match.index && address !== match.address);
  return { ...match, others: others.map(({ address }) => address) };
}

async function selectCandidate(
  netlink: Netlink,
  choice: UnderlayChoice,
  candidates: readonly Candidate[],
): Promise<Candidate> {
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

/**
 * The address in use comes first. Of an interface's others the one that the kernel sends from; then as they are listed,
 * those that a host may have beside its own last: of a single host's prefix, which may be a virtual one, and link-local
 * ones, which no router forwards.
 */
async function byPreference(
  netlink: Netlink,
  choice: UnderlayChoice,
  candidates: readonly Candidate[],
  current: Ipv4 | undefined,
): Promise<Candidate[]> {
  const interfaces = [...new Set(candidates.map(({ index }) => index))];
  if (interfaces.length === candidates.length) return [...candidates];
  const isCurrent = ({ address }: Candidate) => address === current && !isLinkLocal(address);
  const kernels = candidates.some(isCurrent) ? undefined : await kernelsChoice(netlink, choice);
  const rank = (candidate: Candidate) => {
    if (isLinkLocal(candidate.address)) return 3;
    if (candidate.address === kernels) return 0;
    return candidate.prefixLength === 32 ? 2 : 1;
  };
  return [...candidates].sort(
    (a, b) =>
      Number(isCurrent(b)) - Number(isCurrent(a)) ||
      interfaces.indexOf(a.index) - interfaces.indexOf(b.index) ||
      rank(a) - rank(b),
  );
}

/** 169.254.0.0/16 (RFC 3927). */
const isLinkLocal = (address: Ipv4) => contains({ address: 0xa9fe0000 | 0, prefixLength: 16 }, address);

/** The own address that packets to the wanted one get, or those by the default route; undefined: the kernel does not say. */
async function kernelsChoice(netlink: Netlink, { canReach }: UnderlayChoice): Promise<Ipv4 | undefined> {
  try {
    if (canReach !== undefined) return await netlink.sourceTowards(canReach);
    const route = defaultsIn(await netlink.routes(undefined)).at(0);
    return route?.source ?? (route?.gateway === undefined ? undefined : await netlink.sourceTowards(route.gateway));
  } catch {
    // A preference: what can be used is known without it.
    return undefined;
  }
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
    .flatMap(({ index, address, prefixLength }) => {
      const link = links.find((candidate) => candidate.index === index);
      // Our own device of an earlier run is no way to reach anybody.
      return link?.up && !isOverlayDevice(link)
        ? [{ index, address, prefixLength, name: link.name, mtu: link.mtu }]
        : [];
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
    const link = await netlink.link(index);
    if (link !== undefined && !isOverlayDevice(link)) names.add(link.name);
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
