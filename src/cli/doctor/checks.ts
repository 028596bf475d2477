import { counted } from '../../core/counted.js';
import { shorten } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import { contains } from '../../core/subnet.js';
import { nameOf, type Status } from '../../ops/status.js';
import { checksums } from './checksums.js';
import { clock } from './clock.js';
import { bridgeFilter, podNetwork } from './cni.js';
import { containerWay, subnetOf } from './containers.js';
import { daemon } from './daemon.js';
import { docker } from './docker.js';
import { etcd, settings } from './etcd.js';
import { bad, ok, unknown, warn } from './findings.js';
import { firewall } from './firewall.js';
import { forwarding } from './forwarding.js';
import type { Facts, Finding } from './host.js';
import { wayTo } from './ip.js';
import { kernel, makesLink } from './kernel-links.js';
import { kubernetes } from './kubernetes.js';
import * as network from './network.js';
import { overlay, pathMtu } from './peers.js';
import { routes } from './routes.js';
import { restart, seeLog } from './service.js';
import { isOurs } from './traits.js';
import { tunnelPort } from './tunnel-port.js';

/**
 * What usually goes wrong with an overlay, one function each, in the order in which a packet would meet it. Each looks
 * at the host through `Host` only, so that a test can be any host.
 */
export type Check = (host: Facts) => Promise<Finding[]>;

export const permissions: Check = async (host) => {
  if (!host.isRoot) return [bad('permissions', 'not run as root: the checks below see little', 'run as root')];
  if (!mayTakeTun(host)) return [ok('permissions', 'root')];
  if (await host.exists('/dev/net/tun')) return [ok('permissions', 'root, and /dev/net/tun is there')];
  if (host.backend?.implementation === 'auto') {
    const isKernels = await makesLink(host, 'wireguard');
    if (isKernels) return [ok('permissions', "root; WireGuard is the kernel's, which needs no /dev/net/tun")];
    if (isKernels === undefined) {
      const detail = '"ip netns add" fails, and there is no /dev/net/tun for a WireGuard that is not the kernel\'s';
      return [unknown('permissions', detail, 'run as root, with iproute2 installed')];
    }
  }
  return [bad('permissions', '/dev/net/tun is missing', 'run "modprobe tun", or pass the device into the container')];
};

/** WireGuard's packets are the kernel's, or ours. */
const mayTakeTun = ({ backend }: Facts) =>
  backend === undefined ||
  backend.type === 'udp' ||
  (backend.type === 'wireguard' && backend.implementation !== 'kernel');

const subnetFile: Check = async (host) => {
  if (host.status === undefined) return [];
  const { subnet, subnetFile: path } = host.status.node;
  const text = await host.read(path);
  const written = /_SUBNET=(\S+)/.exec(text ?? '')?.[1];
  if (written === undefined) return [bad('subnet file', `${path} is missing or empty`, restart(host.service))];
  const { address, prefixLength } = subnetOf(subnet);
  const expected = `${formatIpv4(address + 1)}/${prefixLength}`;
  if (written !== expected) {
    const detail = `${path} says ${shorten(written, 40)}, the lease is ${subnet}`;
    return [bad('subnet file', detail, `${restart(host.service)}, then Docker`)];
  }
  const mtu = /_MTU=(\S+)/.exec(text ?? '')?.[1] ?? 'none';
  if (mtu !== String(host.status.device.mtu)) {
    const detail = `${path} says MTU ${shorten(mtu, 20)}, the overlay carries ${host.status.device.mtu}`;
    return [bad('subnet file', detail, `${restart(host.service)}, then Docker`)];
  }
  return [ok('subnet file', `${path} says ${expected} and MTU ${mtu}`)];
};

const reversePath: Check = async (host) => {
  if (host.status === undefined) return [];
  const { device, node, packetPath, backend } = host.status;
  // What comes by the kernel's own ways has sources that the same ways lead back to, ICMP errors too.
  const isKernels = packetPath === null;
  const dropped = isKernels ? undefined : 'ICMP errors of other hosts are dropped';
  const findings = [await reversePathOf(host, device.name, dropped)];
  if (!isKernels && backend.direct !== null) {
    // The way back is direct only when an echo over it has come back, which it does not on two such hosts.
    const held = 'two hosts where it is so do not reach each other without the tunnel';
    findings.push(await reversePathOf(host, node.interface, held));
  }
  return findings;
};

