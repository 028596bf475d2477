import { parseIpv4 } from '../../core/address-text.js';
import { counted } from '../../core/counted.js';
import { shorten } from '../../core/errors.js';
import type { Status } from '../../ops/status.js';
import { ownChains } from '../../system/firewall-rules.js';
import { faultsIn } from '../../system/iptables.js';
import { TABLE } from '../../system/nft-rules.js';
import { subnetOf } from './containers.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding, Host } from './host.js';
import { seeLog } from './service.js';

export async function firewall(host: Facts): Promise<Finding[]> {
  const { status } = host;
  if (status === undefined) return [];
  const { problem, repairs, forwarding, settings } = status.firewall;
  if (problem !== null) {
    const isThere = await Promise.all(['iptables-save', 'nft'].map((name) => host.succeeds(name, ['--version'])));
    const remedy = isThere.every(Boolean) ? seeLog(host.service) : 'install iptables and nftables';
    return [bad('firewall', problem, `${remedy}; or run with --no-firewall`)];
  }
  if (settings === null) return [ok('firewall', 'left alone, as --no-firewall says')];
  const findings = await lookAtRules(host, status, settings);
  const isLooked = findings.length === 0;
  if (repairs > 10) {
    const remedy = 'find out who rewrites iptables: a firewall manager, a configuration tool';
    findings.push(warn('firewall', `the rules had to be put back ${counted(repairs, 'time')}`, remedy));
  }
  if (forwarding === null) {
    findings.push(unknown('firewall', 'nft does not tell what has passed', `see "nft list table ip ${TABLE}"`));
  } else {
    if (forwarding.forged > 0) findings.push(tellForged(forwarding.forged));
    if (forwarding.strangers > 0) findings.push(tellStrangers(forwarding.strangers));
  }
  if (forwarding === null || findings.some(({ state }) => state === 'problem')) return findings;
  const { out, in: inward } = forwarding;
  const seen = `of containers' packets since: out ${SEEN[out]}, in ${SEEN[inward]}`;
  return isLooked ? [...findings, ok('firewall', `the rules are there, and first; ${seen}`)] : findings;
}

/** By the same look as the daemon's, which puts right what it finds. */
async function lookAtRules(
  host: Host,
  { node }: Status,
  { localAddress, bareWay, tunnel, ...settings }: NonNullable<Status['firewall']['settings']>,
): Promise<Finding[]> {
  const saved = await host.run('iptables-save', []);
  if (saved === undefined) return [unknown('firewall', 'iptables-save tells nothing', 'run as root')];
  const chains = ownChains({
    ...settings,
    bareWay: bareWay ?? undefined,
    tunnel: tunnel ?? undefined,
    network: subnetOf(node.network),
    subnet: subnetOf(node.subnet),
    localAddress: parseIpv4(localAddress)!,
  });
  const faults = faultsIn(saved, chains);
  if ((await host.run('nft', ['--terse', 'list', 'table', 'ip', TABLE])) === undefined) {
    faults.push(`the nft table "ip ${TABLE}" is not there`);
  }
  const remedy =
    'rudder puts that right within seconds: look again, and if it stays so find out who rewrites the rules';
  return faults.map((fault) => bad('firewall', shorten(fault, 200), remedy));
}

/** An attack, or a member whose datagrams come by another interface than that by which this host sends to it. */
function tellForged(forged: number): Finding {
  const remedy =
    'see "ip route get ADDRESS" for the members: the way to each must leave by the interface that its datagrams come by; if it does, a container or a program of this host passes itself off as a member';
  const claimed = `${counted(forged, 'datagram')} that claimed to come from a member`;
  return warn('firewall', `${claimed} came by an interface that does not lead there, and had to be dropped`, remedy);
}

/** An attack, or a node whose lease names another address than it sends from. */
function tellStrangers(strangers: number): Finding {
  const detail = `${counted(strangers, 'datagram')} of this VXLAN came from hosts that hold no lease, and had to be dropped`;
  const remedy =
    '"tcpdump -ni INTERFACE udp port PORT" shows from whom: a node behind NAT needs --public-ip; let nobody else reach that port';
  return warn('firewall', detail, remedy);
}

/** Those that are lost or translated make the node not ready, which is told by the check of the daemon. */
const SEEN = {
  unknown: 'none seen',
  passes: 'they pass',
  dropped: 'they are dropped',
  translated: 'they are translated',
};
