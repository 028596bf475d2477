import { lstat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { quote, RudderError, shorten } from '../core/errors.js';
import { type Asked, tryDaemon } from '../ops/control-client.js';
import type { EtcdSettings } from '../ops/etcd-settings.js';
import { controlSocketOf } from '../ops/http.js';
import { DEFAULTS_FILE, type NodeOptions, refuseWrong, type Some } from './defaults-file.js';
import type { RawEtcdOptions } from './etcd-options.js';
import { parseEndpoints, parsePrefix } from './values.js';

/** What a daemon tells of its etcd, as its flags say it. */
export function toEtcdSettings(raw: RawEtcdOptions): EtcdSettings {
  // Who reads it is in another directory.
  const path = (text: string | undefined) => (text ? resolve(text) : undefined);
  return {
    endpoints: raw.etcdEndpoints,
    prefix: raw.etcdPrefix,
    cafile: path(raw.etcdCafile),
    certfile: path(raw.etcdCertfile),
    keyfile: path(raw.etcdKeyfile),
    username: raw.etcdUsername || undefined,
    passwordFile: path(raw.etcdPasswordFile),
  };
}

/** The etcd of this host's node, for a command that is not its daemon. */
export interface NodeEtcd {
  readonly raw: RawEtcdOptions;
  /** Who has named it; undefined: the command line or the environment. */
  readonly saidBy: string | undefined;
}

/**
 * Who names endpoints means that etcd, with what else is given. Otherwise the running daemon says which etcd this node
 * uses, and if none does, the settings of its service.
 * @throws RudderError for settings that cannot be used
 */
export async function findEtcd(node: NodeOptions): Promise<NodeEtcd> {
  if (node.given.etcdEndpoints !== undefined) return { raw: combine(node, {}), saidBy: undefined };
  const socketPath = controlSocketOf(node.raw.subnetFile);
  const asked = await tryDaemon(socketPath, 'GET', '/etcd');
  if (asked.is === 'answer' && asked.answer.code === 409) throw new RudderError('usage', NO_ETCD);
  const told = asked.is === 'answer' && asked.answer.code === 200 ? readSettings(asked.answer.body) : undefined;
  if (told !== undefined) {
    const found = pick(openIn(node), toRaw(told));
    if (!(await isTrusted(socketPath))) refuseFiles(found, node.file);
    return { raw: combine(node, withPassword(found, node.file)), saidBy: 'as the running daemon says' };
  }
  refuseWrong(node, ALL);
  return { raw: combine(node, node.file), saidBy: whoSays(node, asked) };
}

/** Its daemon says so, and there is nothing to fall back on: another cluster's etcd is not its. */
const NO_ETCD =
  'the node that runs here belongs to no etcd, as with "rudder up --dev": expected a node of a cluster; give --etcd-endpoints to ask another one';

export function describeEtcd({ raw, saidBy }: NodeEtcd): string {
  const what = `etcd at ${raw.etcdEndpoints}, prefix ${raw.etcdPrefix}`;
  return shorten(saidBy === undefined ? what : `${what}, ${saidBy}`, 500);
}

/** Options that speak of one thing, of which a command line says all or nothing. */
const TLS = ['etcdCafile', 'etcdCertfile', 'etcdKeyfile'] as const;
const AUTH = ['etcdUsername', 'etcdPassword', 'etcdPasswordFile'] as const;
const THINGS = [['etcdEndpoints'], ['etcdPrefix'], TLS, AUTH] as const;
const ALL = THINGS.flat();

const pick = (names: readonly (typeof ALL)[number][], from: Some): Some =>
  Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));

/** Of what nothing is given. */
function openIn({ given }: NodeOptions) {
  return THINGS.filter((names) => names.every((name) => given[name] === undefined)).flat();
}

/** What is given beats what was found, and that the defaults; each thing as a whole. */
export function combine(node: NodeOptions, found: Some): RawEtcdOptions {
  const raw = { ...pick(ALL, node.defaults), ...pick(openIn(node), found), ...pick(ALL, node.given) };
  return raw as unknown as RawEtcdOptions;
}

function whoSays({ file, unreadable }: NodeOptions, asked: Asked): string {
  if (file.etcdEndpoints !== undefined) return `as ${DEFAULTS_FILE} says`;
  const why =
    unreadable === undefined ? `${DEFAULTS_FILE} names none` : `${DEFAULTS_FILE} cannot be read: ${unreadable}`;
  return `by default: ${NOT_TOLD[asked.is]}, and ${why}`;
}

const NOT_TOLD: Record<Asked['is'], string> = {
  answer: 'the running daemon does not tell',
  absent: 'no daemon runs',
  'not permitted': 'the daemon may be asked by root alone',
  silent: 'the daemon does not answer',
  garbled: 'no daemon answers',
};

const shape = z.object({
  endpoints: z.array(z.string()),
  prefix: z.string(),
  cafile: z.string().optional(),
  certfile: z.string().optional(),
  keyfile: z.string().optional(),
  username: z.string().optional(),
  passwordFile: z.string().optional(),
});

/** Undefined if it is not what a daemon answers. */
function readSettings(body: unknown): EtcdSettings | undefined {
  const { data } = shape.safeParse(body);
  try {
    return data && { ...data, endpoints: parseEndpoints(data.endpoints.join(',')), prefix: parsePrefix(data.prefix) };
  } catch {
    return undefined;
  }
}

/** Who is root may be led by what a daemon of root's says. */
export async function isTrusted(socketPath: string): Promise<boolean> {
  if (process.getuid?.() !== 0) return true;
  return lstat(socketPath).then(
    ({ uid }) => uid === 0,
    () => false,
  );
}

const toRaw = ({ endpoints, prefix, cafile, certfile, keyfile, username, passwordFile }: EtcdSettings): Some => ({
  etcdEndpoints: [...endpoints],
  etcdPrefix: prefix,
  etcdCafile: cafile,
  etcdCertfile: certfile,
  etcdKeyfile: keyfile,
  etcdUsername: username,
  etcdPasswordFile: passwordFile,
});

/** A daemon that was given its password itself, and no file, does not tell it; the settings of its service may have it. */
function withPassword(raw: Some, file: Some): Some {
  if (raw.etcdUsername === undefined || raw.etcdPasswordFile !== undefined) return raw;
  if (file.etcdUsername === raw.etcdUsername && file.etcdPassword !== undefined) {
    return { ...raw, etcdPassword: file.etcdPassword };
  }
  throw new RudderError(
    'usage',
    `the running daemon is etcd's user ${quote(raw.etcdUsername)} by a password that it does not tell: give --etcd-username and --etcd-password-file`,
  );
}

const FILES = {
  etcdCafile: '--etcd-cafile',
  etcdCertfile: '--etcd-certfile',
  etcdKeyfile: '--etcd-keyfile',
  etcdPasswordFile: '--etcd-password-file',
} as const;

/**
 * The daemon of rudder.service has few rights. Who has broken into it shall not make root open a file, and send a line of it
 * as a password to an etcd of his: files are those that root's settings name.
 */
function refuseFiles(raw: Some, file: Some): void {
  for (const [name, flag] of Object.entries(FILES) as [keyof typeof FILES, string][]) {
    const path = raw[name];
    if (path === undefined || (file[name] && resolve(file[name]) === path)) continue;
    throw new RudderError(
      'usage',
      `the running daemon is no process of root's and has ${flag} ${shorten(path, 200)}: expected the same in ${DEFAULTS_FILE}; add it there, or give ${flag}`,
    );
  }
}