/** @param dropped what a strict one drops; undefined: nothing */
async function reversePathOf(host: Facts, name: string, dropped: string | undefined): Promise<Finding> {
  // The kernel takes the larger of the two (ip-sysctl.rst).
  const values = await Promise.all(['all', name].map((who) => host.read(`/proc/sys/net/ipv4/conf/${who}/rp_filter`)));
  if (values.includes(undefined)) return unknown('rp_filter', '/proc/sys cannot be read', 'run as root');
  const filter = Math.max(...values.map(Number));
  if (filter !== 1) return ok('rp_filter', `lets replies in through ${name}`);
  if (dropped === undefined) {
    return ok('rp_filter', `is strict on ${name}: what peers send comes by the way that leads to them`);
  }
  const remedy = `sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.${name}.rp_filter=2`;
  return warn('rp_filter', `is strict on ${name}: ${dropped}`, remedy);
}

/** Peers that the daemon does not send to. */
const peers: Check = async ({ status }) =>
  (status?.peers ?? []).flatMap((peer) =>
    peer.problem === null
      ? []
      : [
          skipped(status!)(
            'peers',
            `${peer.subnet} on ${nameOf(peer)} is skipped: ${peer.problem}`,
            skipRemedy(status!),
          ),
        ],
  );

/** A peer behind a router is none of host-gw's, and nothing is broken for it. */
const skipped = ({ backend }: Status) => (backend.type === 'host-gw' ? warn : bad);

const skipRemedy = ({ packetPath }: Status) =>
  packetPath === null
    ? 'mend what it says there; it is tried again when routes or leases change, and every two minutes'
    : "correct that node's --public-ip or the routes of this host";

/** Longer than a lost message or two: 5 s lie between two tries. */
const MOST_TRYING_SECONDS = 16;

/** Of a backend that encrypts: who does not answer a handshake. */
const sessions: Check = async ({ status }) => {
  if (!status?.backend.cipher) return [];
  const silent = status.peers.flatMap((peer) => {
    const { session, health } = peer;
    const seconds = session?.tryingSeconds ?? 0;
    const isTried = seconds >= MOST_TRYING_SECONDS;
    // With nothing to send, it was asked from time to time: three times.
    if (!isTried && !(health.state === 'silent' && session?.state !== 'up')) return [];
    const since = isTried ? `a handshake for ${Math.round(seconds)} s` : 'the last handshakes';
    const detail = `${nameOf(peer)} at ${session?.endpoint} has not answered ${since}`;
    const remedy =
      'is rudder running there, is its UDP port open, is Backend.PSK the same there, has the clock of this host gone back?';
    return [bad('handshake', detail, remedy)];
  });
  if (silent.length > 0) return silent;
  const up = status.peers.filter(({ session }) => session?.state === 'up').length;
  return [ok('handshake', `${counted(up, 'session')}, cipher ${status.backend.cipher}`)];
};

/** What the kernel holds for the peers, as the daemon has last looked. */
const entries: Check = async ({ status, service }) => {
  const kernel = status?.backend.kernel ?? null;
  if (kernel === null || kernel.present >= kernel.wanted) return [];
  const detail = `${kernel.present} of ${counted(kernel.wanted, 'entry', 'entries')} for the peers are in the kernel`;
  return [warn('kernel', detail, `they are written again within seconds; if it stays so, ${seeLog(service)}`)];
};

/** What this host asks for names must not depend on what it asks them for. */
const nameservers: Check = async (host) => {
  if (host.status === undefined) return [];
  const { status } = host;
  const inside = (await host.nameservers()).filter((address) => contains(subnetOf(status.node.network), address));
  const findings = await Promise.all(
    inside.map(async (address) => {
      const way = await wayTo(host, formatIpv4(address));
      if (way === undefined || !isOurs(status, way)) return [];
      const remedy = 'give it a more specific route of its own, or use another one';
      return [warn('name servers', `${formatIpv4(address)} is reached through the overlay only`, remedy)];
    }),
  );
  return findings.flat();
};

export const CHECKS: readonly Check[] = [
  permissions,
  kernel,
  settings,
  daemon,
  etcd,
  kubernetes,
  tunnelPort,
  subnetFile,
  forwarding,
  reversePath,
  checksums,
  firewall,
  routes,
  peers,
  sessions,
  entries,
  docker,
  podNetwork,
  bridgeFilter,
  containerWay,
  nameservers,
  pathMtu,
  overlay,
  clock,
];

/** Of `rudder netcheck`: whoever is not there, or not well, is named with the way to him. */
export const NETWORK_CHECKS: readonly Check[] = [
  settings,
  daemon,
  network.underlay,
  network.port,
  network.pathMtu,
  peers,
  firewall,
  containerWay,
  etcd,
  kubernetes,
  network.certificates,
  clock,
  network.asked,
];
