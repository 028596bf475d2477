import { readFileSync } from 'node:fs';

// main.ts imports nothing else of ours before the limit is known, and this file one: each file that is read beside
// another takes a descriptor more.
export { EXIT_CODES } from './exit-codes.js';

/**
 * Reading our modules takes the most descriptors that a sub-command has at a time: node opens all that one of them
 * imports at once, and zod's languages alone are 60. Of 96 there were too few, of 100 enough.
 */
export const LEAST_FOR_COMMAND = 128;
/**
 * A daemon that carries packets was counted to have 33 of its own. To these come 64 connections to each of its two HTTP
 * servers, ten for each command that it runs (iptables) and one for each etcd: 180, and the rest is to spare.
 */
export const LEAST_FOR_DAEMON = 256;

const REMEDY = 'raise it with "ulimit -n 1024", or with LimitNOFILE=1024 in the systemd unit';

/** While there are descriptors left to read it with. Node.js has raised it to the hard limit. */
const limit = readLimit();

function readLimit(): string {
  try {
    return /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 'unknown';
  } catch (error) {
    // Below 19 node itself does not start, or cannot read our first file.
    return isOutOfDescriptors(error) ? 'below 20' : 'unknown';
  }
}

/** Why there are too few, in one line; undefined if there are enough or nobody knows. */
export function tooFewDescriptors(least: number): string | undefined {
  if (limit !== 'below 20' && !(Number(limit) < least)) return undefined;
  return `limit of open files ${limit}: expected at least ${least}; ${REMEDY}`;
}

/** The line about an error that came of having none left; undefined for any other error. */
export function outOfDescriptors(error: unknown, reason: string): string | undefined {
  if (!isOutOfDescriptors(error)) return undefined;
  return `limit of open files ${limit} reached (${reason}): expected at least ${LEAST_FOR_DAEMON}; ${REMEDY}`;
}

/** Libraries may have wrapped the kernel's errno into an error or a text of their own. */
function isOutOfDescriptors(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    (error as NodeJS.ErrnoException).code === 'EMFILE' ||
    /\bEMFILE\b/.test(error.message) ||
    isOutOfDescriptors(error.cause)
  );
}
