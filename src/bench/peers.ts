import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { etcdctl } from '../lab/etcd.js';
import { etcdUrl, namespaceOf, nodeAddress, nodeName } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../lab/state.js';
import { waitFor } from '../lab/wait-for.js';
import { nebulaDevice, prepareNebula } from './nebula.js';

/**
 * Other user-space tunnels, measured beside Rudder if the user asks for them. Values: paths of their binaries. bare is our
 * own, see bare.c: what it cannot do faster, no tunnel that makes the same system calls can.
 */
export interface Peers {
  'wireguard-go'?: string;
  flanneld?: string;
  nebula?: string;
  bare?: string;
}

export const BARE_SOURCE = fileURLToPath(new URL('../../src/bench/bare.c', import.meta.url));

/** Underlay 1500 less 80, as its authors recommend. */
export const WIREGUARD_MTU = 1420;
const WIREGUARD_PORT = 51820;
/** Underlay 1500 less what UDP in IPv4 takes, as Rudder's. */
export const BARE_MTU = 1472;
const BARE_DEVICE = 'bare0';
const BARE_PORT = '8290';
const BARE_QUEUE_LENGTH = 1000;
const FLANNEL_PREFIX = '/bench/flannel';
const FLANNEL_CONFIG = '{"Network":"10.53.0.0/16","Backend":{"Type":"udp","Port":8285}}';
const START_DEADLINE_MS = 15_000;

const running: LabProcess[] = [];

export async function stopPeers(lab: LabState): Promise<void> {
  await Promise.all(running.splice(0).map((process) => endProcess(process, 5000)));
  // flanneld leaves nothing that would matter; its device goes with its descriptor.
  for (const node of lab.nodes)
    await execIn(lab, nodeName(node), ['ip', 'link', 'delete', wireguardDevice(node)]).catch(() => undefined);
}

const logOf = (lab: LabState, node: LabNode, binary: string) =>
  `${labDirectory(lab.name)}/${nodeName(node)}-${binary.split('/').at(-1)}.log`;

async function startDaemon(lab: LabState, node: LabNode, command: string[], env = {}): Promise<LabProcess> {
  const daemon = await spawnInNamespace(namespaceOf(lab, nodeName(node)), command, logOf(lab, node, command[0]), env);
  running.push(daemon);
  return daemon;
}

/** Names differ, since the control sockets in /run/wireguard are named after them. */
const wireguardDevice = (node: LabNode) => `wg${node.number}`;

