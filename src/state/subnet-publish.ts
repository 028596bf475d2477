import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { writeFileAtomic } from './atomic-file.js';
import { NotPlainError, type PlainFile, readPlainFile } from './plain-file.js';
import { formatSubnetEnv, MOST_SUBNET_ENV_BYTES, parseSubnetEnv } from './subnet-env.js';

/**
 * How the subnet file comes to be root's although the daemon is not. Docker's unit takes its environment from that file,
 * so whoever writes it is as good as root. The daemon writes a proposal beside it, and a step that root runs makes the
 * subnet file of it: nothing of the proposal's bytes gets there, only the values that were parsed of them.
 *
 * Both are in one directory, which has to be root's and sticky: then the daemon can make and rename files of its own
 * there, and no others.
 */

/** Where a daemon that may not write the subnet file says what should be in it. */
export function proposalOf(subnetFile: string): string {
  return `${subnetFile}.proposal`;
}

/** Proposals that come while one is being published. A daemon that never ends to make new ones shall not keep root busy. */
const MOST_ROUNDS = 10;

export type Published = 'written' | 'unchanged' | 'emptied';

/**
 * Makes the subnet file say what is proposed: nothing if nothing is. It is emptied then and not removed, since what is
 * missing could be made by the daemon.
 * @throws RudderError `file`, which never quotes a file: it may be a link to one that holds secrets
 */
export async function publishSubnetEnv(subnetFile: string, prefix: string): Promise<Published> {
  const path = await inTrustedDirectory(subnetFile);
  let result: Published = 'unchanged';
  // Of two that run at once the slower one must not have the last word with what it read first.
  for (let round = 0, proposed = await readProposal(path, prefix); round < MOST_ROUNDS; round++) {
    if (await makeIt(path, proposed)) result = proposed === '' ? 'emptied' : 'written';
    const next = await readProposal(path, prefix);
    if (next === proposed) break;
    proposed = next;
  }
  return result;
}

/**
 * Before the daemon starts: from now on there is a subnet file, and it is root's, so that nobody else can make it. A right
 * one stays as it is, for Docker may be running on what it says; one that was the daemon's own becomes root's; anything
 * else is replaced by an empty file.
 * @returns why it was replaced; undefined: it was not
 * @throws RudderError `file`
 */
export async function prepareSubnetEnv(subnetFile: string, prefix: string): Promise<string | undefined> {
  const path = await inTrustedDirectory(subnetFile);
  let text = '';
  let problem: string | undefined;
  try {
    const file = await readPlainFile(path, MOST_SUBNET_ENV_BYTES);
    text = file.text === '' ? '' : checked(file, prefix);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') problem = messageOf(error);
  }
  await makeIt(path, text);
  return problem;
}

async function readProposal(path: string, prefix: string): Promise<string> {
  const proposal = proposalOf(path);
  try {
    return checked(await readPlainFile(proposal, MOST_SUBNET_ENV_BYTES), prefix);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw new RudderError('file', `${proposal} is refused: ${messageOf(error)}; restart rudder, which makes it anew`, {
      cause: error,
    });
  }
}

/** @throws NotPlainError */
function checked({ text, stats }: PlainFile, prefix: string): string {
  if (stats.nlink !== 1) throw new NotPlainError('it has more names than this one');
  const env = parseSubnetEnv(text, prefix);
  if (env !== undefined) return formatSubnetEnv(env, prefix);
  throw new NotPlainError(
    `expected exactly the four lines ${prefix}_SUBNET, _MTU, _NETWORK and _IPMASQ, in their bounds`,
  );
}

/** @returns whether anything had to be done */
async function makeIt(path: string, text: string): Promise<boolean> {
  if (await isIt(path, text)) return false;
  try {
    await writeFileAtomic(path, text, 0o644);
    return true;
  } catch (error) {
    throw new RudderError('file', `cannot write the subnet file ${path}: ${messageOf(error)}; remove what is there`, {
      cause: error,
    });
  }
}

/** Whether it is a file of that text which nobody but us can change. */
async function isIt(path: string, text: string): Promise<boolean> {
  const file = await readPlainFile(path, MOST_SUBNET_ENV_BYTES).catch(() => undefined);
  return file !== undefined && file.text === text && isOwnFile(file);
}

/** Whether everybody can read it, and nobody but us change it. */
export function isOwnFile({ stats: { uid, mode, nlink } }: PlainFile): boolean {
  return uid === process.geteuid!() && (mode & 0o7777) === 0o644 && nlink === 1;
}

/** @returns the path without links. @throws RudderError `file` if others than root could put another directory in its place */
async function inTrustedDirectory(subnetFile: string): Promise<string> {
  const directory = dirname(resolve(subnetFile));
  try {
    const real = await realpath(directory);
    for (const path of new Set([...ancestors(directory), ...ancestors(real)])) await checkTrusted(path);
    return join(real, basename(subnetFile));
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot publish ${subnetFile}: ${messageOf(error)}; make the directory with "systemd-tmpfiles --create rudder.conf"`,
      { cause: error },
    );
  }
}

function ancestors(path: string): string[] {
  return path === dirname(path) ? [path] : [...ancestors(dirname(path)), path];
}

async function checkTrusted(path: string): Promise<void> {
  const stats = await lstat(path);
  if (stats.uid !== 0 && stats.uid !== process.geteuid!()) throw new Error(`${path} is not root's`);
  const isOpen = stats.isDirectory() && (stats.mode & 0o022) !== 0 && (stats.mode & 0o1000) === 0;
  if (isOpen) throw new Error(`others than root may rename files in ${path}`);
}
