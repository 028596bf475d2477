import { expiryWarning } from '../core/certificates.js';
import { counted } from '../core/counted.js';
import { type ForwardingStatus, nameOf, type Passage, type Status } from './status.js';

/** The packet path looks at its clock once a second at least: one that has not for this long hangs. */
export const LONGEST_HEARTBEAT_SECONDS = 5;
/** A watch is set up again in well under this when the registry is there. */
const LONGEST_STALE_SECONDS = 10;
/** Of the TTL. Renewals come at a third of it or sooner, so this little means that two in a row have failed, and more. */
const LEAST_LEASE_SHARE = 0.2;

/** True while packets are being looked at: what a liveness check and the watchdog want to know. */
export function isAlive({ packetPath }: Pick<Status, 'packetPath'>): boolean {
  return packetPath === null || packetPath.heartbeatSeconds <= LONGEST_HEARTBEAT_SECONDS;
}

/** Why a node should get no new work, one text each. */
export function problemsOf(status: Omit<Status, 'problems' | 'warnings'>): string[] {
  const { packetPath, device, registry, lease, firewall } = status;
  const problems: string[] = [];
  if (packetPath !== null && !isAlive(status)) {
    problems.push(`the packet path has not run for ${Math.round(packetPath.heartbeatSeconds)} s`);
  }
  if (!device.up) problems.push(`${device.name} is down or gone`);
  if (status.hostProblem !== null) problems.push(status.hostProblem);
  const reason = registry.problem === null ? '' : `: ${registry.problem}`;
  if (registry.lastContactSeconds === null) {
    problems.push(
      `degraded: lease and peers are as last known, since the start ${registry.kind} has told nothing${reason}`,
    );
  } else if (registry.staleSeconds > LONGEST_STALE_SECONDS) {
    problems.push(
      `${registry.kind} has not been watched for ${Math.round(registry.staleSeconds)} s, peers may have changed${reason}`,
    );
  }
  const why = lease.problem === null ? '' : `: ${lease.problem}`;
  if (lease.key !== 'written')
    problems.push(`${KEY_PROBLEMS[registry.kind === 'kubernetes' ? 'kubernetes' : 'etcd'][lease.key]}${why}`);
  else if (lease.remainingSeconds !== null && lease.remainingSeconds < (lease.ttlSeconds ?? 0) * LEAST_LEASE_SHARE) {
    problems.push(`the lease runs out in ${Math.round(lease.remainingSeconds)} s and cannot be renewed${why}`);
  }
  if (firewall.forwarding !== null) problems.push(...problemsOfForwarding(firewall.forwarding, device.name));
  return problems;
}

const KEY_PROBLEMS = {
  etcd: {
    gone: 'the own lease key is gone from etcd and not written again yet: the subnet may go to another node',
    differs: 'the own lease key in etcd does not say what this node is, and is not put right yet: peers go by it',
  },
  kubernetes: {
    gone: 'the own Node is gone from Kubernetes, or has no podCIDR: peers know no way to this node',
    differs: "the own Node's annotations do not say what this node is, and are not put right yet: peers go by them",
  },
};

/** What is not as it should be while the node does its work, one text each. @param now milliseconds since 1970 */
export function warningsOf(status: Omit<Status, 'problems' | 'warnings'>, now = Date.now()): string[] {
  const { config, registry, ignoredLeases, peers, node, firewall } = status;
  const warnings = registry.certificates.flatMap((certificate) => expiryWarning(certificate, now) ?? []);
  if (firewall.problem !== null) warnings.push(`the firewall rules are not kept: ${firewall.problem}`);
  if (config.detail !== null)
    warnings.push(
      `the ${registry.kind === 'etcd' ? 'network config in etcd' : 'stored network config'} is ${config.state}: ${config.detail}`,
    );
  warnings.push(...warningsOfEncryption(status));
  const { count, first } = ignoredLeases;
  if (count > 0) {
    const named = first.map(
      ({ key, host, nextHop, problem }) => `${key}${nextHop ? ` of ${nameOf({ host, nextHop })}` : ''}: ${problem}`,
    );
    warnings.push(`${counted(count, 'lease is', 'leases are')} ignored: ${someOf(named, count)}`);
  }
  const skipped = peers.flatMap(({ subnet, problem }) => (problem === null ? [] : [`${subnet}: ${problem}`]));
  if (skipped.length > 0) {
    warnings.push(`${counted(skipped.length, 'peer')} skipped: ${someOf(skipped, skipped.length)}`);
  }
  const own = prefixOf(node.subnet);
  const larger = peers
    .filter(({ subnet }) => prefixOf(subnet) < own)
    .map((peer) => `${peer.subnet} of ${peer.nextHop}`);
  if (larger.length > 0) {
    warnings.push(
      `${counted(larger.length, 'peer has', 'peers have')} a larger subnet than this node's /${own}, and cannot send to it if that is the SubnetLen it runs with; restart the nodes that run with an older network config: ${someOf(larger, larger.length)}`,
    );
  }
  return warnings;
}

/** Who can write to the registry, or to what is said with it, can put himself in the middle. */
function warningsOfEncryption({ backend, registry }: Pick<Status, 'backend' | 'registry'>): string[] {
  if (!backend.cipher) return [];
  const open = registry.endpoints.filter((url) => url.startsWith('http://') && !isLoopback(url));
  const warnings =
    open.length === 0
      ? []
      : [
          `packets are encrypted, but ${registry.kind} is spoken to without TLS (${someOf(open, open.length)}): who can change that can read them all`,
        ];
  const behind = backend.clockBehindSeconds ?? 0;
  if (behind > 0) {
    warnings.push(`the clock is ${Math.round(behind)} s behind what peers were told before it was set back`);
  }
  return warnings;
}

const isLoopback = (url: string) => /^http:\/\/(127\.|localhost[:/]|\[::1\])/.test(url);

const MOST_NAMED = 3;

function someOf(named: readonly string[], count: number): string {
  const some = named.slice(0, MOST_NAMED);
  const more = count - some.length;
  return `${some.join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

const prefixOf = (subnet: string) => Number(subnet.split('/')[1]);

function problemsOfForwarding(forwarding: ForwardingStatus, device: string): string[] {
  const { suspects } = forwarding;
  const by = suspects.length > 0 ? `, perhaps by ${suspects.join(', ')}` : '';
  const told = (way: string, passage: Passage) =>
    passage === 'dropped' || passage === 'translated'
      ? [`packets of containers ${way} ${device} are ${passage}${by}`]
      : [];
  return [...told('out through', forwarding.out), ...told('in from', forwarding.in)];
}
