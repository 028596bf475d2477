import { RudderError } from '../../core/errors.js';
import { formatLeaseValue, type Lease } from '../../core/lease.js';
import { formatSubnet, formatSubnetKey } from '../../core/subnet.js';
import type { Administration, Claim } from '../administration.js';
import { attributesOf, completePrefix, isManaged } from './annotations.js';
import { openApi } from './api.js';
import { GONE, isOurWord } from './condition.js';
import { readConfigFile } from './config-file.js';
import { type NodeFacts, podSubnetOf } from './node-facts.js';
import { listNodes } from './node-list.js';
import { findNodeName } from './node-name.js';
import type { KubernetesOptions } from './options.js';
import { takeBack } from './own-node.js';

/** What can be asked of it here. Kubernetes hands the subnets out, and others write the network config. */
export function administerKubernetes(given: KubernetesOptions, deadlineMs?: number): Administration {
  const options = deadlineMs === undefined ? given : { ...given, timing: { ...given.timing, deadlineMs } };
  const { netConfigPath } = options;
  const prefix = completePrefix(options.annotationPrefix);
  const api = openApi(options);
  const configPlace = { key: netConfigPath, isFile: true };
  const getConfig = () => readConfigFile(netConfigPath);

  /** @param instead what does it */
  const not = (what: string, instead: string) => async (): Promise<never> => {
    throw new RudderError('usage', `${what} makes no sense with --kube-subnet-mgr: expected etcd; ${instead}`);
  };
  const config = `the network config is the file ${netConfigPath}: edit its ConfigMap with kubectl, which all nodes follow`;
  const subnets = 'the controller manager gives each Node its podCIDR, which stays with it until the Node is deleted';

  async function listClaims(): Promise<Claim[]> {
    const { nodes } = await listNodes(api, prefix);
    return nodes.filter(isManaged).flatMap((node) => claimOf(node) ?? []);
  }

  return {
    configPlace,
    endpoints: () => [api.server()],
    getConfig,
    async readConfig() {
      const json = await getConfig();
      return json === undefined ? undefined : { json, revision: 0 };
    },
    createConfig: not('rudder init', config),
    replaceConfig: not('rudder config set', config),
    configHistory: not('rudder config history', config),
    listClaims,
    listLeases: async () => (await listClaims()).map(({ name, value }) => ({ name, value, ttlSeconds: null })),
    reserve: not('rudder leases reserve', subnets),
    release: not('rudder leases release', subnets),
    async giveBack(subnet, nodeId) {
      const own = { api, name: await findNodeName(options, api)(), prefix };
      return takeBack(own, (node) => {
        if (!isManaged(node) || !node.podCidrs.includes(formatSubnet(subnet))) return undefined;
        const attributes = attributesOf(node);
        if ('problem' in attributes || attributes.nodeId !== nodeId) return undefined;
        const isKept = options.setNetworkUnavailable && isOurWord(node.networkUnavailable);
        return { condition: isKept ? GONE : undefined };
      });
    },
    close: api.close,
  };
}

/** In the form of etcd's keys, which is what those who show leases read. */
function claimOf(node: NodeFacts): Claim | undefined {
  const subnet = podSubnetOf(node);
  if (subnet === undefined) return undefined;
  const attributes = attributesOf(node);
  const value = 'problem' in attributes ? attributes.problem : leaseValueOf(attributes);
  return { name: formatSubnetKey(subnet), value, isForEver: true };
}

function leaseValueOf({ publicIp, nodeId, host, version, nodeKey, backend }: Omit<Lease, 'subnet'>): string {
  return formatLeaseValue({ publicIp, nodeId: nodeId ?? '', host, version, nodeKey, backend });
}
