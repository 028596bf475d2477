import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { errnoOf, quote } from '../core/errors.js';
import { call } from './command.js';
import { unitPropertiesIn } from './unit-properties.js';

/** What systemd knows of Docker, and how its unit is made to take Rudder's subnet. */

export const DOCKER_UNIT = 'docker.service';
export const DOCKER_SOCKET = 'docker.socket';
export const DOCKER_BRIDGE = 'docker0';
/** Where the units look, and what Docker was started with: a copy that its unit makes. */
export const SUBNET_FILE = '/run/rudder/subnet.env';
export const STARTED_WITH = '/run/rudder-docker.env';

/** By what an operator's file would be called too, so that it takes the place of one that came with an earlier package. */
export const dropInOf = (unit: string) => `/etc/systemd/system/${unit}.d/rudder.conf`;

/** Docker stops its containers first, and may have very many. */
const DOCKER_TIMEOUT_MS = 300_000;

export interface UnitState {
  /** `not-found`: there is no such unit. */
  readonly load: string;
  /** `active`, `inactive`, `failed`, `activating` and so on. */
  readonly active: string;
  /** How it ended last; `exec-condition`: it was skipped, since there is no subnet. */
  readonly result: string;
}

export function systemctl(...args: string[]): Promise<string> {
  return call('systemctl', args, { timeoutMs: DOCKER_TIMEOUT_MS });
}

export async function stateOf(unit: string): Promise<UnitState> {
  const text = await systemctl('show', '--property=LoadState,ActiveState,Result', unit);
  const properties = unitPropertiesIn(text);
  const value = (name: string) => properties.get(name) ?? '';
  return { load: value('LoadState'), active: value('ActiveState'), result: value('Result') };
}

/** Somebody wanted it to run, and it does not: it was skipped, or has failed. One that was stopped is not waiting. */
export const isWaiting = ({ active, result }: UnitState) =>
  active === 'failed' || (active === 'inactive' && result === 'exec-condition');

/** Also one that is being started, or is started again after a failure. One that is being stopped does not run. */
export const isRunning = ({ active }: UnitState) => ['active', 'activating', 'reloading'].includes(active);

/** What has to be done so that Docker runs on a subnet.env, if it is to run at all. */
export function stepTo(wanted: string, unit: UnitState, startedWith: string | undefined): 'start' | 'restart' | 'none' {
  if (isWaiting(unit)) return 'start';
  return isRunning(unit) && !concernsAlike(wanted, startedWith) ? 'restart' : 'none';
}

/** Of the file's lines the first two, subnet and MTU, concern Docker. */
const concernsAlike = (a: string, b: string | undefined) => b !== undefined && concerning(a) === concerning(b);
const concerning = (text: string) => text.split('\n', 2).join('\n');

/** `10.240.26.1/24`; undefined if there is none for Docker. */
export function bridgeAddressOf(subnetEnv: string | undefined): string | undefined {
  return /^RUDDER_SUBNET=(.+)$/m.exec(subnetEnv ?? '')?.[1];
}

/**
 * How Docker is started without us: the last ExecStart= of its unit and of others' drop-ins.
 * @param cat what `systemctl cat` says: each file below a comment with its name
 * @param own our drop-ins
 * @returns undefined if there is none
 */
export function commandLineOf(cat: string, own: readonly string[]): string | undefined {
  let command: string | undefined;
  for (const { file, name, value } of settingsIn(cat)) {
    if (name === 'ExecStart' && !own.includes(file)) command = value === '' ? undefined : value;
  }
  return command;
}

/** What our drop-in adds to, and is lost if a later one begins anew. */
const LISTS = ['ExecCondition', 'ExecStartPre', 'EnvironmentFile'];

/**
 * The drop-in that comes behind ours, as systemd sorts them by their names, and takes back what ours says.
 * @returns its name and the setting; undefined: there is none
 */
export function overriderIn(cat: string, own: string): { file: string; setting: string } | undefined {
  const found = settingsIn(cat).find(
    ({ file, name, value }) =>
      dirname(file).endsWith('.d') &&
      basename(file) > basename(own) &&
      (name === 'ExecStart' || (LISTS.includes(name) && value === '')),
  );
  return found && { file: found.file, setting: `${found.name}=` };
}

function settingsIn(cat: string): { file: string; name: string; value: string }[] {
  let file = '';
  return cat
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .flatMap((line) => {
      file = /^# (\/.*)$/.exec(line)?.[1] ?? file;
      const [, name, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
      return name === undefined ? [] : [{ file, name, value }];
    });
}

/** Docker refuses to start if these are in its file and on its command line too, or with a bridge of another's. */
const CONFLICTING = ['bip', 'mtu', 'bridge'];

export const DAEMON_JSON = '/etc/docker/daemon.json';

/** Why Docker would not start with our two flags; undefined if nothing is known that speaks against it. */
export function conflictIn(daemonJson: string | undefined, commandLine: string): string | undefined {
  const bridge = /\s(?:--bridge|-b)[=\s]\S+/.exec(commandLine)?.[0].trim();
  if (bridge !== undefined) return `${DOCKER_UNIT} starts it with ${quote(bridge)}`;
  if (daemonJson === undefined) return undefined;
  const config = parseObject(daemonJson);
  if (config === undefined) return `${DAEMON_JSON} is no JSON object`;
  const given = CONFLICTING.find((key) => Object.hasOwn(config, key));
  return given === undefined ? undefined : `${DAEMON_JSON} has ${quote(given)}: ${quote(config[given])}`;
}

/** Whether Docker does not go by the address of the bridge that it has had. */
export function choosesItsAddress(daemonJson: string | undefined, commandLine: string): boolean {
  if (/\s(--default-address-pool|--bip|--bridge|-b)[=\s]/.test(commandLine)) return true;
  const config = parseObject(daemonJson ?? '{}') ?? {};
  return ['default-address-pools', 'bip', 'bridge'].some((key) => Object.hasOwn(config, key));
}

/** What Docker chooses from by itself. Only where it is told does it forget the bridge that it has had. */
const POOLS = ['172.17.0.0/16', '172.18.0.0/15', '172.20.0.0/14', '172.24.0.0/13'];

/** A drop-in for one start of Docker's, which removes it. */
export function onceText(commandLine: string, path: string): string {
  const pools = POOLS.map((base) => `--default-address-pool base=${base},size=16`).join(' ');
  return [
    '# Made by "rudder docker disable" for one start, in which Docker chooses an address instead of the subnet it had.',
    '[Service]',
    'ExecStart=',
    `ExecStart=${commandLine} ${pools}`,
    `ExecStartPost=/bin/rm -f ${path}`,
    '',
  ].join('\n');
}

function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined if there is no such file. */
export async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
}
