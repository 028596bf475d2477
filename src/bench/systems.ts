import { etcdctl } from '../lab/etcd.js';
import { nodeAddress, nodeName } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { launchNode, readSubnetEnv, stopNode, waitUntilReady } from '../lab/nodes.js';
import type { LabNode, LabState } from '../lab/state.js';
import { waitFor } from '../lab/wait-for.js';
import { NEBULA_MTU } from './nebula.js';
import {
  BARE_MTU,
  flannelSubnet,
  type Peers,
  startBare,
  startFlannel,
  startNebula,
  startWireguard,
  stopPeers,
  WIREGUARD_MTU,
} from './peers.js';

/**
 * What is compared, all between the same two hosts and the same two containers. Each system has addresses of its own,
 * so that the address a measurement uses decides which one carries it (i: number of the node):
 *
 *     system          host            container
 *     veth            172.30.x.1i     10.50.i.2       routed by the hosts, no overlay
 *     vxlan           10.77.0.i       10.51.i.2       over the kernel's VXLAN device, inner MTU 1450
 *     plain, rudder   10.240.x.0      10.240.x.2      over rudder0, or another backend; plain: all offloads off
 *     unencrypted     10.240.x.0      10.240.x.2      over rudder0, with the backend udp whatever that of rudder is
 *     wireguard-go    10.78.0.i       10.52.i.2       over its TUN device, inner MTU 1420
 *     nebula          10.80.0.i       10.55.i.2       over its TUN device, inner MTU 1440
 *     flanneld        10.53.x.0       10.53.x.2       over flannel0, udp backend
 *     bare            10.79.0.i       10.54.i.2       over bare0: only the system calls of a tunnel, see bare.c
 */
const BUILT_IN = ['veth', 'vxlan', 'plain', 'rudder'] as const;
export type System = (typeof BUILT_IN)[number] | 'unencrypted' | keyof Peers;

/** Those of Rudder's backends that are measured. Only udp is also measured without its offloads. */
const BACKEND_CONFIGS = {
  udp: { Type: 'udp' },
  // What is measured is ours, also where the kernel has WireGuard.
  wireguard: { Type: 'wireguard', Implementation: 'user' },
  vxlan: { Type: 'vxlan' },
  'host-gw': { Type: 'host-gw' },
  'udp-direct': { Type: 'udp', DirectRouting: true },
  'vxlan-direct': { Type: 'vxlan', DirectRouting: true },
} as const;
export type BackendName = keyof typeof BACKEND_CONFIGS;
export const BACKENDS = Object.keys(BACKEND_CONFIGS) as BackendName[];

export const configOf = (backend: BackendName): string =>
  JSON.stringify({ Network: '10.240.0.0/16', Backend: BACKEND_CONFIGS[backend] });

/** With DirectRouting of udp a peer gets its route when an echo has come back over it. */
export async function untilDirect(lab: LabState, backend: BackendName): Promise<void> {
  if (!backend.endsWith('-direct')) return;
  for (const [node, peer] of bothWays(lab.nodes)) {
    const ask = ['ip', 'route', 'get', addressOf(lab, 'rudder', 'host', peer)];
    const isDirect = async () => (await execIn(lab, nodeName(node), ask)).includes('dev eth0');
    await waitFor(`${nodeName(node)} to reach ${nodeName(peer)} directly`, isDirect, DIRECT_DEADLINE_MS);
  }
}

export function systemsWith(peers: Peers, backend: BackendName): System[] {
  const builtIn = BUILT_IN.filter((system) => system !== 'plain' || backend === 'udp');
  return [...builtIn, ...(Object.keys(peers) as (keyof Peers)[])];
}

/** Tunnels that encrypt, and what Rudder is without that. */
export function sealedSystems(peers: Peers): System[] {
  return ['rudder', 'unencrypted', ...(Object.keys(peers) as (keyof Peers)[])];
}

export type Place = 'host' | 'container';

/** Where a measurement runs, and between which addresses. */
export interface Route {
  readonly client: string;
  readonly server: string;
  readonly source: string;
  readonly target: string;
}

const VXLAN_MTU = 1450;
const DIRECT_DEADLINE_MS = 30_000;

/** Systems whose addresses are fixed: the net of their containers, and where their hosts are. */
const FIXED = {
  veth: { container: '10.50', host: (lab: LabState, node: LabNode) => nodeAddress(lab, node) },
  vxlan: { container: '10.51', host: (_: LabState, node: LabNode) => `10.77.0.${node.number}` },
  'wireguard-go': { container: '10.52', host: (_: LabState, node: LabNode) => `10.78.0.${node.number}` },
  nebula: { container: '10.55', host: (_: LabState, node: LabNode) => `10.80.0.${node.number}` },
  bare: { container: '10.54', host: (_: LabState, node: LabNode) => `10.79.0.${node.number}` },
} as const;

const NETS = Object.values(FIXED).map(({ container }) => container);

/** Two hosts, each as the other's peer. */
const bothWays = ([one, other]: readonly LabNode[]) =>
  [
    [one, other],
    [other, one],
  ] as const;

