import { quote, RudderError } from '../../core/errors.js';
import type { KubernetesApi } from './api.js';
import type { KubernetesOptions } from './options.js';

/** The name of this host's Node. @throws RudderError */
export interface NodeName {
  (): Promise<string>;
  /** As far as it is known without asking. */
  known(): string | undefined;
}

/**
 * NODE_NAME, which the downward API gives a pod. Without it the pod is asked after, as flannel does: that takes one more
 * right, and the API at each start.
 */
export function findNodeName({ nodeName, environment }: KubernetesOptions, api: KubernetesApi): NodeName {
  const { POD_NAME: pod, POD_NAMESPACE: namespace } = environment;
  let known = nodeName;
  if (known === undefined && !(pod && namespace)) {
    throw new RudderError(
      'usage',
      '--kube-subnet-mgr without the name of the Node: expected NODE_NAME in the environment; take it from spec.nodeName by the downward API, or give --node-name',
    );
  }

  async function ask(): Promise<string> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace!)}/pods/${encodeURIComponent(pod!)}`;
    const answer = (await api.ask({ method: 'GET', path, right: { verb: 'get', resource: 'pods' } })) as {
      spec?: { nodeName?: unknown };
    } | null;
    const name = answer?.spec?.nodeName;
    if (typeof name === 'string' && name !== '') return name;
    throw new RudderError('registry-unavailable', `pod ${quote(`${namespace}/${pod}`)} has no nodeName yet`);
  }

  const find = async () => {
    known ??= await ask();
    return known;
  };
  return Object.assign(find, { known: () => known });
}
