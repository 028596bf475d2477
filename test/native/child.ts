import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export type Build = 'Release' | 'Debug';

/** The addon builds that the tests run against; Debug is the one with AddressSanitizer and UBSan. */
export const BUILDS: Build[] = ['Release', 'Debug'];

export function isBuilt(build: Build): boolean {
  return existsSync(new URL(`../../native/build/${build}/rudder_native.node`, import.meta.url));
}

/**
 * Runs a script in a process and a network namespace of its own and returns the JSON that it prints. A TUN device
 * that it opens never shows on the host, and a crash in native code is a failed test and not a lost test run.
 */
export function runChild(script: string, build: Build, settings: NodeJS.ProcessEnv = {}): Record<string, unknown> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const env: NodeJS.ProcessEnv = { ...process.env, ...settings, RUDDER_NATIVE_BUILD: build };
  if (build === 'Debug') {
    // node itself is not built with ASan, so its runtime has to be loaded first. Leaks are not looked for: node
    // frees nothing at exit.
    env.LD_PRELOAD = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
    env.ASAN_OPTIONS = 'detect_leaks=0:abort_on_error=0:exitcode=99';
    env.UBSAN_OPTIONS = 'print_stacktrace=1';
  }
  const output = execFileSync('unshare', ['--net', '--', process.execPath, path], { env, encoding: 'utf8' });
  return JSON.parse(output);
}
