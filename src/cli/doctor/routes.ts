import { counted } from '../../core/counted.js';
import { shorten } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import { contains, isWithin, maskOf, type Subnet } from '../../core/subnet.js';
import type { PeerStatus, Status } from '../../ops/status.js';
import { findBridge, lastAddressOf, subnetOf } from './containers.js';
import { bad, ok, unknown, warn } from './findings.js';
import { isForwardingOn } from './forwarding.js';
import type { Facts, Finding, Host } from './host.js';
import { askIp, nameOf, type Route, wayTo } from './ip.js';
import { toSubnet } from './subnets.js';
import { hasDevice, isOurs, isRight, OUR_PROTOCOL, routedPeers, traitsOf } from './traits.js';

/**
 * Which way packets to peers take, of this host and of its containers. The kernel is asked address by address, since of
 * tables, rules and routes only it knows what they come to; lists say where to ask.
 */
export async function routes(host: Facts): Promise<Finding[]> {
  const { status } = host;
  if (status === undefined) return [];
  if (traitsOf(status.backend.type).routes === 'others') {
    return [ok('routes', `those to peers are others' to set, as ${shorten(status.backend.type, 20)} says`)];
  }
  const lists = await readLists(host, status);
  if (lists === undefined) return [unknown('routes', 'the command "ip" does not answer', 'install iproute2')];
  const asked = await ask(host, status, addressesOf(status, lists), lists);
  const isGood = ({ way, peer }: Asked) => isRight(status, peer, way);
  const wrong = asked.filter((one) => !isGood(one));
  return [
    ...(wrong.length === 0 ? [allRight(status, asked)] : ofHost(status, wrong, lists)),
    ...(await ofOwnSubnet(host, status, lists)),
    ...(await ofContainers(host, status, asked.filter(isGood), lists)),
  ];
}

interface Lists {
  /** For a part of the Network, or all of it, in whatever table. */
  readonly routes: readonly ListedRoute[];
  /** What policy rules speak of, of the Network. */
  readonly ruled: readonly Subnet[];
  /** Of the policy rules, that of the first one that anybody has made. */
  readonly firstPriority: number;
}

interface ListedRoute extends Route {
  readonly to: Subnet;
}

async function readLists(host: Host, { node }: Status): Promise<Lists | undefined> {
  const network = subnetOf(node.network);
  const routes = await askIp<Route>(host, 'route', 'show', 'table', 'all', 'root', node.network);
  const rules = await askIp<{ priority: number; dst?: string; dstlen?: number }>(host, 'rule', 'show');
  if (routes === undefined || rules === undefined) return undefined;
  const listed = routes.flatMap((route) => {
    const to = toSubnet(route.dst);
    return to === undefined || route.type === 'broadcast' ? [] : [{ ...route, to }];
  });
  const ruled = rules.flatMap(({ dst, dstlen = 32 }) =>
    dst === undefined ? [] : (toSubnet(`${dst}/${dstlen}`) ?? []),
  );
  // The kernel's own, to what is local, has 0.
  const firstPriority = Math.min(...rules.map(({ priority }) => priority).filter((priority) => priority > 0));
  return { routes: listed, ruled: ruled.filter((part) => isWithin(part, network)), firstPriority };
}

const lastOf = ({ address, prefixLength }: Subnet): Ipv4 => address | ~maskOf(prefixLength);

/** Of peers, and of the parts of each route: a process is started for each address. */
const MOST_ADDRESSES = 20;
const MOST_PARTS = 50;

/**
 * Whatever leads packets elsewhere does so for all peers alike, or is a route or a rule for a part of the Network: so some
 * peers are asked for, and what lies in those parts.
 */
function addressesOf(status: Status, { routes, ruled }: Lists): Ipv4[] {
  const { node } = status;
  const own = subnetOf(node.subnet);
  const ofPeers = routedPeers(status).map(({ subnet }) => subnetOf(subnet).address);
  const parts = [...routes.filter((route) => !isOurs(status, route)).map(({ to }) => to), ...ruled];
  const within = (part: Subnet) =>
    [part.address, lastOf(part), ...ofPeers]
      .filter((address) => contains(part, address) && !contains(own, address))
      .slice(0, MOST_ADDRESSES);
  const isOneForAll = traitsOf(status.backend.type).routes === 'network';
  const anywhere = ofPeers.length > 0 || !isOneForAll ? ofPeers : within(subnetOf(node.network)).slice(0, 1);
  return [...new Set([...anywhere.slice(0, MOST_ADDRESSES), ...parts.slice(0, MOST_PARTS).flatMap(within)])];
}

