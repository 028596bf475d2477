import { answeringAddress } from '../../backend/kinds.js';
import { parseIpv4, parseSubnet } from '../../core/address-text.js';
import { formatIpv4 } from '../../core/ipv4.js';
import { contains, maskOf, type Subnet } from '../../core/subnet.js';
import type { Status } from '../../ops/status.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding, Host } from './host.js';
import { type Answers, isLossless, LOSS_REMEDY, lossOf, ping } from './ping.js';

/** Of a text that was checked. */
export const subnetOf = (text: string): Subnet => parseSubnet(text)!;

/** The interface that containers of our subnet are behind, and its own address. */
interface Bridge {
  readonly name: string;
  readonly address: string;
}

export function findBridge({ links }: Facts, status: Status): Bridge | undefined {
  const own = subnetOf(status.node.subnet);
  for (const { ifname, addr_info } of links) {
    if (ifname === status.device.name) continue;
    const inside = addr_info.find(({ local }) => contains(own, parseIpv4(local) ?? 0));
    if (inside !== undefined) return { name: ifname, address: inside.local };
  }
  return undefined;
}

const firstPeer = ({ peers }: Status) => peers.find(({ problem, reserved }) => problem === null && !reserved);

/** An address of the peer's host inside the overlay; undefined: it has none that is known. */
export function addressOn({ backend }: Status, subnet: string): string | undefined {
  const address = answeringAddress(backend.type, subnetOf(subnet));
  return address === undefined ? undefined : formatIpv4(address);
}

/** Far from where Docker and CNI plugins begin to count. */
export const lastAddressOf = ({ address, prefixLength }: Subnet) => formatIpv4((address | ~maskOf(prefixLength)) - 1);

/**
 * A container for a moment: a namespace behind the bridge, which asks a peer. Nothing else shows whether forwarded packets
 * pass everybody's rules, both ways.
 */
export async function containerWay(host: Facts): Promise<Finding[]> {
  const { status } = host;
  const peer = status && firstPeer(status);
  if (status === undefined || peer === undefined) return [];
  const to = addressOn(status, peer.subnet);
  const bridge = findBridge(host, status);
  // Then there is no container of the overlay's whose packet could be tried.
  if (bridge === undefined || to === undefined) return [];
  const answer = await tryAsContainer(host, status, bridge, to);
  if (typeof answer !== 'string') return [ofAnswers(answer, to)];
  if (answer === 'in use') {
    const why = `the address ${lastAddressOf(subnetOf(status.node.subnet))}, which it would take, is in use`;
    return [unknown('container way', why, 'try again when no container has that address')];
  }
  if (answer !== 'lost') return [unknown('container way', answer, 'run as root, with iproute2 installed')];
  // A peer that does not answer this host either is told elsewhere.
  if ((await ping(host, to)) === undefined) return [];
  const suspects = await host.suspects();
  const by = suspects.length === 0 ? '' : `; rules of others that may be why: ${suspects.join(', ')}`;
  return [
    bad(
      'container way',
      `${to} answers this host, but not a container behind ${bridge.name}${by}`,
      `let them accept and not translate what goes between ${status.node.subnet} and ${status.node.network} through ${status.device.name}: docs/firewalls.md`,
    ),
  ];
}

function ofAnswers(answers: Answers, to: string): Finding {
  if (isLossless(answers)) return ok('container way', `a container's packets reach ${to}, and its answers come back`);
  return warn('container way', `of a container's packets to ${to} ${lossOf(answers)}`, LOSS_REMEDY);
}

/** @returns `lost`, `in use`, or which step could not be made */
async function tryAsContainer(host: Host, status: Status, bridge: Bridge, to: string): Promise<Answers | string> {
  const own = subnetOf(status.node.subnet);
  const address = lastAddressOf(own);
  if ((await ping(host, address, { count: 1 })) !== undefined) return 'in use';
  const name = `rudder-doctor-${process.pid}`;
  const link = `rdoctor${process.pid}`;
  const mtu = String(status.device.mtu);
  // A bridge takes its lowest port's address for its own, and its least port's MTU.
  const port = ['address', 'fe:ff:ff:ff:ff:fe', 'mtu', mtu];
  const steps = [
    ['netns', 'add', name],
    ['link', 'add', link, ...port, 'type', 'veth', 'peer', 'name', 'eth0', 'mtu', mtu, 'netns', name],
    ['link', 'set', link, 'master', bridge.name, 'up'],
    ['-n', name, 'address', 'add', `${address}/${own.prefixLength}`, 'dev', 'eth0'],
    ['-n', name, 'link', 'set', 'eth0', 'up'],
    ['-n', name, 'route', 'add', 'default', 'via', bridge.address],
  ];
  try {
    for (const step of steps) {
      if (!(await host.succeeds('ip', step))) return `"ip ${step.join(' ')}" fails`;
    }
    return (await ping(host, to, { netns: name })) ?? 'lost';
  } finally {
    await host.succeeds('ip', ['netns', 'delete', name]);
    await host.succeeds('ip', ['link', 'delete', link]);
  }
}
