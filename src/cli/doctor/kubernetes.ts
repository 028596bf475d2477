import { parseNetworkConfig } from '../../backend/config.js';
import { messageOf } from '../../core/errors.js';
import { correctKey, createIt } from '../../core/network-config.js';
import { bad, ok, warn } from './findings.js';
import type { Facts, Finding } from './host.js';

/** Slower than this, and a start waits for it. */
const SLOW_MS = 1000;

/** What a node needs of Kubernetes: the API, its rights, a podCIDR, and the file of the network config. */
export async function kubernetes({ kubernetes: found }: Facts): Promise<Finding[]> {
  if (found === undefined) return [];
  const { server, failure, latencyMs = 0, missing = [], node } = found;
  if (failure !== undefined) return [bad('kubernetes', failure, 'without it nothing of Kubernetes could be looked at')];
  const findings = missing.map(({ verb, resource }) =>
    bad(
      'rights',
      `may not ${verb} ${resource}`,
      `add that to the ClusterRole of the service account: see docs/kubernetes.md`,
    ),
  );
  const known = `${server} answers in ${Math.ceil(latencyMs)} ms`;
  if (latencyMs > SLOW_MS)
    findings.push(warn('kubernetes', `${known}: slow`, 'look at the load of the API server, and at its etcd'));
  else if (missing.length === 0) findings.push(ok('kubernetes', `${known}, and all rights are there`));
  if (node === undefined) return findings;
  if (node.problem !== undefined) {
    const [detail, remedy] = split(node.problem);
    return [...findings, bad('podCIDR', detail, remedy)];
  }
  findings.push(ok('podCIDR', `Node ${node.name} has ${node.podCidrs.join(', ')}`));
  return [...findings, ...ofConfig(found)];
}

function ofConfig({ config }: NonNullable<Facts['kubernetes']>): Finding[] {
  if (config === undefined) return [];
  const { path, json } = config;
  const remedy = correctKey({ key: path, isFile: true });
  if (json === undefined) {
    return [bad('network config', `there is no file ${path}`, createIt({ key: path, isFile: true }))];
  }
  try {
    parseNetworkConfig(json, remedy);
    return [];
  } catch (error) {
    return [bad('network config', messageOf(error).replace(`; ${remedy}`, ''), remedy)];
  }
}

/** Our own errors end with the remedy. */
function split(text: string): [string, string] {
  const at = text.lastIndexOf('; ');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 2)];
}
