import { quote, RudderError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { contains, formatSubnet } from '../../core/subnet.js';
import type { Membership, OwnLease, Wanted } from '../membership.js';
import { withinPatience } from '../patience.js';
import { createRetryBackoff, retryWhileUnavailable, unlessAborted } from '../retry.js';
import { completePrefix, isManaged } from './annotations.js';
import { openApi } from './api.js';
import { readConfigFile, withPodSubnets } from './config-file.js';
import { holdingOf, keepJoined } from './joined.js';
import { readConnection } from './kube-config.js';
import { createNodeEvents } from './node-events.js';
import type { NodeFacts } from './node-facts.js';
import { findNodeName } from './node-name.js';
import { type KubernetesOptions, TIMING } from './options.js';
import { addressFor, reachAt, readOwnNode, saysAll, subnetOfNode, writeOwnNode } from './own-node.js';
import { sourceOf } from './source.js';

/** Nodes belong by their Node object: its podCIDR is their subnet, and annotations say how they are reached, as flannel's do. */
export function joinByKubernetes(options: KubernetesOptions, log: Logger): Membership {
  const { netConfigPath } = options;
  const prefix = completePrefix(options.annotationPrefix);
  const { server } = readConnection(options);
  const api = openApi(options, log);
  const nameOf = findNodeName(options, api);
  /** Our own Node as last seen; null: there is none. */
  let seen: NodeFacts | null | undefined;

  async function look(): Promise<NodeFacts | undefined> {
    const node = await readOwnNode({ api, name: await nameOf(), prefix });
    seen = node ?? null;
    return node;
  }

  async function readConfig(): Promise<string | undefined> {
    const json = await readConfigFile(netConfigPath);
    if (json === undefined) return undefined;
    const subnet = subnetOfNode(await look(), await nameOf());
    return withPodSubnets(json, subnet);
  }

  /** Undefined: somebody has changed the Node meanwhile. */
  async function joinOnce({ config, identity }: Wanted): Promise<OwnLease | undefined> {
    const name = await nameOf();
    const node = await look();
    const subnet = subnetOfNode(node, name);
    if (node === undefined) return undefined;
    if (!contains(config.network, subnet.address) || subnet.prefixLength < config.network.prefixLength) {
      throw new RudderError(
        'network-config',
        `podCIDR ${formatSubnet(subnet)} of Node ${quote(name)} is outside Network ${formatSubnet(config.network)}: expected Network to hold the --cluster-cidr of the controller manager; correct it in ${netConfigPath}`,
      );
    }
    const { address } = addressFor(node, identity.publicIp, config);
    const wanted = { annotations: reachAt(identity, address) };
    const written = saysAll(wanted, node) ? node : await writeOwnNode({ api, name, prefix }, wanted, node);
    if (written === undefined) return undefined;
    seen = written;
    return { subnet, holding: holdingOf(name, written.uid), created: !isManaged(node) };
  }

  return {
    kind: 'kubernetes',
    endpoints: [server],
    source: sourceOf(server, prefix),
    configPlace: { key: netConfigPath, isFile: true },
    getConfig(patienceMs) {
      const answer = readConfig();
      return patienceMs === undefined ? answer : withinPatience('kubernetes', answer, patienceMs);
    },
    flawOf({ subnet, holding }) {
      const { node, uid } = holding;
      if (typeof node !== 'string' || typeof uid !== 'string') return 'what it holds is not of Kubernetes';
      const asked = nameOf.known();
      if (asked !== undefined && node !== asked) return `it is of another Node, ${quote(node)}`;
      if (seen === null) return `Node ${quote(node)} is gone from Kubernetes`;
      // The podCIDR of a Node never changes, but for that of a Node made anew.
      if (seen === undefined || seen.uid === uid) return undefined;
      const isSame = seen.podCidrs.includes(formatSubnet(subnet));
      return isSame ? undefined : `Node ${quote(node)} was made anew, and its podCIDR may be another node's now`;
    },
    async join(wanted, signal) {
      const backoff = createRetryBackoff();
      for (;;) {
        const attempt = () => joinOnce(wanted);
        const own = wanted.isHasty
          ? await withinPatience('kubernetes', unlessAborted(attempt(), signal))
          : await retryWhileUnavailable('own Node', attempt, log, signal, 'kubernetes');
        if (own !== undefined) return own;
        await backoff.wait(signal);
      }
    },
    keep(keeping) {
      const { setNetworkUnavailable } = options;
      const timing = { ...TIMING, ...options.timing };
      const joinedAs = keeping.degraded === undefined ? (seen ?? undefined) : undefined;
      // Known by now: it is in what we hold.
      const name = String(keeping.own.holding.node);
      return keepJoined({ ...keeping, api, name, prefix, netConfigPath, setNetworkUnavailable, timing, joinedAs, log });
    },
    note: createNodeEvents(api, nameOf.known, log).note,
    reconnect: api.reconnect,
    certificates: api.certificates,
    close: api.close,
  };
}
