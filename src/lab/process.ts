import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Server } from 'node:net';
import type { Stream } from 'node:stream';
import { RudderError } from '../core/errors.js';
import { waitFor } from './wait-for.js';

/** A background process that outlives the command that started it. */
export interface LabProcess {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: tells our process from a later one with the same pid. */
  readonly startTime: string;
}

/**
 * Starts a command in a network namespace, its output appended to a file. nsenter replaces itself, so the pid is the command's.
 * @param socket one that listens outside of the namespace: the command has it as descriptor 3
 */
export async function spawnInNamespace(
  namespace: string,
  command: readonly string[],
  logFile: string,
  env: Record<string, string> = {},
  socket?: Server,
): Promise<LabProcess> {
  const log = openSync(logFile, 'a');
  try {
    const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
      detached: true,
      stdio: ['ignore', log, log, ...(socket === undefined ? [] : [socket as unknown as Stream])],
      env: { ...process.env, ...env },
    });
    await once(child, 'spawn');
    child.unref();
    const startTime = startTimeOf(child.pid!);
    if (startTime === undefined) throw new RudderError('lab', `${command[0]} ended at once, see ${logFile}`);
    return { pid: child.pid!, startTime };
  } finally {
    closeSync(log);
  }
}

/** True while it runs; a zombie that nobody has reaped yet has ended. */
export function isRunning(target: LabProcess): boolean {
  return startTimeOf(target.pid) === target.startTime;
}

/** True while SIGSTOP holds it. */
export function isStopped(target: LabProcess): boolean {
  return isRunning(target) && statOf(target.pid)?.state === 'T';
}

/** Sends a signal to that process and to no other; false if it is gone. */
export function signalProcess(target: LabProcess, signal: NodeJS.Signals): boolean {
  if (!isRunning(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** SIGTERM, and SIGKILL if that does not help. */
export async function endProcess(target: LabProcess, graceMs: number): Promise<void> {
  signalProcess(target, 'SIGCONT'); // a stopped process does not see SIGTERM
  signalProcess(target, 'SIGTERM');
  try {
    await waitFor(`process ${target.pid} to end`, () => !isRunning(target), graceMs);
  } catch {
    signalProcess(target, 'SIGKILL');
    await waitFor(`process ${target.pid} to die`, () => !isRunning(target), 5000);
  }
}

function startTimeOf(pid: number): string | undefined {
  const stat = statOf(pid);
  return stat === undefined || stat.state === 'Z' || stat.state === 'X' ? undefined : stat.startTime;
}

function statOf(pid: number): { state: string; startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the name in parentheses and may hold spaces; state is the first field behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], startTime: fields[19] };
  } catch {
    return undefined;
  }
}
