import { formatIpv4 } from '../core/ipv4.js';
import type { LabNode, LabState } from './state.js';

/** Names and underlay addresses of a lab's members, and what can be done to them. */
export const MAX_NODES = 200;

const FIRST_NODE_HOST = 10;
const ETCD_HOST = 2;
const SWITCH_HOST = 1;

export type Member = string;

/** What can be done to a node, or to etcd, of a running lab. */
export const ACTIONS = ['start', 'stop', 'kill', 'pause', 'resume', 'partition', 'heal'] as const;
export type Action = (typeof ACTIONS)[number];

export function namespaceOf(lab: LabState, member: Member): string {
  return `rudder-${lab.name}-${member}`;
}

export const nodeName = (node: Pick<LabNode, 'number'>): Member => `n${node.number}`;
export const containerName = (node: Pick<LabNode, 'number'>): Member => `c${node.number}`;

/** Each lab has an underlay /24 of its own inside 172.30.0.0/16, told by its name. */
function underlayAddress(lab: LabState, host: number): string {
  let hash = 0;
  for (const character of lab.name) hash = (hash * 31 + character.charCodeAt(0)) & 0xff;
  return formatIpv4((172 << 24) | (30 << 16) | (hash << 8) | host);
}

export const switchAddress = (lab: LabState): string => underlayAddress(lab, SWITCH_HOST);

export function nodeAddress(lab: LabState, node: Pick<LabNode, 'number'>): string {
  return underlayAddress(lab, FIRST_NODE_HOST + node.number);
}

/** With the veth underlay etcd lives in the first node's namespace. */
export function etcdNamespace(lab: LabState): string {
  return namespaceOf(lab, lab.underlay === 'veth' ? 'n1' : 'etcd');
}

export function etcdAddress(lab: LabState): string {
  return lab.underlay === 'veth' ? nodeAddress(lab, { number: 1 }) : underlayAddress(lab, ETCD_HOST);
}

export const etcdUrl = (lab: LabState): string => `http://${etcdAddress(lab)}:2379`;
