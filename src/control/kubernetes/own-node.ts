import { quote, RudderError } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import type { NodeReach } from '../../core/lease.js';
import type { Logger } from '../../core/logger.js';
import { isLeasable, type NetworkConfig } from '../../core/network-config.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnet, type Subnet } from '../../core/subnet.js';
import { annotationsOf, missingOf, NO_ANNOTATIONS, type WantedAnnotations, wantedAddress } from './annotations.js';
import type { KubernetesApi } from './api.js';
import { conditionPatch, isAsWanted, type Wanted } from './condition.js';
import { hasStatus } from './errors.js';
import { type NodeFacts, nodeFactsOf, podSubnetOf } from './node-facts.js';

export interface OwnNodeOptions {
  readonly api: KubernetesApi;
  readonly name: string;
  readonly prefix: string;
}

/** @returns undefined if there is no Node of that name */
export async function readOwnNode({ api, name, prefix }: OwnNodeOptions): Promise<NodeFacts | undefined> {
  const right = { verb: 'get', resource: 'nodes' };
  try {
    return asNode(await api.ask({ method: 'GET', path: pathOf(name), right }), api, prefix);
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

const pathOf = (name: string) => `/api/v1/nodes/${encodeURIComponent(name)}`;

function asNode(object: unknown, api: KubernetesApi, prefix: string): NodeFacts {
  const node = nodeFactsOf(object, prefix);
  if (node !== undefined) return node;
  throw new RudderError(
    'registry-unavailable',
    `what answers at ${api.server()} knows no Node: expected the Kubernetes API; correct --kube-api-url or the kubeconfig's server`,
  );
}

/** What a Node should say. */
export interface WantedNode {
  readonly annotations: WantedAnnotations;
  readonly condition?: Wanted | undefined;
}

/** True if it says so already. */
export function saysAll({ annotations, condition }: WantedNode, node: NodeFacts): boolean {
  const isSo = condition === undefined || isAsWanted(condition, node.networkUnavailable);
  return isSo && Object.keys(missingOf(annotations, node)).length === 0;
}

/**
 * Writes what is missing, if the Node is still the one that was looked at.
 * @returns the Node as it is then; undefined if somebody has changed it meanwhile: look again
 */
export async function writeOwnNode(
  { api, name, prefix }: OwnNodeOptions,
  { annotations, condition }: WantedNode,
  seen: NodeFacts,
): Promise<NodeFacts | undefined> {
  const missing = Object.entries(missingOf(annotations, seen)).map(([key, value]) => [prefix + key, value]);
  const { uid, resourceVersion, networkUnavailable } = seen;
  const isSo = condition === undefined || isAsWanted(condition, networkUnavailable);
  const body = {
    metadata: { uid, resourceVersion, ...(missing.length > 0 && { annotations: Object.fromEntries(missing) }) },
    ...(!isSo && { status: { conditions: [conditionPatch(condition, networkUnavailable)] } }),
  };
  // Annotations may be written through the sub-resource too: one right is enough for all of it.
  const right = { verb: 'patch', resource: 'nodes/status' };
  try {
    return asNode(await api.ask({ method: 'PATCH', path: `${pathOf(name)}/status`, body, right }), api, prefix);
  } catch (error) {
    if (hasStatus(error, 404, 409)) return undefined;
    throw error;
  }
}

/** Who is faster than that so often in a row writes it all the time. */
const TAKING_BACK_TRIES = 5;

/**
 * Has the Node say nothing more of this host.
 * @param bareOf what it says instead; undefined: that Node has nothing of ours
 * @returns whether it said anything
 */
export async function takeBack(
  own: OwnNodeOptions,
  bareOf: (seen: NodeFacts) => Omit<WantedNode, 'annotations'> | undefined,
): Promise<boolean> {
  for (let tries = 1; tries <= TAKING_BACK_TRIES; tries++) {
    const seen = await readOwnNode(own);
    const bare = seen && bareOf(seen);
    if (seen === undefined || bare === undefined) return false;
    const wanted = { annotations: NO_ANNOTATIONS, ...bare };
    if (saysAll(wanted, seen)) return false;
    if ((await writeOwnNode(own, wanted, seen)) !== undefined) return true;
  }
  throw new RudderError('registry-unavailable', `somebody else changes Node ${quote(own.name)} whenever we do`);
}

/** Its subnet. @throws RudderError saying what is missing or wrong, and who puts it right */
export function subnetOfNode(node: NodeFacts | undefined, name: string): Subnet {
  if (node === undefined) {
    throw new RudderError(
      'registry-unavailable',
      `there is no Node ${quote(name)} in Kubernetes: expected this host's; its kubelet makes it, and NODE_NAME has its name`,
    );
  }
  if (node.podCidrs.length === 0) {
    throw new RudderError(
      'registry-unavailable',
      `Node ${quote(name)} has no podCIDR yet: expected one from the controller manager; run that with --allocate-node-cidrs=true and --cluster-cidr (kubeadm init --pod-network-cidr)`,
    );
  }
  const subnet = podSubnetOf(node);
  if (subnet !== undefined && node.podCidrs.length <= 2) return subnet;
  throw new RudderError(
    'registry-refused',
    `Node ${quote(name)} has podCIDR ${quote(node.podCidrs.join(','))}: expected one IPv4 network, and at most one of IPv6 beside it; correct --cluster-cidr of the controller manager`,
  );
}

/** Where peers are to send to: as an operator has said on the Node, else as this host says. */
export function addressFor(
  node: NodeFacts,
  own: Ipv4,
  config: NetworkConfig,
): { readonly address: Ipv4; readonly problem?: string } {
  const wanted = wantedAddress(node);
  if (wanted === undefined) return { address: own };
  if (wanted.problem !== undefined) return { address: own, problem: wanted.problem };
  if (!isLeasable(config, wanted.address)) return { address: wanted.address };
  const text = `annotation ${wanted.name} ${formatIpv4(wanted.address)} lies inside the overlay`;
  return { address: own, problem: text };
}

export const reachAt = (identity: NodeReach, publicIp: Ipv4): WantedAnnotations =>
  annotationsOf({ ...identity, publicIp });

/** Tells once of each annotation of an operator's that makes no sense. */
export function createOverwriteLog(log: Logger) {
  let told: string | undefined;
  const limit = createRepeatLimit(3);
  return (problem: string | undefined) => {
    if (problem !== undefined && problem !== told) {
      limit((suppressed) => log.warn({ problem, suppressed }, 'an annotation of the own Node is ignored'));
    }
    told = problem;
  };
}

/** The Node was made anew, with other addresses for its pods. */
export function renumbered(name: string, before: Subnet, now: Subnet): RudderError {
  return new RudderError(
    'lease-conflict',
    `Node ${quote(name)} was made anew with podCIDR ${formatSubnet(now)}, and this node has ${formatSubnet(before)}: expected the same one; restart rudder to take it, and the pods of this host after that`,
  );
}
