import { parseSubnet } from '../../core/address-text.js';
import { counted } from '../../core/counted.js';
import { shorten } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import { contains, type Subnet } from '../../core/subnet.js';
import type { PeerStatus } from '../../ops/status.js';
import { containerRoute, containerWay, nameOf } from './containers.js';
import { daemon } from './daemon.js';
import { docker } from './docker.js';
import { etcd, settings } from './etcd.js';
import { bad, ok, unknown, warn } from './findings.js';
import { firewall } from './firewall.js';
import type { Facts, Finding, Host } from './host.js';

/**
 * What usually goes wrong with an overlay, one function each, in the order in which a packet would meet it. Each looks
 * at the host through `Host` only, so that a test can be any host.
 */
export type Check = (host: Facts) => Promise<Finding[]>;

/** Peers that are asked one by one; more would take minutes. */
const MOST_PEERS = 20;

const permissions: Check = async (host) => {
  if (!host.isRoot) return [bad('permissions', 'not run as root: the checks below see little', 'run as root')];
  if (!(await host.exists('/dev/net/tun'))) {
    return [bad('permissions', '/dev/net/tun is missing', 'run "modprobe tun", or pass the device into the container')];
  }
  return [ok('permissions', 'root, and /dev/net/tun is there')];
};

const subnetFile: Check = async (host) => {
  if (host.status === undefined) return [];
  const { subnet, subnetFile: path } = host.status.node;
  const text = await host.read(path);
  const written = /_SUBNET=(\S+)/.exec(text ?? '')?.[1];
  if (written === undefined) return [bad('subnet file', `${path} is missing or empty`, 'restart rudder')];
  const { address, prefixLength } = subnetOf(subnet);
  const expected = `${formatIpv4(address + 1)}/${prefixLength}`;
  if (written !== expected) {
    const detail = `${path} says ${shorten(written, 40)}, the lease is ${subnet}`;
    return [bad('subnet file', detail, 'restart rudder, then Docker')];
  }
  const mtu = /_MTU=(\S+)/.exec(text ?? '')?.[1] ?? 'none';
  if (mtu !== String(host.status.device.mtu)) {
    const detail = `${path} says MTU ${shorten(mtu, 20)}, the overlay carries ${host.status.device.mtu}`;
    return [bad('subnet file', detail, 'restart rudder, then Docker')];
  }
  return [ok('subnet file', `${path} says ${expected} and MTU ${mtu}`)];
};

const forwarding: Check = async (host) => {
  const value = await host.read('/proc/sys/net/ipv4/ip_forward');
  if (value?.trim() === '1') return [ok('forwarding', 'IPv4 forwarding is on')];
  const remedy = 'sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d for the next boot';
  return [bad('forwarding', 'IPv4 forwarding is off: containers cannot reach other hosts', remedy)];
};

const reversePath: Check = async (host) => {
  if (host.status === undefined) return [];
  const { name } = host.status.device;
  // The kernel takes the larger of the two (ip-sysctl.rst).
  const values = await Promise.all(['all', name].map((who) => host.read(`/proc/sys/net/ipv4/conf/${who}/rp_filter`)));
  if (values.includes(undefined)) return [unknown('rp_filter', '/proc/sys cannot be read', 'run as root')];
  const filter = Math.max(...values.map(Number));
  if (filter !== 1) return [ok('rp_filter', `lets replies in through ${name}`)];
  const remedy = `sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.${name}.rp_filter=2`;
  return [warn('rp_filter', `is strict on ${name}: ICMP errors of other hosts are dropped`, remedy)];
};

const routes: Check = async (host) => {
  if (host.status === undefined) return [];
  const { status } = host;
  const network = subnetOf(status.node.network);
  const text = await host.run('ip', ['-4', '-j', 'route', 'show']);
  if (text === undefined) return [unknown('routes', 'the command "ip" does not answer', 'install iproute2')];
  const listed = JSON.parse(text) as Route[];
  const own = subnetOf(status.node.subnet);
  if (!listed.some(({ dst, dev }) => dst === status.node.network && dev === status.device.name)) {
    const detail = `no route leads to ${status.node.network} through ${status.device.name}`;
    return [bad('routes', detail, 'it comes back within two minutes: see who removes it, or restart rudder')];
  }
  const others = listed.filter(({ dst, dev }) => {
    const target = parseSubnet(dst.includes('/') ? dst : `${dst}/32`);
    if (target === undefined || dev === status.device.name) return false;
    const isOverlapping = contains(network, target.address) || contains(target, network.address);
    // The bridge of Docker holds our own subnet; a default route overlaps with everything, and is no rival.
    return isOverlapping && !contains(own, target.address) && target.prefixLength > 0;
  });
  if (others.length === 0) return [ok('routes', `nothing but ${status.device.name} leads into ${status.node.network}`)];
  return others.map((route) =>
    bad(
      'routes',
      `${route.dst} leads to ${nameOf(route)}, inside ${status.node.network}`,
      `"ip route delete ${route.dst}" if nothing needs it, or choose another Network`,
    ),
  );
};

interface Route {
  readonly dst: string;
  readonly type?: string;
  readonly dev?: string;
}

