import { parseNetworkConfig } from '../../backend/config.js';
import type { CheckStep, Checkup } from '../../control/open.js';
import { initCommand } from '../../core/command-line.js';
import { messageOf } from '../../core/errors.js';
import { correctKey } from '../../core/network-config.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding, Host } from './host.js';

/** Slower than this, and a busy node's requests come near their deadline of some seconds. */
const SLOW_MS = 500;

/** Whether the settings of the service are such that the daemon starts with them. */
export async function settings({ settings: { unreadable, refused } }: Host): Promise<Finding[]> {
  if (unreadable !== undefined) return [unknown('settings', `/etc/default/rudder: ${unreadable}`, 'run as root')];
  return refused.map((line) => bad('settings', line, 'rudder.service does not start with that'));
}

/** Each endpoint by itself: a cluster works while most of its members do, and a node while one of them answers. */
export async function etcd(host: Facts): Promise<Finding[]> {
  const { etcd: found } = host;
  if (host.status?.registry.kind === 'embedded')
    return [ok('etcd', 'none is needed: one node without a cluster (rudder up --dev)')];
  if (found === undefined) return [];
  if ('problem' in found) return [bad('etcd', found.problem, 'without it etcd could not be looked at')];
  const { probes } = host;
  const isWorking = probes.some(([, { failure }]) => failure === undefined);
  const findings = probes.flatMap(([endpoint, probe]) => ofProbe(endpoint, probe, isWorking));
  const config = probes.flatMap(([, { config }]) => config ?? []).at(0);
  if (config !== undefined) findings.push(...ofConfig(config.json, found, host.status === undefined ? bad : warn));
  return found.saidBy === undefined ? findings : [ok('etcd', found.saidBy), ...findings];
}

/** Without one no node starts anew; one that runs goes on. */
function ofConfig(
  json: string | undefined,
  { prefix, flags }: { prefix: string; flags: readonly string[] },
  tell: typeof bad,
): Finding[] {
  const key = `${prefix}/config`;
  if (json === undefined)
    return [tell('network config', `there is no key ${key}`, `create it: ${initCommand({ flags })}`)];
  const remedy = correctKey({ key, flags });
  try {
    parseNetworkConfig(json, remedy);
    return [];
  } catch (error) {
    return [tell('network config', messageOf(error).replace(`; ${remedy}`, ''), remedy)];
  }
}

function ofProbe(
  endpoint: string,
  { failure, readMs, writeMs, alarms, version, isLeader }: Checkup,
  isWorking: boolean,
): Finding[] {
  if (failure !== undefined) {
    const tell = isWorking ? warn : bad;
    return [tell('etcd', `${endpoint}: ${DOES[failure.step]}: ${failure.reason}`, REMEDIES[failure.step])];
  }
  const known = `${endpoint}: read in ${Math.ceil(readMs)} ms, would write in ${Math.ceil(writeMs)} ms`;
  if (alarms !== undefined && alarms.length > 0) {
    const remedy = 'see "etcdctl alarm list" and "etcdctl endpoint status", and https://etcd.io/docs: maintenance';
    return [bad('etcd', `${known}, but it has the alarm ${[...new Set(alarms)].join(', ')}`, remedy)];
  }
  if (Math.max(readMs, writeMs) > SLOW_MS) {
    return [warn('etcd', `${known}: slow`, 'look at the load and the disk of that host: etcd waits for both')];
  }
  const told = alarms === undefined ? 'its alarms are not told' : 'no alarm';
  return [
    ok('etcd', `${known}, ${told}${version === undefined ? '' : `, etcd ${version}`}${isLeader ? ', the leader' : ''}`),
  ];
}

const DOES: Record<CheckStep, string> = {
  resolve: 'the name does not resolve',
  connect: 'there is no connection',
  TLS: 'TLS is not agreed on',
  read: 'reading fails',
  watch: 'reading works, watching fails',
  write: 'reading works, writing fails',
};

const REMEDIES: Record<CheckStep, string> = {
  resolve: "correct the name in --etcd-endpoints, or this host's name servers",
  connect: 'is etcd running there and listening on that address, and is the way to it open?',
  TLS: 'compare --etcd-cafile, --etcd-certfile and --etcd-keyfile with what etcd was started with',
  read: 'see "etcdctl endpoint status --cluster": has the cluster a leader, may this user read the prefix?',
  watch: 'nodes learn late of peers that come and go until that works: may this user read all keys below the prefix?',
  write: 'no node gets or moves a lease until that works: see "etcdctl alarm list" and the log of etcd',
};
