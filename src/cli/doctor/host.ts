import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import type { Status } from '../../ops/status.js';

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
  /** The Date header of a web server's answer; undefined if there is none. */
  dateOf(url: string): Promise<Date | undefined>;
}

const TIMEOUT_MS = 5000;

export function realHost(status: Status | undefined, endpoints: readonly string[]): Host {
  const run = (command: string, args: readonly string[]) =>
    new Promise<string | undefined>((resolve) => {
      execFile(command, args, { timeout: TIMEOUT_MS }, (error, stdout) => resolve(error === null ? stdout : undefined));
    });
  return {
    isRoot: process.getuid?.() === 0,
    status,
    endpoints,
    now: Date.now,
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    read: (path) => readFile(path, 'utf8').catch(() => undefined),
    run,
    succeeds: async (command, args) => (await run(command, args)) !== undefined,
    async dateOf(url) {
      const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => undefined);
      const date = new Date(answer?.headers.get('date') ?? Number.NaN);
      return Number.isNaN(date.getTime()) ? undefined : date;
    },
  };
}
