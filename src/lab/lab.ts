import { counted } from '../core/counted.js';
import { RudderError } from '../core/errors.js';
import { etcdctl, startEtcd, stopEtcd } from './etcd.js';
import { type Action, containerName, MAX_NODES, nodeName } from './names.js';
import {
  containerAddress,
  createFacingNodes,
  createNodeNetwork,
  createSwitch,
  removeAllNamespaces,
  setConnected,
} from './network.js';
import { addContainer, findNode, launchNode, readSubnetEnv, startNode, stopNode, waitUntilReady } from './nodes.js';
import { endProcess, isRunning, signalProcess } from './process.js';
import {
  checkLabName,
  createLabDirectory,
  type DaemonSettings,
  forgetLab,
  type LabNode,
  type LabState,
  listLabs,
  loadLab,
  saveLab,
  type Underlay,
} from './state.js';

export interface LabOptions {
  readonly name: string;
  readonly nodes: number;
  readonly underlay?: Underlay;
  /** The network config's JSON; undefined creates none. */
  readonly config?: string | undefined;
  readonly daemon?: Partial<DaemonSettings>;
  /** Told before each step. */
  readonly progress?: (step: string) => void;
}

/** Short, so that a dead node is noticed while somebody watches. */
export const DEFAULT_LEASE_TTL = '10s';
export const DEFAULT_CONFIG = '{"Network":"10.240.0.0/16"}';

/** Makes the namespaces and starts etcd; no daemon yet. */
export async function createLab(options: LabOptions): Promise<LabState> {
  checkOptions(options);
  const { underlay = 'bridge', progress = () => undefined } = options;
  const daemon = { leaseTtl: DEFAULT_LEASE_TTL, arguments: [], nodeArguments: [], env: {}, ...options.daemon };
  const lab: LabState = { name: options.name, underlay, daemon, nodes: [] };
  for (let number = 1; number <= options.nodes; number++) lab.nodes.push({ number, logOffset: 0, hasContainer: false });
  createLabDirectory(lab.name);
  saveLab(lab);
  progress('network');
  if (underlay === 'veth') await createFacingNodes(lab, lab.nodes[0], lab.nodes[1]);
  else {
    await createSwitch(lab);
    for (const node of lab.nodes) await createNodeNetwork(lab, node);
  }
  progress('etcd');
  await startEtcd(lab);
  if (options.config !== undefined) await etcdctl(lab, 'put', '/coreos.com/network/config', options.config);
  return lab;
}

function checkOptions({ name, nodes, underlay }: LabOptions): void {
  checkLabName(name);
  if (process.getuid?.() !== 0) throw new RudderError('lab', 'the lab makes network namespaces: run it as root');
  if (listLabs().includes(name)) {
    throw new RudderError('lab', `lab "${name}" is up already: stop it with "rudder lab down --name ${name}"`);
  }
  if (nodes < 0 || nodes > MAX_NODES)
    throw new RudderError('usage', `${counted(nodes, 'node')}: expected 0 to ${MAX_NODES}`);
  if (underlay === 'veth' && nodes !== 2)
    throw new RudderError('usage', `${counted(nodes, 'node')}: the veth underlay joins exactly 2`);
}

/** A whole cluster: every node ready and with a container. */
export async function labUp(options: LabOptions): Promise<LabState> {
  const lab = await createLab({ config: DEFAULT_CONFIG, ...options });
  options.progress?.('daemons');
  for (const node of lab.nodes) await launchNode(lab, node);
  for (const node of lab.nodes) await waitUntilReady(lab, node);
  options.progress?.('containers');
  for (const node of lab.nodes) await addContainer(lab, node);
  return lab;
}

/** Ends everything the lab started and removes everything it made; also after a crash in the middle of any step. */
export async function labDown(name: string): Promise<void> {
  checkLabName(name);
  if (listLabs().includes(name)) {
    let lab: LabState | undefined;
    try {
      lab = loadLab(name);
    } catch {
      // A state file cut off by a crash: the namespaces below are found by name.
    }
    const processes = [...(lab?.nodes.map((node) => node.process) ?? []), lab?.etcd, lab?.page];
    await Promise.all(processes.map((process) => process && endProcess(process, 3000)));
  }
  await removeAllNamespaces({ name });
  forgetLab(name);
}

/** Adds a node to a running lab, without starting its daemon. */
export async function addNode(lab: LabState): Promise<LabNode> {
  if (lab.underlay === 'veth') throw new RudderError('lab', 'the veth underlay joins exactly 2 nodes: use a bridge');
  const number = Math.max(0, ...lab.nodes.map((node) => node.number)) + 1;
  if (number > MAX_NODES) throw new RudderError('lab', `a lab holds at most ${MAX_NODES} nodes`);
  const node = { number, logOffset: 0, hasContainer: false };
  lab.nodes.push(node);
  saveLab(lab);
  await createNodeNetwork(lab, node);
  return node;
}

/** @param member `etcd` or a node's name */
export async function act(lab: LabState, member: string, action: Action): Promise<void> {
  if (member === 'etcd' && lab.underlay === 'veth' && (action === 'partition' || action === 'heal')) {
    throw new RudderError('lab', 'with the veth underlay etcd has no link of its own: partition a node');
  }
  const node = member === 'etcd' ? undefined : findNode(lab, member);
  const target = node === undefined ? lab.etcd : node.process;
  switch (action) {
    case 'start':
      return node === undefined ? startEtcd(lab) : startNode(lab, node);
    case 'stop':
      return node === undefined ? stopEtcd(lab) : stopNode(lab, node);
    case 'partition':
    case 'heal':
      return setConnected(lab, member, action === 'heal');
    case 'kill':
      if (target !== undefined && signalProcess(target, 'SIGKILL')) await endProcess(target, 5000);
      return;
    case 'pause':
    case 'resume':
      if (target === undefined || !signalProcess(target, action === 'pause' ? 'SIGSTOP' : 'SIGCONT')) {
        throw new RudderError('lab', `${member} does not run`);
      }
  }
}

export interface NodeStatus {
  readonly node: string;
  readonly state: 'running' | 'stopped';
  readonly pid: number | undefined;
  readonly subnet: string;
  readonly mtu: string;
  readonly container: string;
  readonly containerAddress: string;
}

export function labStatus(lab: LabState): NodeStatus[] {
  return lab.nodes.map((node) => {
    const running = node.process !== undefined && isRunning(node.process);
    let env: Record<string, string> = {};
    try {
      env = readSubnetEnv(lab, node);
    } catch {
      // Never was ready.
    }
    return {
      node: nodeName(node),
      state: running ? 'running' : 'stopped',
      pid: running ? node.process?.pid : undefined,
      subnet: env.RUDDER_SUBNET ?? '-',
      mtu: env.RUDDER_MTU ?? '-',
      container: node.hasContainer ? containerName(node) : '-',
      containerAddress: node.hasContainer ? containerAddress(env.RUDDER_SUBNET) : '-',
    };
  });
}
