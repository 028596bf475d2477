import { request as plainRequest } from 'node:http';
import { request } from 'node:https';
import type { KubeObject } from '../../src/bench/fake-kubernetes.js';
import { joinByKubernetes } from '../../src/control/kubernetes/kube-membership.js';
import type { KubernetesOptions } from '../../src/control/kubernetes/options.js';
import type { Joined, Keeping, Membership, OwnLease } from '../../src/control/membership.js';
import { parseIpv4 } from '../../src/core/address-text.js';
import type { NodeReach } from '../../src/core/lease.js';
import type { LeaseChange } from '../../src/core/lease-set.js';
import { parseCommonConfig } from '../../src/core/network-config.js';
import { formatSubnet } from '../../src/core/subnet.js';
import { createRecordingLog, type RecordingLog } from './recording-log.js';

export const PREFIX = 'flannel.alpha.coreos.com/';

/** An API server that a test may do with what it likes: the fake, or a real one. */
export interface KubernetesServer {
  readonly url: string;
  readonly adminToken: string;
  readonly ca: Buffer | undefined;
}

/** What kubelet, controller manager and operators do. */
export function administratorOf({ url, adminToken, ca }: KubernetesServer) {
  function ask(method: string, path: string, body?: object, type = 'application/json'): Promise<KubeObject> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${adminToken}`,
        'content-type': type,
        'content-length': Buffer.byteLength(text),
      };
      const send = url.startsWith('https:') ? request : plainRequest;
      const asking = send(url + path, { method, headers, ca, agent: false }, async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
        const answer = Buffer.concat(chunks).toString();
        if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(answer));
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${answer.slice(0, 300)}`));
      });
      asking.on('error', reject);
      asking.end(text);
    });
  }
  const merge = 'application/strategic-merge-patch+json';
  const at = (name: string) => `/api/v1/nodes/${name}`;
  return {
    ask,
    node: (name: string) => ask('GET', at(name)),
    createNode: (name: string, podCIDR?: string, annotations: Record<string, string> = {}) =>
      ask('POST', '/api/v1/nodes', {
        kind: 'Node',
        apiVersion: 'v1',
        metadata: { name, annotations },
        spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
      }),
    giveSubnet: (name: string, podCIDR: string) =>
      ask('PATCH', at(name), { spec: { podCIDR, podCIDRs: [podCIDR] } }, merge),
    annotate: (name: string, annotations: Record<string, string | null>) =>
      ask('PATCH', at(name), { metadata: { annotations } }, merge),
    setCondition: (name: string, condition: object) =>
      ask('PATCH', `${at(name)}/status`, { status: { conditions: [condition] } }, merge),
    deleteNode: (name: string) => ask('DELETE', at(name)),
    async deleteAll() {
      const { items } = (await ask('GET', '/api/v1/nodes')) as unknown as { items: KubeObject[] };
      for (const { metadata } of items) await ask('DELETE', at(metadata.name));
    },
  };
}

export type Administrator = ReturnType<typeof administratorOf>;

/** Annotations as a flannel node writes them. */
export const flannelNode = (
  publicIp: string,
  backend: object | null = { VNI: 1, VtepMAC: '0e:00:00:00:00:01' },
  type = 'vxlan',
) => ({
  [`${PREFIX}kube-subnet-manager`]: 'true',
  [`${PREFIX}backend-type`]: type,
  [`${PREFIX}backend-data`]: JSON.stringify(backend),
  [`${PREFIX}public-ip`]: publicIp,
});

export const IDENTITY: NodeReach = {
  publicIp: parseIpv4('192.0.2.7')!,
  nodeId: 'me',
  version: '1.2.3',
  backend: { type: 'vxlan', data: { VNI: 1, VtepMAC: '0e:00:00:00:00:07' } },
};

/** A node over that API, with what it was told. */
export interface TestNode {
  readonly membership: Membership;
  readonly own: OwnLease;
  readonly joined: Joined;
  readonly log: RecordingLog;
  /** Peers by subnet, with where they are reached. */
  peers(): Record<string, string>;
  readonly changes: LeaseChange[];
  readonly configs: (string | undefined)[];
}

export function membershipOf(options: KubernetesOptions, log = createRecordingLog()): Membership {
  return joinByKubernetes(options, log);
}

/** Joins as the daemon does. */
export async function joinNode(options: KubernetesOptions, keeping: Partial<Keeping> = {}): Promise<TestNode> {
  const { identity = IDENTITY } = keeping;
  const log = createRecordingLog();
  const membership = joinByKubernetes(options, log);
  const { signal } = new AbortController();
  const json = await membership.getConfig();
  const config = parseCommonConfig(json!);
  const own = await membership.join({ config, identity, savedSubnet: undefined }, signal);
  const changes: LeaseChange[] = [];
  const configs: (string | undefined)[] = [];
  const joined = membership.keep({
    config,
    identity,
    own,
    fallback: undefined,
    degraded: undefined,
    problemOf: ({ backend }) => (backend.type === 'vxlan' ? undefined : `backend "${backend.type}"`),
    onCurrent: () => undefined,
    onPeers: (some) => changes.push(...some),
    onConfig: (text) => configs.push(text),
    ...keeping,
  });
  return {
    membership,
    own,
    joined,
    log,
    changes,
    configs,
    peers: () =>
      Object.fromEntries(
        joined
          .state()
          .peers.map(({ subnet, publicIp, host }) => [formatSubnet(subnet), `${host} ${formatIpv4(publicIp)}`]),
      ),
  };
}

import { formatIpv4 } from '../../src/core/ipv4.js';
