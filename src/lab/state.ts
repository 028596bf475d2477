import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { RudderError } from '../core/errors.js';
import type { LabProcess } from './process.js';

/**
 * A lab as plain data, kept in a file so that `rudder lab` commands, tests and demo all work on the same one.
 *
 *     namespace rudder-NAME-switch          namespaces rudder-NAME-n1, -n2, ...      rudder-NAME-c1, ...
 *     +---------------------------+         +--------------------------------+       +------------------+
 *     | bridge br0  .1            |  veth   | eth0 .11   rudder0   docker0 --+--veth-+ eth0 (container) |
 *     | port-n1, port-n2, ... ----+---------+ the real daemon                |       +------------------+
 *     +---------------------------+         +--------------------------------+
 *       namespace rudder-NAME-etcd, .2: a real etcd
 *
 * With the veth underlay there is no switch: two nodes face each other, and etcd runs in the first one's namespace.
 * Nothing but the namespaces' names appears on the host.
 */
export interface LabState {
  readonly name: string;
  readonly underlay: Underlay;
  readonly daemon: DaemonSettings;
  etcd?: LabProcess;
  /** What makes the first node's page reachable from the host. */
  page?: LabProcess & { readonly url: string };
  readonly nodes: LabNode[];
}

export type Underlay = 'bridge' | 'veth';

/** How the lab's daemons are started. */
export interface DaemonSettings {
  readonly leaseTtl: string;
  /** More arguments for every daemon. */
  readonly arguments: readonly string[];
  /** Arguments for node itself, such as --trace-gc. */
  readonly nodeArguments: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface LabNode {
  /** Counted from 1; its name is `n<number>`, its container's `c<number>`. */
  readonly number: number;
  process?: LabProcess;
  /** Where in the log the running process began to write. */
  logOffset: number;
  hasContainer: boolean;
}

const ROOT = '/run/rudder-lab';
const NAME_PATTERN = /^[a-z0-9][a-z0-9-]{0,19}$/;

export function labDirectory(name: string): string {
  return `${ROOT}/${name}`;
}

export function checkLabName(name: string): void {
  if (!NAME_PATTERN.test(name)) {
    throw new RudderError('usage', `lab name "${name}" is not valid: expected up to 20 of a-z, 0-9 and "-"`);
  }
}

/** Labs that are being removed: a step still under way must not bring their state file back. */
const removed = new Set<string>();

export function createLabDirectory(name: string): void {
  removed.delete(name);
  mkdirSync(labDirectory(name), { recursive: true });
}

export function saveLab(lab: LabState): void {
  if (removed.has(lab.name)) return;
  writeFileSync(`${labDirectory(lab.name)}/lab.json`, `${JSON.stringify(lab, null, 2)}\n`);
}

export function loadLab(name: string): LabState {
  checkLabName(name);
  try {
    return JSON.parse(readFileSync(`${labDirectory(name)}/lab.json`, 'utf8')) as LabState;
  } catch {
    const others = listLabs().join(', ') || 'none';
    throw new RudderError(
      'lab',
      `there is no lab named "${name}": expected one of those up (${others}); start it with "rudder lab up --name ${name}"`,
    );
  }
}

export function listLabs(): string[] {
  try {
    return readdirSync(ROOT);
  } catch {
    return [];
  }
}

export function forgetLab(name: string): void {
  removed.add(name);
  rmSync(labDirectory(name), { recursive: true, force: true });
}