/** Each node the other's peer; routes as the kernel's WireGuard would have them. */
export async function startWireguard(lab: LabState, binary: string): Promise<number[]> {
  const daemons: LabProcess[] = [];
  const keys = await Promise.all(lab.nodes.map(() => wg(['genkey'])));
  const publicKeys = await Promise.all(keys.map((key) => wg(['pubkey'], key)));
  for (const [index, node] of lab.nodes.entries()) {
    const peer = lab.nodes[1 - index];
    const [i, j] = [node.number, peer.number];
    const device = wireguardDevice(node);
    const env = { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' };
    daemons.push(await startDaemon(lab, node, [binary, device], env));
    const member = nodeName(node);
    await waitFor(device, () => execIn(lab, member, ['ip', 'link', 'show', device]), START_DEADLINE_MS);
    const file = `${labDirectory(lab.name)}/${member}-wg.conf`;
    const settings = `[Interface]
PrivateKey = ${keys[index]}
ListenPort = ${WIREGUARD_PORT}
[Peer]
PublicKey = ${publicKeys[1 - index]}
AllowedIPs = 10.78.0.${j}/32, 10.52.${j}.0/24
Endpoint = ${nodeAddress(lab, peer)}:${WIREGUARD_PORT}
`;
    writeFileSync(file, settings, { mode: 0o600 });
    await execIn(lab, member, ['wg', 'setconf', device, file]);
    await execIn(lab, member, ['ip', 'address', 'add', `10.78.0.${i}/24`, 'dev', device]);
    await execIn(lab, member, ['ip', 'link', 'set', device, 'mtu', `${WIREGUARD_MTU}`, 'up']);
    await execIn(lab, member, ['ip', 'route', 'add', `10.52.${j}.0/24`, 'dev', device]);
  }
  return daemons.map(({ pid }) => pid);
}

async function wg(command: string[], input = ''): Promise<string> {
  const result = await execa('wg', command, { input, reject: false });
  if (result.exitCode === 0) return result.stdout;
  throw new RudderError(
    'lab',
    `"wg ${command[0]}" failed: ${result.shortMessage}; --wireguard-go needs wireguard-tools`,
  );
}

export async function startNebula(lab: LabState, binary: string): Promise<number[]> {
  const daemons: LabProcess[] = [];
  const files = await prepareNebula(lab, binary);
  for (const [index, node] of lab.nodes.entries()) {
    daemons.push(await startDaemon(lab, node, [binary, '-config', files[index]]));
    const device = nebulaDevice(node);
    await waitFor(device, () => execIn(lab, nodeName(node), ['ip', 'link', 'show', device, 'up']), START_DEADLINE_MS);
  }
  return daemons.map(({ pid }) => pid);
}

export async function startBare(lab: LabState, program: string): Promise<number[]> {
  const daemons: LabProcess[] = [];
  for (const [index, node] of lab.nodes.entries()) {
    const peer = lab.nodes[1 - index];
    const [i, j] = [node.number, peer.number];
    const addresses = [nodeAddress(lab, node), nodeAddress(lab, peer)];
    daemons.push(await startDaemon(lab, node, [program, BARE_DEVICE, ...addresses, BARE_PORT]));
    const ip = (...command: string[]) => execIn(lab, nodeName(node), ['ip', ...command]);
    await waitFor(BARE_DEVICE, () => ip('link', 'show', BARE_DEVICE), START_DEADLINE_MS);
    await ip('address', 'add', `10.79.0.${i}/24`, 'dev', BARE_DEVICE);
    await ip('link', 'set', BARE_DEVICE, 'mtu', `${BARE_MTU}`, 'txqueuelen', `${BARE_QUEUE_LENGTH}`, 'up');
    await ip('route', 'add', `10.54.${j}.0/24`, 'dev', BARE_DEVICE);
  }
  return daemons.map(({ pid }) => pid);
}

/** A network of its own in the same etcd; the container gets a second address from the subnet that flanneld leased. */
export async function startFlannel(lab: LabState, binary: string): Promise<number[]> {
  const daemons: LabProcess[] = [];
  await etcdctl(lab, 'put', `${FLANNEL_PREFIX}/config`, FLANNEL_CONFIG);
  for (const node of lab.nodes) {
    const options = [
      `-etcd-endpoints=${etcdUrl(lab)}`,
      `-etcd-prefix=${FLANNEL_PREFIX}`,
      '-iface=eth0',
      `-subnet-file=${flannelFile(lab, node)}`,
    ];
    daemons.push(await startDaemon(lab, node, [binary, ...options]));
    const subnet = await waitFor('flanneld to lease a subnet', () => flannelSubnet(lab, node), START_DEADLINE_MS);
    const address = (host: number) => subnet.replace(/\.\d+$/, `.${host}/24`);
    await execIn(lab, nodeName(node), ['ip', 'address', 'replace', address(1), 'dev', 'docker0']);
    await execIn(lab, `c${node.number}`, ['ip', 'address', 'replace', address(2), 'dev', 'eth0']);
  }
  await waitFor('flanneld to know its peer', () => repeatLeases(lab), START_DEADLINE_MS);
  return daemons.map(({ pid }) => pid);
}

/**
 * Writes the leases once more, as they are, and looks whether packets flow. flanneld has no watch between one answer of
 * etcd and its next request, and reads only the first event of an answer: what comes meanwhile is lost on it.
 */
async function repeatLeases(lab: LabState): Promise<string> {
  const [from, to] = lab.nodes.map((node) => flannelSubnet(lab, node));
  for (const subnet of [from, to]) {
    const key = `${FLANNEL_PREFIX}/subnets/${subnet.replace(/\.\d+$/, '.0-24')}`;
    await etcdctl(lab, 'put', '--ignore-value', '--ignore-lease', key);
  }
  return execIn(lab, nodeName(lab.nodes[0]), ['ping', '-c', '1', '-W', '1', '-I', from, to]);
}

const flannelFile = (lab: LabState, node: LabNode) => `${labDirectory(lab.name)}/${nodeName(node)}-flannel.env`;

/** Such as 10.53.17.1. */
export function flannelSubnet(lab: LabState, node: LabNode): string {
  const subnet = /FLANNEL_SUBNET=([\d.]+)\/24/.exec(readFileSync(flannelFile(lab, node), 'utf8'))?.[1];
  if (subnet === undefined) throw new RudderError('lab', `${flannelFile(lab, node)} names no /24`);
  return subnet;
}
