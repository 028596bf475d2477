import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RudderError } from '../core/errors.js';
import { etcdUrl, namespaceOf, nodeName } from './names.js';
import { createContainer } from './network.js';
import { endProcess, isRunning, spawnInNamespace } from './process.js';
import { type LabNode, type LabState, labDirectory, saveLab } from './state.js';
import { waitFor } from './wait-for.js';

/** The daemon's real entry point, from src/lab or dist/lab alike. */
const ENTRY = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

const READY_DEADLINE_MS = 30_000;
/** A clean stop takes less than a second; the rest is for a busy machine. */
const STOP_GRACE_MS = 10_000;

export interface NodePaths {
  readonly directory: string;
  readonly log: string;
  readonly subnetFile: string;
  readonly stateDir: string;
}

export function nodePaths(lab: LabState, node: LabNode): NodePaths {
  const directory = `${labDirectory(lab.name)}/${nodeName(node)}`;
  return {
    directory,
    log: `${directory}/rudder.log`,
    subnetFile: `${directory}/subnet.env`,
    stateDir: `${directory}/state`,
  };
}

export function findNode(lab: LabState, name: string): LabNode {
  const node = lab.nodes.find((candidate) => nodeName(candidate) === name);
  if (node !== undefined) return node;
  throw new RudderError(
    'lab',
    `lab "${lab.name}" has no node "${name}": expected one of ${lab.nodes.map(nodeName).join(', ')}`,
  );
}

/** The command line of a node's daemon. */
export function daemonCommand(lab: LabState, node: LabNode, extra: readonly string[] = []): string[] {
  return [process.execPath, ...lab.daemon.nodeArguments, ENTRY, ...settingsOf(lab, node), ...extra];
}

function settingsOf(lab: LabState, node: LabNode): string[] {
  const paths = nodePaths(lab, node);
  return [
    `--etcd-endpoints=${etcdUrl(lab)}`,
    `--subnet-file=${paths.subnetFile}`,
    `--state-dir=${paths.stateDir}`,
    `--lease-ttl=${lab.daemon.leaseTtl}`,
    `--node-name=${nodeName(node)}`,
    ...lab.daemon.arguments,
  ];
}

/** The same settings as variables, by which a rudder command in the node's namespace finds the daemon and its etcd. */
export function settingsEnvironment(lab: LabState, node: LabNode): Record<string, string> {
  const variables = settingsOf(lab, node).flatMap((argument) => {
    const [, flag, value = 'true'] = /^--([a-z-]+)(?:=(.*))?$/.exec(argument) ?? [];
    return flag === undefined ? [] : [[`RUDDERD_${flag.toUpperCase().replaceAll('-', '_')}`, value] as const];
  });
  return { ...lab.daemon.env, ...Object.fromEntries(variables) };
}

/** Starts the daemon of a node without waiting for it. */
export async function launchNode(lab: LabState, node: LabNode, extra: readonly string[] = []): Promise<void> {
  if (node.process !== undefined && isRunning(node.process)) {
    throw new RudderError('lab', `node ${nodeName(node)} runs already`);
  }
  const paths = nodePaths(lab, node);
  mkdirSync(paths.directory, { recursive: true });
  node.logOffset = statSync(paths.log, { throwIfNoEntry: false })?.size ?? 0;
  const command = daemonCommand(lab, node, extra);
  node.process = await spawnInNamespace(namespaceOf(lab, nodeName(node)), command, paths.log, lab.daemon.env);
  saveLab(lab);
}

/** Waits until the daemon says that it is ready. @throws RudderError with its last log line if it ends instead */
export async function waitUntilReady(lab: LabState, node: LabNode): Promise<void> {
  let ended = false;
  await waitFor(
    `node ${nodeName(node)} to be ready`,
    () => {
      ended = node.process === undefined || !isRunning(node.process);
      return ended || logLines(lab, node).some((line) => line.msg === 'ready');
    },
    READY_DEADLINE_MS,
  );
  if (ended)
    throw new RudderError(
      'lab',
      `node ${nodeName(node)} ended before it was ready: ${logText(lab, node).trim().split('\n').at(-1)}`,
    );
}

export async function startNode(lab: LabState, node: LabNode, extra: readonly string[] = []): Promise<void> {
  await launchNode(lab, node, extra);
  await waitUntilReady(lab, node);
}

export async function stopNode(lab: LabState, node: LabNode): Promise<void> {
  if (node.process !== undefined) await endProcess(node.process, STOP_GRACE_MS);
  node.process = undefined;
  saveLab(lab);
}

/** Puts a container behind docker0, with subnet and MTU from the node's own subnet.env, as Docker's unit does. */
export async function addContainer(lab: LabState, node: LabNode): Promise<void> {
  const env = readSubnetEnv(lab, node);
  await createContainer(lab, node, env.RUDDER_SUBNET, Number(env.RUDDER_MTU));
  node.hasContainer = true;
  saveLab(lab);
}

export function readSubnetEnv(lab: LabState, node: LabNode): Record<string, string> {
  const lines = readFileSync(nodePaths(lab, node).subnetFile, 'utf8').trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split('=') as [string, string]));
}

export interface LogLine {
  readonly msg?: string;
  readonly [field: string]: unknown;
}

/** What the running (or last) daemon of the node has written, as text. */
export function logText(lab: LabState, node: LabNode): string {
  return readFileSync(nodePaths(lab, node).log).subarray(node.logOffset).toString();
}

/** The same, as parsed JSON lines. */
export function logLines(lab: LabState, node: LabNode): LogLine[] {
  return logText(lab, node)
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as LogLine];
      } catch {
        return []; // the last line may be half written
      }
    });
}
