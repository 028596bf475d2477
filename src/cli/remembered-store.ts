import type { RememberedStore } from '../control/open.js';
import { shorten } from '../core/errors.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';

/** One that other nodes share. */
export type SharedStore = Exclude<RememberedStore, { readonly kind: 'embedded' }>;

/** What a node has in its store: how it is told that it was removed, that it stays, and that it is not there. */
export function wordsOf({ kind }: SharedStore, subnet: Subnet) {
  const text = formatSubnet(subnet);
  if (kind === 'etcd') {
    return {
      what: `lease ${text} from etcd`,
      stays: 'a lease stays in etcd until its TTL ends, a reservation for ever',
      absent: `lease ${text} of this node is not in etcd`,
    };
  }
  return {
    what: `the annotations of podCIDR ${text} from its Node in Kubernetes`,
    stays: `what the Node of podCIDR ${text} says of this host stays in Kubernetes (annotations, the condition NetworkUnavailable)`,
    absent: `the Node of podCIDR ${text} says nothing of this host in Kubernetes`,
  };
}

/** Settings may have changed since the node last ran. @returns undefined: that place was asked, or is not remembered */
export function elsewhere({ kind, endpoints = [] }: SharedStore, asked: readonly string[]): string | undefined {
  if (endpoints.length === 0 || endpoints.some((endpoint) => asked.includes(endpoint))) return undefined;
  const there = shorten(endpoints.join(','), 300);
  const [what, remedy] =
    kind === 'etcd'
      ? ['a lease stays there until its TTL ends, a reservation for ever', `--etcd-endpoints ${there}`]
      : ['it stays there, and peers go on routing to this host', '--kubeconfig-file of that one'];
  return `this node last ran with ${there}: if that is another one, ${what}; give ${remedy}`;
}