/** Peers that the daemon does not send to. */
const peers: Check = async ({ status }) =>
  (status?.peers ?? []).flatMap(({ subnet, problem }) =>
    problem === null
      ? []
      : [
          bad(
            'peers',
            `${subnet} is skipped: ${problem}`,
            "correct that node's --public-ip or the routes of this host",
          ),
        ],
  );

/** What this host asks for names must not depend on what it asks them for. */
const nameservers: Check = async (host) => {
  if (host.status === undefined) return [];
  const { status } = host;
  const inside = (await host.nameservers()).filter((address) => contains(subnetOf(status.node.network), address));
  const findings = await Promise.all(
    inside.map(async (address) => {
      const text = await host.run('ip', ['-4', '-j', 'route', 'get', formatIpv4(address)]);
      const [route] = JSON.parse(text ?? '[]') as Route[];
      if (route?.dev !== status.device.name) return [];
      const remedy = 'give it a more specific route of its own, or use another one';
      return [warn('name servers', `${formatIpv4(address)} is reached through the overlay only`, remedy)];
    }),
  );
  return findings.flat();
};

/** Ping with "don't fragment", of the size of a full tunnel packet: 28 bytes of it are the headers of ping itself. */
const pathMtu: Check = async (host) => {
  const { status } = host;
  return eachPeer('path MTU', host, async ({ nextHop }) => {
    const size = status!.device.mtu;
    if (await host.succeeds('ping', ['-n', '-q', '-c', '1', '-W', '1', nextHop])) {
      const args = ['-n', '-q', '-c', '2', '-i', '0.2', '-W', '1', '-M', 'do', '-s', String(size), nextHop];
      if (await host.succeeds('ping', args)) return undefined;
      const remedy = `find the smaller MTU on the way and set Backend.MTU or --mtu to it less 28`;
      return bad('path MTU', `full packets do not reach ${nextHop}: ${size + 28} bytes are too many`, remedy);
    }
    return warn('path MTU', `${nextHop} answers no ping, so nothing is known`, 'allow ICMP between the hosts');
  });
};

/** A peer's rudder0 answers at the first address of its subnet: all of the way, both ways. */
const overlay: Check = async (host) =>
  eachPeer('overlay', host, async ({ subnet, nextHop }) => {
    const address = subnet.split('/')[0];
    if (await host.succeeds('ping', ['-n', '-q', '-c', '2', '-i', '0.2', '-W', '1', address])) return undefined;
    // Connection tracking does not see the tunnel's datagrams, so that "established" does not let them in.
    const filters = (await host.suspects('input')).join(', ');
    const remedy = `is rudder running on ${nextHop}, and UDP port 8285 (Backend.Port) open between the hosts?`;
    const here =
      filters === '' ? '' : ` Rules of others here that may drop its datagrams: ${filters}: let them accept that port`;
    return bad('overlay', `${address} on ${nextHop} does not answer`, `${remedy}${here}`);
  });

async function eachPeer(
  check: string,
  host: Host,
  ask: (peer: PeerStatus) => Promise<Finding | undefined>,
): Promise<Finding[]> {
  const there = (host.status?.peers ?? []).filter(({ reserved }) => !reserved);
  const asked = there.filter(({ problem }) => problem === null).slice(0, MOST_PEERS);
  if (asked.length === 0) return [];
  // Without it every peer would look silent.
  if (!(await host.succeeds('ping', ['-n', '-q', '-c', '1', '-W', '1', '127.0.0.1']))) {
    return [unknown(check, 'the command "ping" does not work here', 'install iputils-ping, and run as root')];
  }
  const findings = (await Promise.all(asked.map(ask))).filter((finding) => finding !== undefined);
  const all = counted(there.length, 'peer');
  const count = asked.length === there.length ? all : `${asked.length} of ${all}`;
  return findings.length > 0 ? findings : [ok(check, `good to ${count}`)];
}

/** Beyond this, certificates and logs start to disagree. */
const MOST_CLOCK_SECONDS = 30;

/** etcd's web server tells the time in each answer. */
const clock: Check = async (host) => {
  if ('problem' in host.etcd) return []; // told elsewhere
  for (const endpoint of host.etcd.endpoints) {
    const date = await host.dateOf(`${endpoint}/version`);
    if (date === undefined) continue;
    const difference = Math.round(Math.abs(host.now() - date.getTime()) / 1000);
    if (difference <= MOST_CLOCK_SECONDS) return [ok('clock', `agrees with etcd's to ${Math.max(1, difference)} s`)];
    const remedy = 'run an NTP client such as systemd-timesyncd on all hosts';
    return [warn('clock', `is ${difference} s away from that of ${endpoint}`, remedy)];
  }
  return [warn('clock', 'no etcd endpoint tells the time', 'is etcd running, is --etcd-endpoints right?')];
};

/** Of values that a daemon has formatted. */
function subnetOf(text: string): Subnet {
  return parseSubnet(text)!;
}

export const CHECKS: readonly Check[] = [
  permissions,
  settings,
  daemon,
  etcd,
  subnetFile,
  forwarding,
  reversePath,
  firewall,
  routes,
  peers,
  docker,
  containerRoute,
  containerWay,
  nameservers,
  pathMtu,
  overlay,
  clock,
];
