import { askDaemon } from '../../ops/control-client.js';
import { controlSocketOf } from '../../ops/http.js';
import type { NodeOptions } from '../defaults-file.js';
import { toEtcdOptions } from '../etcd-options.js';
import { EXIT_CODES, EXIT_OK } from '../exit-codes.js';
import { findEtcd } from '../node-etcd.js';
import { CHECKS } from './checks.js';
import { type Finding, type Host, realHost } from './host.js';
import { trustStatus } from './trust.js';

/** `rudder doctor`: looks for what usually goes wrong. @returns 0 if there is no problem */
export async function doctor(node: NodeOptions, json: boolean): Promise<number> {
  const { subnetFile } = node.raw;
  const etcd = toEtcdOptions((await findEtcd(node)).raw);
  const answer = await askDaemon(controlSocketOf(subnetFile), 'GET', '/status').catch(() => undefined);
  // A daemon that still starts has no status yet.
  const status = answer?.code === 200 ? trustStatus(answer.body, subnetFile) : undefined;
  const findings = await examine(realHost(status, etcd));
  process.stdout.write(json ? `${JSON.stringify(findings, null, 2)}\n` : describe(findings));
  return findings.some(({ state }) => state === 'problem') ? EXIT_CODES['not-ready'] : EXIT_OK;
}

export async function examine(host: Host): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const check of CHECKS) findings.push(...(await check(host)));
  return findings;
}

const MARKS = { ok: 'ok      ', warning: 'warning ', problem: 'PROBLEM ' };

function describe(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ check, state, detail, remedy }) => [
    `${MARKS[state]} ${check}: ${detail}`,
    ...(remedy === '' ? [] : [`          -> ${remedy}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
