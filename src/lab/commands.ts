import Table from 'cli-table3';
import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { etcdCondition, nodeCondition } from './condition.js';
import { act, DEFAULT_CONFIG, DEFAULT_LEASE_TTL, labDown, labStatus, labUp } from './lab.js';
import { pathWithRudder, rudderName } from './launcher.js';
import { type Action, containerName, etcdUrl, type Member, namespaceOf, nodeName } from './names.js';
import { settingsEnvironment } from './nodes.js';
import { PAGE_ARGUMENTS, servePage, showInBrowser } from './page.js';
import { type LabState, labDirectory, loadLab, type Underlay } from './state.js';

/** What `rudder lab` does, said to a person. */

const STATE_WIDTH = 40;

export interface UpOptions {
  readonly name: string;
  readonly nodes: number;
  readonly underlay: Underlay;
  readonly config?: string;
  readonly ttl?: string;
  readonly page?: boolean;
}

export async function up(options: UpOptions): Promise<void> {
  const { name, underlay, config = DEFAULT_CONFIG, ttl = DEFAULT_LEASE_TTL, page = false } = options;
  const nodes = underlay === 'veth' ? 2 : options.nodes;
  const progress = (step: string) => process.stderr.write(`${step} ...\n`);
  let lab: LabState;
  try {
    const daemon = { leaseTtl: ttl, arguments: page ? PAGE_ARGUMENTS : [] };
    lab = await labUp({ name, nodes, underlay, config, daemon, progress });
    if (page) showInBrowser(await servePage(lab));
  } catch (error) {
    // An `up` that was refused because the lab exists must not take the existing one down.
    if (!(error instanceof RudderError && /is up already/.test(error.message))) await labDown(name);
    throw error;
  }
  process.stdout.write(`${await statusTable(lab)}\n${howToLookInside(lab)}`);
}

export async function down(name: string): Promise<void> {
  await labDown(name);
}

export async function status(name: string): Promise<void> {
  process.stdout.write(`${await statusTable(loadLab(name))}\n`);
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
  const node = lab.nodes.find((candidate) => nodeName(candidate) === member);
  const result = await execa('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
    stdio: 'inherit',
    reject: false,
    env: node === undefined ? {} : { ...settingsEnvironment(lab, node), PATH: pathWithRudder() },
  });
  return result.exitCode ?? 1;
}

export async function node(name: string, action: Action, member: Member): Promise<void> {
  await act(loadLab(name), member, action);
}

async function statusTable(lab: LabState): Promise<string> {
  const table = new Table({
    head: ['member', 'state', 'subnet', 'MTU', 'container', 'address'],
    style: { head: [], border: [] },
    // A problem may be a sentence.
    colWidths: [null, STATE_WIDTH],
    wordWrap: true,
  });
  const [etcd, ...nodes] = await Promise.all([
    etcdCondition(lab),
    ...lab.nodes.map((node) => nodeCondition(lab, node)),
  ]);
  for (const [index, row] of labStatus(lab).entries()) {
    table.push([row.node, nodes[index], row.subnet, row.mtu, row.container, row.containerAddress]);
  }
  table.push(['etcd', etcd, { colSpan: 4, content: etcdUrl(lab) }]);
  return table.toString();
}

export function howToLookInside(lab: LabState): string {
  const flag = lab.name === 'lab' ? '' : ` --name ${lab.name}`;
  const rudder = rudderName();
  return [
    ...(lab.page === undefined ? [] : [`The page of the cluster: ${lab.page.url}`]),
    'Look inside:',
    `  ${rudder} lab status${flag}`,
    `  ${rudder} lab exec${flag} n1 -- rudder status`,
    `  ${rudder} lab exec${flag} n1 -- ip addr show rudder0`,
    `  ${rudder} lab exec${flag} c1 -- ping -c 3 ${labStatus(lab).at(-1)?.containerAddress ?? '-'}`,
    `  ${rudder} lab node${flag} kill n2`,
    `  tail -f ${labDirectory(lab.name)}/n1/rudder.log`,
    'Stop it:',
    `  ${rudder} lab down${flag}`,
    '',
  ].join('\n');
}
