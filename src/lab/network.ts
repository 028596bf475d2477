import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { containerName, etcdAddress, type Member, namespaceOf, nodeAddress, nodeName, switchAddress } from './names.js';
import type { LabNode, LabState } from './state.js';

/** Namespaces, links and addresses. Links are made inside namespaces, so none ever shows on the host. */

/** Runs a command in a member's namespace and returns its output. Rejects with the output if it fails. */
export async function execIn(
  lab: LabState,
  member: Member,
  command: readonly string[],
  input?: string,
): Promise<string> {
  const namespace = namespaceOf(lab, member);
  const result = await execa('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
    input: input ?? '',
    reject: false,
    all: true,
  });
  if (result.exitCode === 0) return result.stdout;
  throw new RudderError('lab', `"${command.join(' ')}" failed in ${namespace}: ${result.all || result.shortMessage}`);
}

/** Runs many `ip` commands as one process. */
async function ipBatch(lab: LabState, member: Member, lines: readonly string[]): Promise<void> {
  await execIn(lab, member, ['ip', '-batch', '-'], `${lines.join('\n')}\n`);
}

/** `ip` outside of any namespace, only ever to create and delete those. */
async function ip(...args: string[]): Promise<void> {
  const result = await execa('ip', args, { reject: false, all: true });
  if (result.exitCode !== 0) throw new RudderError('lab', `"ip ${args.join(' ')}" failed: ${result.all}`);
}

async function addNamespace(lab: LabState, member: Member, forwarding: boolean): Promise<void> {
  await ip('netns', 'add', namespaceOf(lab, member));
  await ipBatch(lab, member, ['link set lo up']);
  if (forwarding) await execIn(lab, member, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']); // as Docker does
}

/** The bridge that stands for the data centre's network, and the namespace of etcd. */
export async function createSwitch(lab: LabState): Promise<void> {
  await addNamespace(lab, 'switch', false);
  await ipBatch(lab, 'switch', [
    'link add br0 type bridge',
    `address add ${switchAddress(lab)}/24 dev br0`,
    'link set br0 up',
  ]);
  await addNamespace(lab, 'etcd', false);
  await plugIn(lab, 'etcd', etcdAddress(lab));
}

export async function createNodeNetwork(lab: LabState, node: LabNode): Promise<void> {
  await addNamespace(lab, nodeName(node), true);
  await plugIn(lab, nodeName(node), nodeAddress(lab, node));
}

async function plugIn(lab: LabState, member: Member, address: string): Promise<void> {
  await ipBatch(lab, 'switch', [
    `link add port-${member} type veth peer name eth0 netns ${namespaceOf(lab, member)}`,
    `link set port-${member} master br0 up`,
  ]);
  await ipBatch(lab, member, [
    `address add ${address}/24 dev eth0`,
    'link set eth0 up',
    `route add default via ${switchAddress(lab)}`,
  ]);
}

/** The veth underlay: two nodes face each other. */
export async function createFacingNodes(lab: LabState, first: LabNode, second: LabNode): Promise<void> {
  await addNamespace(lab, nodeName(first), true);
  await addNamespace(lab, nodeName(second), true);
  const peer = namespaceOf(lab, nodeName(second));
  await ipBatch(lab, nodeName(first), [`link add eth0 type veth peer name eth0 netns ${peer}`]);
  for (const node of [first, second]) {
    await ipBatch(lab, nodeName(node), [
      `address add ${nodeAddress(lab, node)}/24 dev eth0`,
      'link set eth0 up',
      'route add default dev eth0',
    ]);
  }
}

/**
 * A container as Docker makes one: a bridge docker0 with `--bip` and `--mtu` out of subnet.env, and a namespace
 * behind it. What an earlier run left is adapted.
 * @param bip such as `10.240.26.1/24`
 */
export async function createContainer(lab: LabState, node: LabNode, bip: string, mtu: number): Promise<void> {
  await removeContainer(lab, node);
  const container = containerName(node);
  const gateway = bip.split('/')[0];
  await addNamespace(lab, container, false);
  await ipBatch(lab, nodeName(node), [
    'link add docker0 type bridge',
    `address add ${bip} dev docker0`,
    `link add veth-${container} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${namespaceOf(lab, container)}`,
    `link set veth-${container} master docker0 up`,
    `link set docker0 mtu ${mtu} up`,
  ]);
  await ipBatch(lab, container, [
    `address add ${containerAddress(bip)}/${bip.split('/')[1]} dev eth0`,
    'link set eth0 up',
    `route add default via ${gateway}`,
  ]);
}

/** The address behind the gateway's: 10.240.26.2. */
export function containerAddress(bip: string): string {
  const [address] = bip.split('/');
  return address.replace(/\d+$/, (last) => String(Number(last) + 1));
}

export async function removeContainer(lab: LabState, node: LabNode): Promise<void> {
  await execIn(lab, nodeName(node), ['ip', 'link', 'delete', 'docker0']).catch(() => undefined);
  await removeNamespace(lab, containerName(node));
}

/** Cuts a member off the underlay, or joins it again. */
export async function setConnected(lab: LabState, member: Member, connected: boolean): Promise<void> {
  const state = connected ? 'up' : 'down';
  if (lab.underlay === 'bridge') await ipBatch(lab, 'switch', [`link set port-${member} ${state}`]);
  else {
    // The default route goes with the link and has to be put back.
    const lines = connected ? ['link set eth0 up', 'route replace default dev eth0'] : ['link set eth0 down'];
    await ipBatch(lab, member, lines);
  }
}

/** Whether the link that `setConnected` takes down is up. */
export async function isConnected(lab: LabState, member: Member): Promise<boolean> {
  const isBridge = lab.underlay === 'bridge';
  // With the veth underlay etcd has no link of its own.
  const [place, link] = isBridge ? ['switch', `port-${member}`] : [member === 'etcd' ? 'n1' : member, 'eth0'];
  const [found] = JSON.parse(await execIn(lab, place, ['ip', '-json', 'link', 'show', 'dev', link])) as {
    flags: string[];
  }[];
  return found.flags.includes('UP');
}

/** Every namespace of the lab, whether or not its state file knows it. */
export async function removeAllNamespaces(lab: Pick<LabState, 'name'>): Promise<void> {
  const { stdout } = await execa('ip', ['netns', 'list'], { reject: false });
  const names = stdout.split('\n').map((line) => line.split(' ')[0]);
  for (const name of names.filter((candidate) => candidate.startsWith(`rudder-${lab.name}-`))) {
    if (/^(switch|etcd|[nc]\d+)$/.test(name.slice(`rudder-${lab.name}-`.length))) await deleteNamespace(name);
  }
}

/** A process left inside would keep the namespace and its devices alive, nameless. */
async function deleteNamespace(name: string): Promise<void> {
  const { stdout } = await execa('ip', ['netns', 'pids', name], { reject: false });
  for (const pid of stdout.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  await ip('netns', 'delete', name);
}

async function removeNamespace(lab: LabState, member: Member): Promise<void> {
  const name = namespaceOf(lab, member);
  const { stdout } = await execa('ip', ['netns', 'list'], { reject: false });
  if (stdout.split('\n').some((line) => line.split(' ')[0] === name)) await deleteNamespace(name);
}
