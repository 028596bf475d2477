import { parseNetworkConfig } from '../../backend/config.js';
import { settingsOf } from '../../backend/kinds.js';
import { optionsOf } from '../../backend/wireguard/options.js';
import type { SharedRegistry } from '../../control/open.js';
import { messageOf, RudderError, shorten } from '../../core/errors.js';
import { tryDaemon } from '../../ops/control-client.js';
import { controlSocketOf } from '../../ops/http.js';
import type { Status } from '../../ops/status.js';
import { toStatus } from '../daemon-status.js';
import type { NodeOptions } from '../defaults-file.js';
import { EXIT_CODES, EXIT_OK } from '../exit-codes.js';
import { findStore } from '../node-store.js';
import { refuseUser } from '../ping.js';
import { toRegistryOptions } from '../registry-options.js';
import { CHECKS, type Check, NETWORK_CHECKS } from './checks.js';
import { type EtcdFound, type Facts, type Finding, type Host, type Link, realHost, type Unready } from './host.js';
import { askIp } from './ip.js';
import { readService } from './service.js';

/** `rudder doctor`: looks for what usually goes wrong. @returns 0 if there is no problem */
export const doctor = (node: NodeOptions, json: boolean) => lookFor(CHECKS, node, json);

/** `rudder netcheck`: the network under the overlay, and etcd. @returns 0 if there is no problem */
export async function netcheck(node: NodeOptions, json: boolean): Promise<number> {
  refuseUser();
  return lookFor(NETWORK_CHECKS, node, json);
}

async function lookFor(checks: readonly Check[], node: NodeOptions, json: boolean): Promise<number> {
  const { subnetFile } = node.raw;
  const socketPath = controlSocketOf(subnetFile);
  const { options, etcd } = await readStore(node);
  const settings = {
    unreadable: node.unreadable,
    refused: [...node.refused.values()].map(messageOf),
    wireguardImplementation: node.raw.wireguardImplementation,
  };
  const known = { socketPath, ...(await askStatus(socketPath, subnetFile)), etcd, settings };
  const findings = await examine(realHost(known, options), checks);
  process.stdout.write(json ? `${JSON.stringify(findings, null, 2)}\n` : describe(findings));
  return findings.some(({ state }) => state === 'problem') ? EXIT_CODES['not-ready'] : EXIT_OK;
}

/** What cannot be used is a finding, and no reason to look at nothing else. */
async function readStore(
  node: NodeOptions,
): Promise<{ options: SharedRegistry | undefined; etcd: EtcdFound | undefined }> {
  try {
    const { raw, saidBy } = await findStore(node);
    const options = toRegistryOptions(raw);
    if (options.kind === 'kubernetes') return { options, etcd: undefined };
    const { endpoints, prefix, flags = [] } = options;
    return { options, etcd: { endpoints, prefix, flags, saidBy } };
  } catch (error) {
    if (!(error instanceof RudderError)) throw error;
    return { options: undefined, etcd: { problem: messageOf(error) } };
  }
}

/** What the daemon answers is a stranger's text until it is looked at. */
export async function askStatus(
  socketPath: string,
  subnetFile: string,
): Promise<{ status: Status | undefined; daemon: Unready }> {
  const none = (daemon: Unready) => ({ status: undefined, daemon });
  const asked = await tryDaemon(socketPath, 'GET', '/status');
  if (asked.is !== 'answer') return none(asked);
  const { code, body } = asked.answer;
  const { starting, error } = (body ?? {}) as { starting?: unknown; error?: unknown };
  if (typeof starting === 'string') return none({ is: 'starting', phase: shorten(starting, 200) });
  if (code !== 200 && typeof error === 'string') return none({ is: 'failing', reason: shorten(error, 200) });
  try {
    return { status: toStatus(body, subnetFile), daemon: { is: 'absent' } };
  } catch (thrown) {
    return none({ is: 'garbled', reason: messageOf(thrown) });
  }
}

export async function examine(host: Host, checks: readonly Check[] = CHECKS): Promise<Finding[]> {
  const asked = [readLinks(host), readService(host), probeEtcd(host), host.probeKubernetes()] as const;
  const [links, service, probes, kubernetes] = await Promise.all(asked);
  const configs = [...probes.map(([, { config }]) => config?.json), kubernetes?.config?.json];
  const facts = {
    ...host,
    links,
    service,
    probes,
    kubernetes,
    backend: backendOf(
      host,
      configs.find((json) => json !== undefined),
    ),
  };
  const findings: Finding[] = [];
  for (const check of checks) findings.push(...(await check(facts)));
  return findings;
}

async function probeEtcd(host: Host): Promise<Facts['probes']> {
  if (host.etcd === undefined || 'problem' in host.etcd) return [];
  return Promise.all(host.etcd.endpoints.map(async (endpoint) => [endpoint, await host.probe(endpoint)] as const));
}

function backendOf({ status, settings }: Host, json: string | undefined): Facts['backend'] {
  if (status !== undefined) {
    const { type, implementation } = status.backend;
    return { type, port: status.node.port ?? undefined, implementation: implementation?.runs };
  }
  if (json === undefined) return undefined;
  try {
    const config = parseNetworkConfig(json);
    const { type, tunnel } = settingsOf(config);
    const implementation =
      type === 'wireguard' ? (settings.wireguardImplementation ?? optionsOf(config).implementation) : undefined;
    return { type, port: tunnel?.port, implementation };
  } catch {
    return undefined; // told elsewhere
  }
}

async function readLinks(host: Host): Promise<Link[]> {
  return (await askIp<Link>(host, 'address', 'show')) ?? [];
}

const MARKS = { ok: 'ok      ', warning: 'warning ', problem: 'PROBLEM ' };

export function describe(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ check, state, detail, remedy }) => [
    `${MARKS[state]} ${check}: ${detail}`,
    ...(remedy === '' ? [] : [`          -> ${remedy}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
