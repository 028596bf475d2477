import { basename, dirname } from 'node:path';
import { parseIpv4 } from '../../core/address-text.js';
import { shorten } from '../../core/errors.js';
import { contains } from '../../core/subnet.js';
import { BRIDGE, isCniConfOf, parseCniConf } from '../../state/cni-conf.js';
import { subnetOf } from './containers.js';
import { bad, ok, warn } from './findings.js';
import type { Facts, Finding } from './host.js';
import { restart } from './service.js';

/** Whether new pods get their network from us. Nothing where the node does not see to pods. */
export async function podNetwork(host: Facts): Promise<Finding[]> {
  const path = host.status?.node.cniConf ?? null;
  if (path === null) return [];
  return [await confOf(host, path), ...(await before(host, path)), ...oldBridge(host)];
}

async function confOf(host: Facts, path: string): Promise<Finding> {
  const { node, device } = host.status!;
  const text = await host.read(path);
  if (text === undefined) return bad('pods', `${path} is missing, so no pod can start`, restart(host.service));
  const network = { subnet: subnetOf(node.subnet), mtu: device.mtu };
  if (!isCniConfOf(parseCniConf(text), network)) {
    const detail = `${path} is not what the node has written: expected subnet ${node.subnet} and MTU ${device.mtu}`;
    return bad('pods', detail, `it is written again within seconds; if it stays so, ${restart(host.service)}`);
  }
  return ok('pods', `${path} gives new ones addresses of ${node.subnet} and MTU ${device.mtu}`);
}

/** Of several files, runtimes take the first by name: what another network has left may be before ours. */
async function before(host: Facts, path: string): Promise<Finding[]> {
  const names = (await host.list(dirname(path))).filter((name) => /\.(conf|conflist|json)$/.test(name)).sort();
  const first = names.find((name) => name < basename(path));
  if (first === undefined) return [];
  const other = `${dirname(path)}/${shorten(first, 80)}`;
  const type = /"type"\s*:\s*"([\w-]{1,40})"/.exec((await host.read(`${dirname(path)}/${first}`)) ?? '')?.[1];
  const whose = type === undefined ? '' : ` (${type})`;
  const detail = `${other}${whose} is before ${basename(path)}: new pods get their network from it`;
  // Who has broken into a daemon of few rights names the directory: no command is made of it for root.
  return [bad('pods', detail, 'remove that file, once what has written it does not run any more')];
}

/** A node that has got another subnet has pods of the old one, which now is somebody else's. */
function oldBridge({ links, status }: Facts): Finding[] {
  const { subnet } = status!.node;
  const foreign = (links.find(({ ifname }) => ifname === BRIDGE)?.addr_info ?? []).find(({ local }) => {
    const address = parseIpv4(local);
    return address !== undefined && !contains(subnetOf(subnet), address);
  });
  if (foreign === undefined) return [];
  const detail = `the bridge ${BRIDGE} is on ${foreign.local}/${foreign.prefixlen} and not on ${subnet}: pods of before are cut off`;
  return [
    bad(
      'pods',
      detail,
      'delete these pods, such as by "kubectl drain"; the first new one gives the bridge its address',
    ),
  ];
}

/** Where it is off, what a service sends to a pod of the same node is answered past the rules of that service. */
export async function bridgeFilter(host: Facts): Promise<Finding[]> {
  if ((host.status?.node.cniConf ?? null) === null) return [];
  const value = await host.read('/proc/sys/net/bridge/bridge-nf-call-iptables');
  if (value?.trim() === '1') return [ok('br_netfilter', 'services see what passes between pods of this node')];
  const why = value === undefined ? 'the module is not loaded' : 'is switched off';
  const detail = `${why}: a pod may not reach a service that leads to a pod of its own node`;
  return [warn('br_netfilter', detail, 'modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1')];
}
