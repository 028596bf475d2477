import { existsSync, readFileSync, statSync } from 'node:fs';
import { rudderCommand } from '../../core/command-line.js';
import { counted } from '../../core/counted.js';
import { type ErrorCode, errnoOf, messageOf, RudderError } from '../../core/errors.js';
import { HIDDEN, isSecretName } from '../../core/secrets.js';
import { rudderName } from '../../lab/launcher.js';
import { controlSocketOf } from '../../ops/http.js';
import type { Status } from '../../ops/status.js';
import { writeFileAtomic } from '../../state/atomic-file.js';
import { DOCKER_UNIT, dropInOf, stateOf } from '../../system/docker-unit.js';
import { DEFAULTS_FILE, type NodeOptions } from '../defaults-file.js';
import { askStatus, describe, examine } from '../doctor/doctor.js';
import { type Finding, realHost } from '../doctor/host.js';
import { EXIT_OK } from '../exit-codes.js';
import { checksOf, codeOf } from './checks.js';
import { type Cluster, filesOf, findCluster } from './etcd.js';
import { readUnit, startService, UNIT, type Unit, waitUntilReady } from './service.js';
import { type Change, changesTo, withChanges } from './settings.js';

export interface JoinOptions {
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** How long the node may take to be ready, in seconds. */
  readonly timeout: number;
}

/** `rudder join ADDRESS`: makes this host a node of the cluster of that etcd, step by step, each of which is told. */
export async function join(address: string, node: NodeOptions, options: JoinOptions): Promise<number> {
  const say = (line: string) => void (options.json || process.stdout.write(`${line}\n`));
  refuseUser();
  const cluster = findCluster(address, node);
  refuseSettings(node, cluster, options);
  const unit = await readUnit();
  await refuseUnit(unit, node);

  say(`Looking at this host, and at etcd at ${cluster.options.endpoints}, prefix ${cluster.options.prefix}`);
  const findings = await check(node, cluster, unit, (found) => say(describe(found).trimEnd()));
  if (unit === undefined || unit.load === 'not-found') throw noService(cluster);

  const text = readSettings();
  const changes = changesTo(text, cluster.wanted);
  say(describeChanges(changes));
  let status: Status | undefined;
  if (!options.dryRun) {
    if (changes.length > 0) await writeSettings(text, changes, cluster);
    say(`Enabling and starting ${UNIT}`);
    await startService(changes.length > 0);
    status = await waitUntilReady(node.raw.subnetFile, options.timeout, (phase) => say(`  ${phase}`));
  }
  if (options.json) process.stdout.write(`${JSON.stringify(toJson(cluster, findings, changes, status), null, 2)}\n`);
  say(status === undefined ? 'Nothing was done: --dry-run' : await whatNext(status));
  return EXIT_OK;
}

function refuseUser(): void {
  const uid = process.geteuid!();
  if (uid !== 0) throw new RudderError('usage', `rudder join is run as user ${uid}: expected root; use sudo`);
}

/** What is there and was not meant to be changed. */
function refuseSettings({ unreadable, refused }: NodeOptions, { other }: Cluster, { force }: JoinOptions): void {
  if (unreadable !== undefined)
    throw new RudderError('file', `${DEFAULTS_FILE} cannot be read: ${unreadable}; expected a file of settings`);
  for (const [name, refusal] of refused) if (!name.startsWith('etcd')) throw refusal;
  if (other === undefined || force) return;
  throw new RudderError(
    'config-exists',
    `${DEFAULTS_FILE} has ${other}: it is left as it is; give --force to leave that cluster, after "systemctl stop rudder" and "rudder cleanup"`,
  );
}

async function refuseUnit(unit: Unit | undefined, { raw }: NodeOptions): Promise<void> {
  if (unit?.load === 'masked')
    throw new RudderError('usage', `${UNIT} is masked: expected one that may start; run "systemctl unmask rudder"`);
  const isServices = unit !== undefined && ['active', 'activating', 'reloading', 'deactivating'].includes(unit.active);
  if (isServices) return;
  const socketPath = controlSocketOf(raw.subnetFile);
  const { status, daemon } = await askStatus(socketPath, raw.subnetFile);
  if (status === undefined && daemon.is === 'absent') return;
  throw new RudderError(
    'usage',
    `a rudder answers on ${socketPath} that ${UNIT} has not started: expected none; stop it and try again`,
  );
}

