import { counted } from '../../core/counted.js';
import { shorten } from '../../core/errors.js';
import { CHAINS } from '../../system/firewall-rules.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Finding, Host } from './host.js';

export async function firewall(host: Host): Promise<Finding[]> {
  const { status } = host;
  if (status === undefined) return [];
  const { kept, problem, repairs, forwarding } = status.firewall;
  if (problem !== null) {
    const isThere = await Promise.all(['iptables-save', 'nft'].map((name) => host.succeeds(name, ['--version'])));
    const remedy = isThere.every(Boolean) ? 'see the log: journalctl -u rudder' : 'install iptables and nftables';
    return [bad('firewall', problem, `${remedy}; or run with --no-firewall`)];
  }
  if (!kept) return [ok('firewall', 'left alone, as --no-firewall says')];
  if (repairs > 10) {
    const remedy = 'find out who rewrites iptables: a firewall manager, a configuration tool';
    return [warn('firewall', `the rules had to be put back ${counted(repairs, 'time')}`, remedy)];
  }
  if (forwarding === null)
    return [unknown('firewall', 'nft does not tell what has passed', 'see "nft list table ip rudder"')];
  // A look of our own at what the daemon says that it keeps.
  const saved = await host.run('iptables-save', ['-t', 'filter']);
  if (saved === undefined) return [unknown('firewall', 'iptables-save tells nothing', 'run as root')];
  const intruder = ruleBeforeOurs(saved);
  if (intruder !== undefined) {
    const remedy = 'rudder puts its own first within seconds: look again, and find out who rewrites iptables';
    return [bad('firewall', intruder, remedy)];
  }
  const { out, in: inward, forged } = forwarding;
  return [
    ...(forged === 0 ? [] : [tellForged(forged)]),
    ok(
      'firewall',
      `the rules are there, and first; of containers' packets since: out ${SEEN[out]}, in ${SEEN[inward]}`,
    ),
  ];
}

/** An attack, or a member whose datagrams come by another interface than that by which this host sends to it. */
function tellForged(forged: number): Finding {
  const remedy =
    'see "ip route get ADDRESS" for the members: the way to each must leave by the interface that its datagrams come by; if it does, a container or a program of this host passes itself off as a member';
  const claimed = `${counted(forged, 'datagram')} that claimed to come from a member`;
  return warn('firewall', `${claimed} came by an interface that does not lead there, and had to be dropped`, remedy);
}

/** What is wrong with the place of our rules. */
function ruleBeforeOurs(saved: string): string | undefined {
  const rules = saved.split('\n').filter((line) => line.startsWith('-A FORWARD '));
  const at = rules.findIndex((rule) => rule.includes(`-j ${CHAINS.forward.name}`));
  if (at < 0) return `iptables has no rule for ${CHAINS.forward.name} in FORWARD`;
  // An operator's own word comes first.
  const before = rules.slice(0, at).find((rule) => !rule.includes('-j DOCKER-USER'));
  return before === undefined ? undefined : `"${shorten(before, 100)}" comes before ${CHAINS.forward.name}`;
}

/** Those that are lost or translated make the node not ready, which is told by the check of the daemon. */
const SEEN = {
  unknown: 'none seen',
  passes: 'they pass',
  dropped: 'they are dropped',
  translated: 'they are translated',
};