interface Asked {
  readonly address: Ipv4;
  /** Who has it. */
  readonly peer: PeerStatus | undefined;
  /** Undefined: nowhere. */
  readonly way: Route | undefined;
}

async function ask(host: Host, status: Status, addresses: readonly Ipv4[], { routes }: Lists): Promise<Asked[]> {
  const known = routedPeers(status).map((peer) => ({ peer, subnet: subnetOf(peer.subnet) }));
  return Promise.all(
    addresses.map(async (address) => {
      const way = await wayTo(host, formatIpv4(address));
      // Of one that throws packets away the kernel says that there is none.
      const thrown = routes
        .filter(({ to, type }) => type !== undefined && THROWN.includes(type) && contains(to, address))
        .sort((a, b) => b.to.prefixLength - a.to.prefixLength);
      const peer = known.find(({ subnet }) => contains(subnet, address))?.peer;
      return { address, peer, way: way ?? thrown.at(0) };
    }),
  );
}

const THROWN = ['blackhole', 'unreachable', 'prohibit', 'throw'];

function allRight(status: Status, asked: readonly Asked[]): Finding {
  const { node, device, backend } = status;
  const isOneForAll = traitsOf(backend.type).routes === 'network';
  const count = routedPeers(status).length;
  if (count === 0) {
    return ok(
      'routes',
      isOneForAll ? `packets to ${node.network} leave by ${device.name}` : 'there is no peer to reach',
    );
  }
  const ways = asked.flatMap(({ peer, way }) => (peer && way?.dev) ?? []);
  return ok('routes', `packets to ${counted(count, 'peer')} leave by ${[...new Set(ways)].join(', ')}`);
}

