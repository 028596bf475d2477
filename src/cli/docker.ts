import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { messageOf, RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import { writeFileAtomic } from '../state/atomic-file.js';
import * as unit from '../system/docker-unit.js';
import { openNetlink } from '../system/netlink.js';
import type { NodeOptions } from './defaults-file.js';
import { refuseOtherFile } from './docker-subnet-file.js';
import { EXIT_OK } from './exit-codes.js';

const { DOCKER_UNIT, DOCKER_SOCKET } = unit;
const PATH_UNIT = 'rudder-docker.path';
const DROP_INS = [DOCKER_UNIT, DOCKER_SOCKET].map(unit.dropInOf);
/** Made by "disable", and there until Docker has started with it. */
const ONCE = DROP_INS[0].replace('rudder.conf', 'rudder-once.conf');
const OWN_FILES = [DROP_INS[0], ONCE];

/** `rudder docker enable`: from its next start on Docker takes its bridge from Rudder, and waits for that. */
export async function enableDocker(node: NodeOptions, isNow: boolean): Promise<number> {
  refuseWithoutSystemd();
  await refuseOtherFile(node);
  const texts = await dropIns();
  const isNew = await install(texts);
  await systemctl('start', PATH_UNIT);
  say(isNew ? `Docker takes its subnet from Rudder now: made ${[...texts.keys()].join(' and ')}` : ALREADY);

  const subnetEnv = await unit.readIfThere(unit.SUBNET_FILE);
  const state = await unit.stateOf(DOCKER_UNIT);
  const address = unit.bridgeAddressOf(subnetEnv);
  if (address === undefined) {
    say(`Rudder has no subnet yet: ${whatFollowsOf(state)}`);
    return EXIT_OK;
  }
  const step = unit.stepTo(subnetEnv!, state, await unit.readIfThere(unit.STARTED_WITH));
  if (step === 'restart' && !isNow) {
    say(
      `Docker runs on as it was started and takes ${address} when it is restarted: "rudder docker enable --now" does so`,
    );
  } else if (step !== 'none') {
    await takeStep(step, address);
  } else if (!unit.isRunning(state)) {
    say(`Docker is not running, and takes ${address} when it is`);
  } else if (isNow && !(await isBridgeOn(address))) {
    await takeStep('restart', address);
  } else {
    await sayWhere('Docker runs', address);
  }
  return EXIT_OK;
}

const ALREADY = `Docker takes its subnet from Rudder already, by ${DROP_INS[0]}`;

function whatFollowsOf(state: unit.UnitState): string {
  if (unit.isRunning(state))
    return 'Docker runs on as it was started, and is restarted on the subnet as soon as there is one';
  if (unit.isWaiting(state)) return 'Docker is started as soon as there is one';
  return 'Docker is not running, and waits for one when it is started';
}

/**
 * `rudder docker disable`: Docker goes its own way from its next start on. If it waits for Rudder it starts at once.
 * Docker would stay on the subnet by what it remembers of its bridge, so that start is told to choose anew.
 */
export async function disableDocker(isNow: boolean): Promise<number> {
  refuseWithoutSystemd();
  const removed = DROP_INS.filter((path) => existsSync(path));
  if (removed.length > 0) await writeOnce();
  for (const path of removed) await rm(path);
  await rm(unit.STARTED_WITH, { force: true });
  if (removed.length > 0) await systemctl('daemon-reload');
  if (await isLoaded(PATH_UNIT)) await systemctl('stop', PATH_UNIT);
  say(
    removed.length > 0 ? `Docker takes no subnet from Rudder any more: removed ${removed.join(' and ')}` : NOT_ENABLED,
  );

  const state = await unit.stateOf(DOCKER_UNIT);
  const isOnOld = unit.isRunning(state) && existsSync(ONCE);
  if (isOnOld && !isNow) {
    say(`Docker keeps ${await bridgeAddress()} until it is restarted: "rudder docker disable --now" does so`);
  } else if (isOnOld || (unit.isWaiting(state) && removed.length > 0)) {
    await begin(isOnOld ? 'restart' : 'start');
    await systemctl('daemon-reload'); // that start has removed its file
    say(`Docker is ${isOnOld ? 'restarted' : 'started'} on ${await bridgeAddress()}`);
  }
  return EXIT_OK;
}

const NOT_ENABLED = 'Docker takes no subnet from Rudder: nothing to remove';

/** Not where Docker has settings by which it chooses anyway. */
async function writeOnce(): Promise<void> {
  const commandLine = unit.commandLineOf(await catDocker(), OWN_FILES);
  if (commandLine === undefined || unit.choosesItsAddress(await unit.readIfThere(unit.DAEMON_JSON), commandLine))
    return;
  await writeFileAtomic(ONCE, unit.onceText(commandLine, ONCE), 0o644);
}

async function bridgeAddresses(): Promise<string[]> {
  const netlink = openNetlink();
  try {
    const link = await netlink.link(unit.DOCKER_BRIDGE);
    const found = (await netlink.addresses()).filter(({ index }) => index === link?.index);
    return found.map(({ address, prefixLength }) => `${formatIpv4(address)}/${prefixLength}`);
  } finally {
    netlink.close();
  }
}

const bridgeAddress = async () => (await bridgeAddresses()).join(', ') || 'no bridge';
const isBridgeOn = async (address: string) => (await bridgeAddresses()).includes(address);

/** Not what Docker was told, but where it is. @throws RudderError if that is elsewhere */
async function sayWhere(what: string, address: string): Promise<void> {
  const found = await bridgeAddress();
  if (!(await isBridgeOn(address))) {
    const causes = `"systemctl cat docker" and ${unit.DAEMON_JSON}; with live-restore it keeps its bridge while containers run`;
    throw new RudderError(
      'not-ready',
      `${what}, but its bridge ${unit.DOCKER_BRIDGE} is on ${found}: expected ${address}; see ${causes}`,
    );
  }
  say(`${what} on ${address}`);
}

/**
 * `rudder docker follow`, which rudder-docker.service runs when subnet.env has changed: starts Docker if it waits, and
 * restarts it if it runs on another subnet. The path unit does not see what changes meanwhile, so it is looked again.
 */
export async function followRudder(): Promise<number> {
  refuseWithoutSystemd();
  if (!existsSync(DROP_INS[0])) {
    say(NOT_ENABLED.split(':')[0]);
    return EXIT_OK;
  }
  let failure: unknown;
  for (let done: string | undefined; ; ) {
    const subnetEnv = await unit.readIfThere(unit.SUBNET_FILE);
    const address = unit.bridgeAddressOf(subnetEnv);
    if (subnetEnv === done || address === undefined) break;
    const state = await unit.stateOf(DOCKER_UNIT);
    const step = unit.stepTo(subnetEnv!, state, await unit.readIfThere(unit.STARTED_WITH));
    failure = step === 'none' ? undefined : await takeStep(step, address).catch((error: unknown) => error);
    done = subnetEnv;
  }
  if (failure !== undefined) throw failure;
  return EXIT_OK;
}

async function takeStep(step: 'start' | 'restart', address: string): Promise<void> {
  await begin(step);
  // Not what was asked for but what is: Docker may have been skipped again.
  const state = await unit.stateOf(DOCKER_UNIT);
  if (unit.isRunning(state)) await sayWhere(`Docker is ${step}ed`, address);
  else say(`Docker was to ${step} on ${address}, and is ${state.active}`);
}

/** Earlier failures do not count: they were for want of a subnet, and systemd allows Docker few of them. */
async function begin(step: 'start' | 'restart' = 'start'): Promise<void> {
  await systemctl('reset-failed', ...(await dockerUnits()));
  await systemctl(step, DOCKER_UNIT);
}

async function dockerUnits(): Promise<string[]> {
  return (await isLoaded(DOCKER_SOCKET)) ? [DOCKER_UNIT, DOCKER_SOCKET] : [DOCKER_UNIT];
}

function refuseWithoutSystemd(): void {
  if (process.geteuid!() !== 0) {
    throw new RudderError('usage', `rudder docker is run as user ${process.geteuid!()}: expected root; use sudo`);
  }
  if (existsSync('/run/systemd/system')) return;
  const remedy = "without it give dockerd --bip and --mtu of Rudder's subnet file yourself";
  throw new RudderError('usage', `systemd does not run this host: expected it, since it starts Docker; ${remedy}`);
}

async function isLoaded(name: string): Promise<boolean> {
  return (await unit.stateOf(name)).load !== 'not-found';
}

/** Name and text of what makes Docker take its subnet from Rudder. @throws RudderError if Docker could not */
async function dropIns(): Promise<Map<string, string>> {
  for (const [name, whose] of [
    [DOCKER_UNIT, 'Docker'],
    [PATH_UNIT, 'Rudder'],
  ] as const) {
    const { load } = await unit.stateOf(name);
    if (load === 'loaded') continue;
    throw new RudderError('usage', `${name} is ${load}: expected the unit of ${whose}'s package; install that first`);
  }
  const cat = await catDocker();
  const overrider = unit.overriderIn(cat, DROP_INS[0]);
  if (overrider !== undefined) {
    const { file, setting } = overrider;
    throw new RudderError(
      'usage',
      `${file} has ${setting} and comes behind Rudder's rudder.conf, which would say nothing: expected what others set before it; rename that file, say to 10-${basename(file)}, and try again`,
    );
  }
  const commandLine = unit.commandLineOf(cat, OWN_FILES);
  if (commandLine === undefined) {
    throw new RudderError('usage', `${DOCKER_UNIT} has no ExecStart=: expected one that starts dockerd; mend the unit`);
  }
  const conflict = unit.conflictIn(await unit.readIfThere(unit.DAEMON_JSON), commandLine);
  if (conflict !== undefined) {
    const remedy = 'take it out and try again';
    throw new RudderError(
      'usage',
      `Docker has settings of its own: ${conflict}; expected to give it --bip and --mtu; ${remedy}`,
    );
  }
  const units = await dockerUnits();
  const template = (name: string) => readFile(new URL(`../../systemd/${name}.d/rudder.conf`, import.meta.url), 'utf8');
  const texts = await Promise.all(units.map(async (name) => [unit.dropInOf(name), await template(name)] as const));
  return new Map(texts.map(([path, text]) => [path, text.replace('@DOCKERD@', () => commandLine)]));
}

/** Docker's unit and drop-ins as the disk has them: of a drop-in removed since its last reload systemd shows an error alone. */
async function catDocker(): Promise<string> {
  await systemctl('daemon-reload');
  return systemctl('cat', DOCKER_UNIT);
}

/** @returns whether anything had to be done */
async function install(texts: Map<string, string>): Promise<boolean> {
  let isNew = false;
  for (const [path, text] of texts) {
    if ((await unit.readIfThere(path)) === text) continue;
    await writeFileAtomic(path, text, 0o644);
    isNew = true;
  }
  await rm(ONCE, { force: true });
  if (isNew) await systemctl('daemon-reload');
  return isNew;
}

async function systemctl(...args: string[]): Promise<string> {
  try {
    return await unit.systemctl(...args);
  } catch (error) {
    // Of all units there is no status.
    const remedy = args.length > 1 ? `see "systemctl status ${args.at(-1)}"` : 'see "journalctl -b -t systemd"';
    throw new RudderError('not-ready', `${messageOf(error)}; ${remedy}`, { cause: error });
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
