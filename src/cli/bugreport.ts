import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { execa } from 'execa';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { HIDDEN, redactText } from '../core/secrets.js';
import { askDaemonForText } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import type { NodeOptions } from './defaults-file.js';
import { EXIT_OK } from './exit-codes.js';
import { packageVersion } from './version.js';

/** Each section has an end, whatever it asks. */
const SECTION_MS = 20_000;
const SECTION_CHARACTERS = 1024 * 1024;
const JOURNAL_LINES = 500;

/** What somebody would ask for who looks for a fault, under its title. */
interface Section {
  readonly title: string;
  read(): Promise<string>;
  /** Of a longer text its end is kept, as of a log; else its start. */
  readonly keepsEnd?: boolean;
}

/** `rudder bugreport`: one file for those who look for a fault, that can be given away. */
export async function bugreport(node: NodeOptions, file: string | undefined): Promise<number> {
  const path = resolve(file ?? `rudder-bugreport-${hostname()}-${timeOf(new Date())}.txt`);
  // Before anything is collected: a file that cannot be written is told at once. One that is there stays.
  const report = await open(path, 'wx', 0o600).catch((error: unknown) => {
    const is =
      errnoOf(error) === 'EEXIST' ? 'is there already: expected none' : `cannot be written: ${messageOf(error)}`;
    throw new RudderError('file', `${path} ${is}; name another file, rudder bugreport FILE`);
  });
  try {
    for (const section of sectionsOf(node)) {
      await report.appendFile(`===== ${section.title}\n${await textOf(section, secretsOf(node))}\n\n`);
    }
  } finally {
    await report.close();
  }
  process.stdout.write(`wrote ${path}: secrets are removed, addresses and names of hosts are in it\n`);
  return EXIT_OK;
}

/** `20261127T093000Z` */
const timeOf = (date: Date) => `${date.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;

/** Those that are known as such are hidden wherever they stand. */
function secretsOf({ given, file }: NodeOptions): string[] {
  return [given, file].flatMap(({ etcdPassword }) =>
    typeof etcdPassword === 'string' && etcdPassword ? etcdPassword : [],
  );
}

async function textOf({ read, keepsEnd }: Section, secrets: readonly string[]): Promise<string> {
  const text = await read().catch((error: unknown) => `(failed: ${messageOf(error)})`);
  const known = secrets.reduce((redacted, secret) => redacted.replaceAll(secret, HIDDEN), text);
  // Whole first: half a secret could not be told from other text.
  const redacted = redactText(known).trimEnd() || '(nothing)';
  if (redacted.length <= SECTION_CHARACTERS) return redacted;
  const cut = `(${redacted.length - SECTION_CHARACTERS} characters are left out)`;
  return keepsEnd
    ? `${cut}\n${redacted.slice(-SECTION_CHARACTERS)}`
    : `${redacted.slice(0, SECTION_CHARACTERS)}\n${cut}`;
}

function sectionsOf(node: NodeOptions): Section[] {
  const ours = (...words: string[]): Section => ({
    title: `rudder ${words.join(' ')}`,
    read: () => outputOf(process.execPath, [process.argv[1], ...words], variablesOf(node)),
  });
  const command = (name: string, ...words: string[]): Section => ({
    title: [name, ...words].join(' '),
    read: () => outputOf(name, words),
  });
  const journal = ['-u', 'rudder', '-n', String(JOURNAL_LINES), '--no-pager', '-o', 'short-iso-precise', '--utc'];
  return [
    {
      title: 'rudder bugreport',
      read: async () =>
        `Rudder ${packageVersion()}, Node.js ${process.version}, ${new Date().toISOString()}, uid ${process.getuid?.()}`,
    },
    command('uname', '-a'),
    ours('status', '--json'),
    ours('peers', '--json'),
    { ...ours('events'), keepsEnd: true },
    ours('leases', '--json'),
    ours('doctor'),
    ours('config', 'get'),
    ours('config', 'history'),
    { title: 'metrics', read: () => askDaemonForText(controlSocketOf(node.raw.subnetFile), '/metrics') },
    ...['addr', 'route', 'rule'].map((what) => command('ip', '-d', what)),
    command('nft', '--stateless', 'list', 'table', 'ip', 'rudder'),
    { title: 'iptables-save, our chains', read: async () => ourChains(await outputOf('iptables-save', [])) },
    { ...command('journalctl', ...journal), keepsEnd: true },
  ];
}

/** Lines of chains that are ours or lead there, with the tables in which they are; and what went wrong. */
const ourChains = (saved: string) =>
  saved
    .split('\n')
    .filter((line) => /RUDDER|^\*|^\(/.test(line))
    .join('\n');

/** The options by which the other commands find the same node and etcd: as variables, which no process list shows. */
function variablesOf({ given }: NodeOptions): Record<string, string> {
  const names = Object.keys(given).filter(
    (name) => ['subnetFile', 'stateDir', 'netConfigPath', 'nodeName'].includes(name) || /^(etcd|kube)/.test(name),
  );
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = given[name as keyof typeof given];
      const variable = `RUDDERD_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
      return value === undefined ? [] : [[variable, String(value)]];
    }),
  );
}

/** What it prints on both outputs, and why it failed if it did. */
async function outputOf(
  command: string,
  words: readonly string[],
  variables: Record<string, string> = {},
): Promise<string> {
  const env = { ...variables, LC_ALL: 'C', SYSTEMD_COLORS: '0', NO_COLOR: '1' };
  const limits = { timeout: SECTION_MS, maxBuffer: 8 * SECTION_CHARACTERS };
  const result = await execa(command, [...words], { ...limits, env, all: true, reject: false, stdin: 'ignore' });
  const { all = '', exitCode, timedOut, isMaxBuffer, failed } = result;
  if (!failed) return all;
  const short = failed && 'originalMessage' in result ? result.originalMessage : undefined;
  const why = timedOut
    ? `ended after ${SECTION_MS / 1000} s`
    : isMaxBuffer
      ? 'too much output, the rest is left out'
      : exitCode === undefined
        ? `failed: ${messageOf(short ?? 'not started')}`
        : `exit status ${exitCode}`;
  return `${all}\n(${why})`;
}