function ofHost(status: Status, wrong: readonly Asked[], lists: Lists): Finding[] {
  const groups = new Map<string, Asked[]>();
  for (const one of wrong) {
    const key = JSON.stringify([one.way?.dst, one.way?.dev, one.way?.type, one.way?.table]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups.values()].map((group) => ofGroup(status, group, lists));
}

/** Which rule sends them elsewhere the kernel does not say: this one comes before all others. */
function overlayFirst(network: string, { firstPriority }: Lists): string {
  if (firstPriority <= 1) return 'see "ip rule show": a rule that leads the overlay away has the first place';
  return `see "ip rule show": "ip rule add to ${network} lookup main priority ${firstPriority - 1}" lets the overlay go first`;
}

/** @param asked all by one route, which is not ours */
function ofGroup(status: Status, asked: readonly Asked[], lists: Lists): Finding {
  const { node, peers } = status;
  const [{ way }] = asked;
  const route = way === undefined || way.dst === 'default' ? undefined : toSubnet(way.dst);
  const isWide = route === undefined || route.prefixLength <= subnetOf(node.network).prefixLength;
  if (way?.table === undefined && isWide) {
    return missing(status, asked);
  }
  const to = peers.filter(({ subnet }) => {
    const there = subnetOf(subnet);
    return asked.some(({ address }) => contains(there, address)) || (!isWide && contains(route, there.address));
  });
  const detail = `${way?.dst} leads to ${nameOf(way)}, inside ${node.network}`;
  const tell = to.length > 0 ? bad : warn;
  if (way?.type === 'local') {
    const remedy = `"ip address delete ${way.dst} dev ${way.dev}", or choose another Network`;
    return tell('routes', `${way.dst} on ${way.dev} is an address of this host, inside ${node.network}`, remedy);
  }
  if (way?.table !== undefined) {
    const remedy = overlayFirst(node.network, lists);
    return tell('routes', `a packet to ${formatIpv4(asked[0].address)} leaves by ${nameOf(way)}`, remedy);
  }
  if (to.length > 0) {
    const remedy = `"ip route delete ${way?.dst}" if nothing needs it, or choose another Network`;
    return bad('routes', `${detail}: packets to ${someOf(to)} do not reach the overlay`, remedy);
  }
  const remedy =
    'keep leases away from there with SubnetMin and SubnetMax, if something needs that route, or delete it';
  return warn('routes', `${detail}: no peer is there now, and one may come`, remedy);
}

/** None of ours. @param asked what leaves by another one, which is wider */
function missing(status: Status, asked: readonly Asked[]): Finding {
  const { node, device, hostProblem, backend } = status;
  const isOneForAll = traitsOf(backend.type).routes === 'network';
  const there = [...new Set(asked.flatMap(({ peer }) => peer ?? []))];
  const to = isOneForAll ? node.network : someOf(there);
  const through = hasDevice(status) ? device.name : there.map(({ nextHop }) => nextHop)[0];
  const back = isOneForAll ? 'within two minutes' : 'within seconds';
  const remedy =
    hostProblem === null
      ? `one that is gone comes back ${back}: look again, see "ip route show", and who changes it ("ip monitor route")`
      : 'it was withdrawn, and comes back when what the daemon tells is mended';
  const detail = `no route leads to ${to} through ${through}, or another one goes first: packets leave by ${nameOf(asked[0].way)}`;
  return bad('routes', detail, remedy);
}

function someOf(peers: readonly PeerStatus[]): string {
  const some = peers.slice(0, 3).map(({ subnet }) => subnet);
  return peers.length > some.length ? `${some.join(', ')}, and ${peers.length - some.length} more` : some.join(', ');
}

/** Routes for a part of the own subnet: to a container each, as some CNI plugins have them, or away from the containers. */
async function ofOwnSubnet(host: Host, status: Status, lists: Lists): Promise<Finding[]> {
  const { node, device } = status;
  const own = subnetOf(node.subnet);
  // Our own blackhole for it gives way to any other.
  const isAnother = ({ to, type, protocol }: ListedRoute) =>
    isWithin(to, own) && type !== 'local' && protocol !== OUR_PROTOCOL;
  const inside = lists.routes.filter(isAnother).slice(0, MOST_PARTS);
  const isAway = ({ type, dev, gateway }: Route) =>
    !['local', 'broadcast'].includes(type ?? '') &&
    (dev === undefined || gateway !== undefined || [node.interface, device.name].includes(dev));
  const asked = await Promise.all(
    inside.map(async ({ dst, to }) => {
      const ways = (await ask(host, status, [to.address, lastOf(to)], lists)).map(({ way }) => way);
      // Of a narrower one there is a finding by itself.
      const away = ways.find((way) => way?.dst === dst && isAway(way));
      if (away === undefined) return [];
      const detail = `${dst}, of this host's own subnet, leads to ${nameOf(away)}: containers there are not reached`;
      return [bad('routes', detail, `"ip route delete ${dst}" if nothing needs it`)];
    }),
  );
  return asked.flat();
}

/** Where the kernel would route a container's packet: rules of its source or interface count, as VPN clients set them. */
async function ofContainers(host: Facts, status: Status, right: readonly Asked[], lists: Lists): Promise<Finding[]> {
  const { node } = status;
  const bridge = findBridge(host, status);
  // Told elsewhere, and no rule would help.
  if (bridge === undefined || status.hostProblem !== null || !(await isForwardingOn(host, bridge.name))) return [];
  const from = { from: lastAddressOf(subnetOf(node.subnet)), bridge: bridge.name };
  const asked = await Promise.all(
    right
      .filter(({ peer }) => peer !== undefined)
      .map(async ({ address, peer, way: hostWay }) => {
        const to = formatIpv4(address);
        return { to, peer, hostWay, way: await wayTo(host, to, from) };
      }),
  );
  if (asked.length === 0) return [];
  const wrong = asked.find(({ peer, way }) => !isRight(status, peer, way));
  if (wrong === undefined) {
    return [ok('container route', `a container's packet to ${asked[0].to} is routed to ${asked[0].way?.dev}`)];
  }
  const remedy = overlayFirst(node.network, lists);
  const detail = `a container's packet to ${wrong.to} is routed to ${nameOf(wrong.way)}, not to ${nameOf(wrong.hostWay)}`;
  return [bad('container route', detail, remedy)];
}
