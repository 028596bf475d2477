import Table from 'cli-table3';
import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { act, DEFAULT_CONFIG, DEFAULT_LEASE_TTL, labDown, labStatus, labUp } from './lab.js';
import { type Action, containerName, type Member, namespaceOf, nodeName } from './names.js';
import { type LabState, labDirectory, loadLab, type Underlay } from './state.js';

/** What `rudder lab` does, said to a person. */

export interface UpOptions {
  readonly name: string;
  readonly nodes: number;
  readonly underlay: Underlay;
  readonly config?: string;
  readonly ttl?: string;
}

export async function up(options: UpOptions): Promise<void> {
  const { name, underlay, config = DEFAULT_CONFIG, ttl = DEFAULT_LEASE_TTL } = options;
  const nodes = underlay === 'veth' ? 2 : options.nodes;
  const progress = (step: string) => process.stderr.write(`${step} ...\n`);
  let lab: LabState;
  try {
    lab = await labUp({ name, nodes, underlay, config, daemon: { leaseTtl: ttl }, progress });
  } catch (error) {
    // An `up` that was refused because the lab exists must not take the existing one down.
    if (!(error instanceof RudderError && /is up already/.test(error.message))) await labDown(name);
    throw error;
  }
  process.stdout.write(`${statusTable(lab)}\n${howToLookInside(lab)}`);
}

export async function down(name: string): Promise<void> {
  await labDown(name);
}

export async function status(name: string): Promise<void> {
  process.stdout.write(`${statusTable(loadLab(name))}\n`);
}

/** @returns the command's own exit status */
export async function exec(name: string, member: Member, command: readonly string[]): Promise<number> {
  const lab = loadLab(name);
  const members = lab.nodes.flatMap((node) =>
    node.hasContainer ? [nodeName(node), containerName(node)] : [nodeName(node)],
  );
  if (lab.underlay === 'bridge') members.push('etcd', 'switch');
  if (!members.includes(member)) {
    throw new RudderError('lab', `lab "${name}" has no member "${member}": expected one of ${members.join(', ')}`);
  }
  const namespace = namespaceOf(lab, member);
  const result = await execa('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
    stdio: 'inherit',
    reject: false,
  });
  return result.exitCode ?? 1;
}

export async function node(name: string, action: Action, member: Member): Promise<void> {
  await act(loadLab(name), member, action);
}

export function statusTable(lab: LabState): string {
  const table = new Table({
    head: ['node', 'daemon', 'subnet', 'MTU', 'container', 'address'],
    style: { head: [], border: [] },
  });
  for (const row of labStatus(lab)) {
    const daemon = row.pid === undefined ? row.state : `${row.state}, pid ${row.pid}`;
    table.push([row.node, daemon, row.subnet, row.mtu, row.container, row.containerAddress]);
  }
  return table.toString();
}

export function howToLookInside(lab: LabState): string {
  const flag = lab.name === 'lab' ? '' : ` --name ${lab.name}`;
  return [
    'Look inside:',
    `  npx rudder lab status${flag}`,
    `  npx rudder lab exec${flag} n1 -- ip addr show rudder0`,
    `  npx rudder lab exec${flag} c1 -- ping -c 3 ${labStatus(lab).at(-1)?.containerAddress ?? '-'}`,
    `  npx rudder lab node${flag} kill n2`,
    `  tail -f ${labDirectory(lab.name)}/n1/rudder.log`,
    'Stop it:',
    `  npx rudder lab down${flag}`,
    '',
  ].join('\n');
}
