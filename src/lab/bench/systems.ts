import { nodeAddress, nodeName } from '../names.js';
import { execIn } from '../network.js';
import { launchNode, readSubnetEnv, stopNode, waitUntilReady } from '../nodes.js';
import type { LabNode, LabState } from '../state.js';
import { waitFor } from '../wait-for.js';

/**
 * What is compared, all between the same two hosts and the same two containers. Each system has addresses of its own,
 * so that the address a measurement uses decides which one carries it:
 *
 *     system          host to host        container to container
 *     veth            172.30.x.0/24       10.50.N.0/24, routed by the hosts, no overlay
 *     vxlan           10.77.0.0/24        10.51.N.0/24, routed over the kernel's VXLAN device, inner MTU 1450
 *     rudder, plain   10.240.x.0          10.240.x.0/24, over rudder0; plain: all offloads off
 */
export const SYSTEMS = ['veth', 'vxlan', 'plain', 'rudder'] as const;
export type System = (typeof SYSTEMS)[number];

export type Place = 'host' | 'container';

/** Where a measurement runs, and between which addresses. */
export interface Route {
  readonly client: string;
  readonly server: string;
  readonly source: string;
  readonly target: string;
}

const VXLAN_MTU = 1450;

/** Gives hosts and containers the addresses and routes of veth and VXLAN. */
export async function prepareSystems(lab: LabState): Promise<void> {
  const [first, second] = lab.nodes;
  for (const [node, peer] of [
    [first, second],
    [second, first],
  ]) {
    const [i, j] = [node.number, peer.number];
    const gateway = readSubnetEnv(lab, node).RUDDER_SUBNET.split('/')[0];
    const own = nodeAddress(lab, node);
    const other = nodeAddress(lab, peer);
    await script(lab, nodeName(node), [
      `ip link add vx0 type vxlan id 7 local ${own} remote ${other} dstport 4789 dev eth0`,
      `ip address add 10.77.0.${i}/24 dev vx0`,
      `ip link set vx0 mtu ${VXLAN_MTU} up`,
      `ip address add 10.50.${i}.1/24 dev docker0`,
      `ip address add 10.51.${i}.1/24 dev docker0`,
      `ip route add 10.50.${j}.0/24 via ${other}`,
      `ip route add 10.51.${j}.0/24 via 10.77.0.${j}`,
    ]);
    await script(lab, `c${i}`, [
      `ip address add 10.50.${i}.2/24 dev eth0`,
      `ip address add 10.51.${i}.2/24 dev eth0`,
      // Docker would give a container the MTU of its network; here the route does.
      `ip route add 10.51.${j}.0/24 via ${gateway} mtu ${VXLAN_MTU}`,
    ]);
  }
}

export function routeOf(lab: LabState, system: System, place: Place): Route {
  const [client, server] = lab.nodes;
  const [c, s] = place === 'host' ? [nodeName(client), nodeName(server)] : [`c${client.number}`, `c${server.number}`];
  return {
    client: c,
    server: s,
    source: addressOf(lab, system, place, client),
    target: addressOf(lab, system, place, server),
  };
}

function addressOf(lab: LabState, system: System, place: Place, node: LabNode): string {
  if (system === 'veth') return place === 'host' ? nodeAddress(lab, node) : `10.50.${node.number}.2`;
  if (system === 'vxlan') return place === 'host' ? `10.77.0.${node.number}` : `10.51.${node.number}.2`;
  const subnet = readSubnetEnv(lab, node).RUDDER_SUBNET;
  return subnet.replace(/\.1\/\d+$/, place === 'host' ? '.0' : '.2');
}

/** Starts the daemons as the system wants them; veth and VXLAN run without, so that nothing else uses the CPU. */
export async function switchTo(lab: LabState, system: System, extra: readonly string[]): Promise<void> {
  for (const node of lab.nodes) await stopNode(lab, node);
  if (system === 'veth' || system === 'vxlan') return;
  const options = system === 'plain' ? ['--disable-offload=all'] : extra;
  for (const node of lab.nodes) await launchNode(lab, node, options);
  for (const node of lab.nodes) await waitUntilReady(lab, node);
  const { client, target } = routeOf(lab, system, 'container');
  await waitFor(
    'the overlay to carry packets',
    () => execIn(lab, client, ['ping', '-c', '1', '-W', '1', target]),
    10_000,
  );
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
