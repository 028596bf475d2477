import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Runs a script in a network namespace of its own and returns the JSON that it prints. */
export function runChild(script: string): Record<string, unknown> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return JSON.parse(execFileSync('unshare', ['--net', '--', process.execPath, path], { encoding: 'utf8' }));
}
