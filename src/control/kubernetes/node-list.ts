import { RudderError } from '../../core/errors.js';
import type { KubernetesApi } from './api.js';
import { hasStatus } from './errors.js';
import { type NodeFacts, nodeFactsOf } from './node-facts.js';

/** All Nodes as they were at one moment, from which a watch goes on. */
export interface NodeList {
  readonly nodes: readonly NodeFacts[];
  readonly resourceVersion: string;
}

/** A Node is 10 to 25 kB: a page of so many is read in some milliseconds, in which nothing else happens. */
const PAGE = 100;
/** A list that outlives what the API remembers is begun anew. */
const BEGINNINGS = 3;

/** In pages, of which only what we need is kept. @throws RudderError */
export async function listNodes(api: KubernetesApi, prefix: string): Promise<NodeList> {
  for (let beginning = 1; ; beginning++) {
    try {
      return await listPages(api, prefix);
    } catch (error) {
      if (!hasStatus(error, 410) || beginning >= BEGINNINGS) throw error;
    }
  }
}

async function listPages(api: KubernetesApi, prefix: string): Promise<NodeList> {
  const nodes: NodeFacts[] = [];
  let next = '';
  for (;;) {
    const query = new URLSearchParams({ limit: String(PAGE), ...(next && { continue: next }) });
    const right = { verb: 'list', resource: 'nodes' };
    const page = (await api.ask({ method: 'GET', path: `/api/v1/nodes?${query}`, right })) as Page;
    const { resourceVersion, continue: more = '' } = page?.metadata ?? {};
    if (!Array.isArray(page?.items) || typeof resourceVersion !== 'string') {
      throw new RudderError(
        'registry-unavailable',
        `what answers at ${api.server()} lists no Nodes: expected the Kubernetes API; correct --kube-api-url or the kubeconfig's server`,
      );
    }
    for (const item of page.items) {
      const node = nodeFactsOf(item, prefix);
      if (node !== undefined) nodes.push(node);
    }
    if (more === '') return { nodes, resourceVersion };
    next = more;
  }
}

type Page = { readonly items?: unknown; readonly metadata?: { resourceVersion?: unknown; continue?: string } } | null;