/** Gives hosts and containers the addresses and routes of veth and VXLAN, and containers those of the others. */
export async function prepareSystems(lab: LabState, backend: BackendName): Promise<void> {
  await addPlainVxlan(lab, lab.nodes);
  for (const [node, peer] of bothWays(lab.nodes)) {
    const [i, j] = [node.number, peer.number];
    const gateway = readSubnetEnv(lab, node).RUDDER_SUBNET.split('/')[0];
    await script(lab, nodeName(node), [
      ...NETS.map((net) => `ip address add ${net}.${i}.1/24 dev docker0`),
      // Without a tunnel no device has the first address of the subnet, by which hosts are measured.
      ...(backend === 'host-gw' ? [`ip address add ${gateway.replace(/1$/, '0')}/32 dev lo`] : []),
      `ip route add 10.50.${j}.0/24 via ${nodeAddress(lab, peer)}`,
      `ip route add 10.51.${j}.0/24 via ${addressOf(lab, 'vxlan', 'host', peer)}`,
    ]);
    await script(lab, `c${i}`, [
      ...NETS.map((net) => `ip address add ${net}.${i}.2/24 dev eth0`),
      // Docker would give a container the MTU of its network; here the route does.
      `ip route add 10.51.${j}.0/24 via ${gateway} mtu ${VXLAN_MTU}`,
      `ip route add 10.52.${j}.0/24 via ${gateway} mtu ${WIREGUARD_MTU}`,
      `ip route add 10.54.${j}.0/24 via ${gateway} mtu ${BARE_MTU}`,
      `ip route add 10.55.${j}.0/24 via ${gateway} mtu ${NEBULA_MTU}`,
    ]);
  }
}

/** The kernel's VXLAN between two hosts, as one makes it by hand. */
export async function addPlainVxlan(lab: LabState, hosts: readonly LabNode[]): Promise<void> {
  for (const [node, peer] of bothWays(hosts)) {
    const [own, other] = [nodeAddress(lab, node), nodeAddress(lab, peer)];
    await script(lab, nodeName(node), [
      `ip link add vx0 type vxlan id 7 local ${own} remote ${other} dstport 4789 dev eth0`,
      `ip address add ${addressOf(lab, 'vxlan', 'host', node)}/24 dev vx0`,
      `ip link set vx0 mtu ${VXLAN_MTU} up`,
    ]);
  }
}

/** @param hosts between which of them, or their containers */
export function routeOf(lab: LabState, system: System, place: Place, hosts: readonly LabNode[] = lab.nodes): Route {
  const [client, server] = hosts;
  const [c, s] = place === 'host' ? [nodeName(client), nodeName(server)] : [`c${client.number}`, `c${server.number}`];
  return {
    client: c,
    server: s,
    source: addressOf(lab, system, place, client),
    target: addressOf(lab, system, place, server),
  };
}

function addressOf(lab: LabState, system: System, place: Place, node: LabNode): string {
  if (system in FIXED) {
    const { container, host } = FIXED[system as keyof typeof FIXED];
    return place === 'host' ? host(lab, node) : `${container}.${node.number}.2`;
  }
  const own = system === 'flanneld' ? flannelSubnet(lab, node) : readSubnetEnv(lab, node).RUDDER_SUBNET;
  return own.replace(/\.\d+(\/\d+)?$/, place === 'host' ? '.0' : '.2');
}

/** How systems are started. */
export interface Setup {
  readonly peers: Peers;
  readonly backend: BackendName;
  /** More arguments for the daemons of `rudder`. */
  readonly daemonArguments: readonly string[];
}

/**
 * Starts what the system needs and ends what the last one needed, so that nothing else uses the CPU.
 * @returns the pids of its daemons; none where the kernel does the work
 */
export async function switchTo(lab: LabState, system: System, setup: Setup): Promise<readonly number[]> {
  for (const node of lab.nodes) await stopNode(lab, node);
  await stopPeers(lab);
  const pids = await start(lab, system, setup);
  const { client, source, target } = routeOf(lab, system, 'container');
  const ping = ['ping', '-c', '1', '-W', '1', '-I', source, target];
  await waitFor(`${system} to carry packets`, () => execIn(lab, client, ping), 20_000);
  return pids;
}

async function start(lab: LabState, system: System, { peers, backend, daemonArguments }: Setup): Promise<number[]> {
  if (system === 'wireguard-go') return startWireguard(lab, peers['wireguard-go']!);
  if (system === 'nebula') return startNebula(lab, peers.nebula!);
  if (system === 'flanneld') return startFlannel(lab, peers.flanneld!);
  if (system === 'bare') return startBare(lab, peers.bare!);
  if (system === 'veth' || system === 'vxlan') return [];
  const options = system === 'plain' ? ['--disable-offload=all'] : daemonArguments;
  await etcdctl(lab, 'put', '/coreos.com/network/config', configOf(system === 'unencrypted' ? 'udp' : backend));
  for (const node of lab.nodes) await launchNode(lab, node, options);
  for (const node of lab.nodes) await waitUntilReady(lab, node);
  if (system !== 'unencrypted') await untilDirect(lab, backend);
  return lab.nodes.map((node) => node.process!.pid);
}

export type UnderlayMode = 'whole' | 'segmented';

/**
 * whole: veth passes super-packets on as they are, which no wire does. segmented: every packet crosses by itself, as on
 * a network card without offloads, and the receiving side may put neighbours together again (GRO).
 */
export async function setUnderlay(lab: LabState, mode: UnderlayMode): Promise<void> {
  const [segmentation, gro] = mode === 'whole' ? ['on', 'off'] : ['off', 'on'];
  for (const node of lab.nodes) {
    const features = ['tso', segmentation, 'tx-udp-segmentation', segmentation, 'gro', gro];
    await execIn(lab, nodeName(node), ['ethtool', '-K', 'eth0', ...features]);
  }
}

async function script(lab: LabState, member: string, lines: readonly string[]): Promise<void> {
  await execIn(lab, member, ['sh', '-e'], `${lines.join('\n')}\n`);
}