/** @throws RudderError for the first problem, after all findings are told */
async function check(
  { raw }: NodeOptions,
  { options }: Cluster,
  unit: Unit | undefined,
  tell: (findings: readonly Finding[]) => void,
): Promise<Finding[]> {
  const { endpoints, prefix, flags = [] } = options;
  const isRunning = unit?.active === 'active' || unit?.active === 'activating';
  const known = {
    socketPath: controlSocketOf(raw.subnetFile),
    // What runs now may be another cluster's node; it has the tunnel's port.
    status: undefined,
    daemon: isRunning ? ({ is: 'starting', phase: '' } as const) : ({ is: 'absent' } as const),
    etcd: { endpoints, prefix, flags, saidBy: undefined },
    settings: { unreadable: undefined, refused: [], wireguardImplementation: raw.wireguardImplementation },
  };
  const host = realHost(known, options);
  let etcdCode: ErrorCode = 'registry-refused';
  const probe: typeof host.probe = async (endpoint) => {
    const found = await host.probe(endpoint);
    const step = found.failure?.step;
    if (step === 'resolve' || step === 'connect') etcdCode = 'registry-unavailable';
    return found;
  };
  const user = unit?.load === 'loaded' ? unit.user : undefined;
  const findings = await examine(
    { ...host, probe },
    checksOf({ firewall: raw.firewall, files: filesOf(options), user }),
  );
  tell(findings);
  const problem = findings.find(({ state }) => state === 'problem');
  if (problem === undefined) return findings;
  const { check, detail, remedy } = problem;
  throw new RudderError(codeOf(problem, etcdCode), `${check}: ${detail}; ${remedy}`);
}

function noService({ options }: Cluster): RudderError {
  const command = rudderCommand([], { flags: options.flags ?? [] }).replace(/^rudder/, rudderName());
  return new RudderError(
    'not-running',
    `there is no ${UNIT} on this host, as packages bring it, and nothing was written: expected one; start the node by hand with "${command}", or install the package, see docs/install.md`,
  );
}

function readSettings(): string {
  try {
    return readFileSync(DEFAULTS_FILE, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw new RudderError('file', `${DEFAULTS_FILE} cannot be read: ${messageOf(error)}; run as root`);
  }
}

async function writeSettings(text: string, changes: readonly Change[], { wanted }: Cluster): Promise<void> {
  const edited = withChanges(text, changes);
  // Quotes that are left open swallow what comes behind them.
  if (changesTo(edited, wanted).length > 0) {
    throw new RudderError(
      'file',
      `${DEFAULTS_FILE} is left as it is: what would be written does not read as it was meant; look for open quotes in it`,
    );
  }
  try {
    const mode = existsSync(DEFAULTS_FILE) ? statSync(DEFAULTS_FILE).mode & 0o777 : 0o644;
    await writeFileAtomic(DEFAULTS_FILE, edited, mode);
  } catch (error) {
    throw new RudderError(
      'file',
      `${DEFAULTS_FILE} cannot be written: ${messageOf(error)}; is its file system writable?`,
    );
  }
}

function describeChanges(changes: readonly Change[]): string {
  if (changes.length === 0) return `${DEFAULTS_FILE} says so already`;
  const lines = changes.flatMap(({ name, before, after }) => [
    ...(before === undefined ? [] : [`  - ${name}=${shown(name, before)}`]),
    ...(after === undefined ? [] : [`  + ${name}=${shown(name, after)}`]),
  ]);
  return [`${DEFAULTS_FILE}, where all else stays:`, ...lines].join('\n');
}

/** The name of a file is none of its secrets. */
const shown = (name: string, value: string) => (isSecretName(name) && !/FILE$/.test(name) ? HIDDEN : value);

async function whatNext({ node, peers, registry }: Status): Promise<string> {
  const { load } = await stateOf(DOCKER_UNIT);
  const isDocked = existsSync(dropInOf(DOCKER_UNIT));
  const docker = load === 'loaded' && !isDocked ? ['  rudder docker enable --now   Docker takes this subnet'] : [];
  const taken = peers.filter(({ reserved }) => !reserved).length;
  return [
    `Ready: this node has ${node.subnet} of ${node.network}, by ${registry.kind}; ${counted(taken, 'peer')} so far. Next:`,
    ...docker,
    '  rudder peers                 how the other nodes are',
    '  rudder doctor                whether this host lets containers through',
  ].join('\n');
}

function toJson({ options }: Cluster, findings: readonly Finding[], changes: readonly Change[], status?: Status) {
  const settings = changes.map(({ name, before, after }) => ({
    name,
    before: before === undefined ? null : shown(name, before),
    after: after === undefined ? null : shown(name, after),
  }));
  const { endpoints, prefix } = options;
  return {
    endpoints,
    prefix,
    findings,
    settings,
    subnet: status?.node.subnet ?? null,
    peers: status?.peers.length ?? null,
  };
}
