import { execFile } from 'node:child_process';
import { errnoOf, messageOf } from '../core/errors.js';

const CALL_TIMEOUT_MS = 10_000;
/** kube-proxy's rules for some thousands of services are megabytes. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

export interface CallOptions {
  /** What the command reads. */
  readonly input?: string;
  /** Ends the command. */
  readonly signal?: AbortSignal | undefined;
  /** For a command that may take longer than most. */
  readonly timeoutMs?: number;
}

/** Runs a command to its end and returns its output. @throws with what it said on stderr, its cause is what failed */
export function call(command: string, args: readonly string[], options: CallOptions = {}): Promise<string> {
  const { input = '', signal, timeoutMs = CALL_TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    const limits = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT_BYTES, signal };
    const child = execFile(command, args, limits, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const reason = errnoOf(error) === 'ENOENT' ? 'it is not installed' : stderr || error.message;
      reject(new Error(`${command}: ${messageOf(reason.trim())}`, { cause: error }));
    });
    child.stdin?.on('error', () => undefined); // it ended without reading: its exit status says why
    child.stdin?.end(input);
  });
}

/** Whether a failed call failed because there is no such command. */
export function isNotInstalled(error: unknown): boolean {
  return errnoOf((error as Error | undefined)?.cause) === 'ENOENT';
}
