import { parseIpv4 } from '../../core/address-text.js';
import { quote } from '../../core/errors.js';
import { formatIpv4, type Ipv4, isUnusableAsHost } from '../../core/ipv4.js';
import { type Lease, leaseOf, type NodeReach, type NotALease, parseLeaseValue } from '../../core/lease.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { type NodeFacts, podSubnetOf } from './node-facts.js';

/** By which nodes of flannel and Rudder tell each other how they are reached; all behind one prefix. */
const ANNOTATION_NAMES = [
  'kube-subnet-manager',
  'backend-type',
  'backend-data',
  'backend-v6-data',
  'public-ip',
  'public-ipv6',
  /** These are an operator's. */
  'public-ip-overwrite',
  'node-public-ip',
] as const;
export type AnnotationName = (typeof ANNOTATION_NAMES)[number];

const names: ReadonlySet<string> = new Set(ANNOTATION_NAMES);
export const isAnnotationName = (name: string): name is AnnotationName => names.has(name);

/** As flannel completes what is given: `x.y` becomes `x.y/`, and `x.y/net` becomes `x.y/net-`. */
export function completePrefix(given: string): string {
  const slashed = given.includes('/') ? given : `${given}/`;
  return /[/-]$/.test(slashed) ? slashed : `${slashed}-`;
}

/** Whether a node of flannel's or ours runs there. */
export const isManaged = ({ annotations }: Pick<NodeFacts, 'annotations'>) =>
  annotations['kube-subnet-manager'] === 'true';

/** What a Node's annotations say of how it is reached, whether or not that makes sense. */
export function attributesOf({ name, annotations }: NodeFacts): Omit<Lease, 'subnet'> | NotALease {
  const { 'public-ip': publicIp, 'backend-type': type = '', 'backend-data': data } = annotations;
  if (publicIp === undefined) return { problem: 'it has no annotation public-ip' };
  // One reader of these fields for all stores.
  const value = JSON.stringify({ PublicIP: publicIp, BackendType: type, BackendData: parsed(data) });
  const attributes = parseLeaseValue(value);
  return 'problem' in attributes ? attributes : { ...attributes, host: name };
}

/** A peer's lease; undefined: no node of an overlay runs there, or none that has its subnet yet. */
export function peerLeaseOf(config: NetworkConfig, node: NodeFacts): Lease | NotALease | undefined {
  if (!isManaged(node) || node.podCidrs.length === 0) return undefined;
  const subnet = podSubnetOf(node);
  if (subnet === undefined) return { problem: `podCIDR ${quote(node.podCidrs.join(','))} is no IPv4 network` };
  const attributes = attributesOf(node);
  return 'problem' in attributes ? attributes : leaseOf(config, subnet, attributes);
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** Null: the annotation is not to be there. */
export type WantedAnnotations = Readonly<Partial<Record<AnnotationName, string | null>>>;

/**
 * What our own Node should say, as flannel would write it. We carry no IPv6: what a flannel before us has said of it would
 * lead its peers' packets to nobody.
 */
export function annotationsOf({ publicIp, nodeId, version, nodeKey, backend }: NodeReach): WantedAnnotations {
  return {
    'kube-subnet-manager': 'true',
    'backend-type': backend.type,
    'backend-data': JSON.stringify({ ...backend.data, NodeID: nodeId, Version: version, NodeKey: nodeKey }),
    'backend-v6-data': null,
    'public-ip': formatIpv4(publicIp),
    'public-ipv6': null,
  };
}

/** What takes all of that back. */
export const NO_ANNOTATIONS: WantedAnnotations = {
  'kube-subnet-manager': null,
  'backend-type': null,
  'backend-data': null,
  'public-ip': null,
};

/** What of it is not so. */
export function missingOf(
  wanted: WantedAnnotations,
  { annotations }: Pick<NodeFacts, 'annotations'>,
): WantedAnnotations {
  const missing = Object.entries(wanted).filter(
    ([name, value]) => (annotations[name as AnnotationName] ?? null) !== value,
  );
  return Object.fromEntries(missing);
}

/** The address that an operator wants peers to send to; an overwrite counts more. Undefined: he has said none. */
export function wantedAddress({ annotations }: Pick<NodeFacts, 'annotations'>): WantedAddress | undefined {
  for (const name of ['public-ip-overwrite', 'node-public-ip'] as const) {
    const text = annotations[name];
    if (!text) continue;
    const address = parseIpv4(text);
    if (address !== undefined && !isUnusableAsHost(address)) return { name, address };
    return { name, problem: `annotation ${name} ${quote(text)} is not the IPv4 address of a host` };
  }
  return undefined;
}

export type WantedAddress = { readonly name: AnnotationName } & (
  | { readonly address: Ipv4; readonly problem?: undefined }
  | { readonly address?: undefined; readonly problem: string }
);
