import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { readTls } from '../../control/etcd-credentials.js';
import type { EtcdOptions } from '../../control/etcd-registry.js';
import type { Ipv4 } from '../../core/ipv4.js';
import type { Status } from '../../ops/status.js';
import { describeChain, foreignChains } from '../../system/foreign-chains.js';
import { readPlainFile } from '../../system/plain-file.js';
import { listNameservers } from '../../system/resolv-conf.js';

export interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'problem';
  readonly detail: string;
  /** What to do about it; empty if all is well. */
  readonly remedy: string;
}

/** The host as the checks see it. */
export interface Host {
  readonly isRoot: boolean;
  /** What the running daemon says; undefined: none answers. */
  readonly status: Status | undefined;
  readonly endpoints: readonly string[];
  now(): number;
  exists(path: string): Promise<boolean>;
  /** A file's text; undefined if it cannot be read. */
  read(path: string): Promise<string | undefined>;
  /** A command's output; undefined if it fails. */
  run(command: string, args: readonly string[]): Promise<string | undefined>;
  succeeds(command: string, args: readonly string[]): Promise<boolean>;
  /** Whom this host asks for names. */
  nameservers(): Promise<Ipv4[]>;
  /** Chains of others that may drop or change packets; of `input`, or of what is forwarded. */
  suspects(hook?: 'input'): Promise<string[]>;
  /** The Date header of a web server's answer; undefined if there is none. */
  dateOf(url: string): Promise<Date | undefined>;
}

const TIMEOUT_MS = 5000;
const MOST_FILE_BYTES = 1024 * 1024;
/** A host of many containers has a route for each. */
const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;

export function realHost(status: Status | undefined, etcd: Pick<EtcdOptions, 'endpoints' | 'tls'>): Host {
  const run = (command: string, args: readonly string[]) =>
    new Promise<string | undefined>((resolve) => {
      execFile(command, args, { timeout: TIMEOUT_MS, maxBuffer: MOST_OUTPUT_BYTES }, (error, stdout) =>
        resolve(error === null ? stdout : undefined),
      );
    });
  return {
    isRoot: process.getuid?.() === 0,
    status,
    endpoints: etcd.endpoints,
    now: Date.now,
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    // Some are the daemon's to write: no link is followed, and none of its FIFOs waited for.
    read: (path) =>
      readPlainFile(path, MOST_FILE_BYTES).then(
        ({ text }) => text,
        () => undefined,
      ),
    run,
    succeeds: async (command, args) => (await run(command, args)) !== undefined,
    nameservers: () => listNameservers(),
    suspects: async (hook) =>
      (await foreignChains()).filter((chain) => (chain.hook === 'input') === (hook === 'input')).map(describeChain),
    dateOf: (url) => dateOf(url, etcd.tls),
  };
}

async function dateOf(url: string, files: EtcdOptions['tls']): Promise<Date | undefined> {
  let options: RequestOptions;
  try {
    const { ca, cert, key } = readTls(files ?? {});
    options = { timeout: TIMEOUT_MS, ca, cert, key };
  } catch {
    return undefined;
  }
  return new Promise((resolve) => {
    const request = (url.startsWith('https:') ? httpsRequest : httpRequest)(url, options, (answer) => {
      answer.resume();
      const date = new Date(answer.headers.date ?? Number.NaN);
      resolve(Number.isNaN(date.getTime()) ? undefined : date);
    });
    request.on('error', () => resolve(undefined));
    request.on('timeout', () => request.destroy());
    request.end();
  });
}
