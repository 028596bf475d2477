import { messageOf } from '../../core/errors.js';
import { completePrefix, isManaged } from './annotations.js';
import { openApi } from './api.js';
import { readConfigFile, withPodSubnets } from './config-file.js';
import type { Right } from './errors.js';
import { findNodeName } from './node-name.js';
import type { KubernetesOptions } from './options.js';
import { readOwnNode, subnetOfNode } from './own-node.js';

/** What a node needs of Kubernetes, asked step by step. Nothing in it is another thing afterwards. */
export interface KubernetesCheckup {
  /** Undefined: that is not known, and nothing was asked. */
  readonly server?: string;
  /** Why nothing more is known. */
  readonly failure?: string;
  /** Of a request for one object. */
  readonly latencyMs?: number;
  readonly missing?: readonly Right[];
  readonly node?: {
    readonly name: string;
    readonly podCidrs: readonly string[];
    /** A node of an overlay has written how it is reached. */
    readonly isManaged: boolean;
    /** Why that is no subnet for a node. */
    readonly problem?: string;
  };
  readonly config?: { readonly path: string; readonly json: string | undefined; readonly problem?: string };
}

/** All that a node may do there. */
export const NEEDED: readonly Right[] = [
  { verb: 'get', resource: 'nodes' },
  { verb: 'list', resource: 'nodes' },
  { verb: 'watch', resource: 'nodes' },
  { verb: 'patch', resource: 'nodes/status' },
];

export async function checkKubernetes(options: KubernetesOptions): Promise<KubernetesCheckup> {
  const api = openApi(options);
  let server: string | undefined;
  try {
    server = api.server();
    const missing = await missingRights(api);
    const name = await findNodeName(options, api)();
    if (missing.some(({ verb }) => verb === 'get')) return { server, missing };
    const began = performance.now();
    const node = await readOwnNode({ api, name, prefix: completePrefix(options.annotationPrefix) });
    const latencyMs = performance.now() - began;
    const found = { server, latencyMs, missing };
    const { netConfigPath: path } = options;
    try {
      const subnet = subnetOfNode(node, name);
      const json = await readConfigFile(path);
      const config = { path, json: json && withPodSubnets(json, subnet) };
      return { ...found, config, node: { name, podCidrs: node?.podCidrs ?? [], isManaged: isManaged(node!) } };
    } catch (error) {
      const problem = messageOf(error);
      return { ...found, node: { name, podCidrs: node?.podCidrs ?? [], isManaged: false, problem } };
    }
  } catch (error) {
    return { ...(server && { server }), failure: messageOf(error) };
  } finally {
    api.close();
  }
}

/** The API tells everybody what he himself may do. */
async function missingRights(api: ReturnType<typeof openApi>): Promise<Right[]> {
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
  const missing: Right[] = [];
  for (const right of NEEDED) {
    const [resource, subresource = ''] = right.resource.split('/');
    const resourceAttributes = { verb: right.verb, resource, subresource };
    const body = {
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      spec: { resourceAttributes },
    };
    const asked = { verb: 'create', resource: 'selfsubjectaccessreviews' };
    const answer = (await api.ask({ method: 'POST', path, body, right: asked })) as {
      status?: { allowed?: unknown };
    } | null;
    if (answer?.status?.allowed !== true) missing.push(right);
  }
  return missing;
}
