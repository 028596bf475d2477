import { z } from 'zod';
import { parseSubnet } from '../../core/address-text.js';
import type { Subnet } from '../../core/subnet.js';
import { type AnnotationName, isAnnotationName } from './annotations.js';

/** What is kept of a Node: an object of 10 to 25 kB, most of it images that it has. */
export interface NodeFacts {
  readonly name: string;
  /** Another one when a Node is made anew under its name. */
  readonly uid: string;
  /** To be handed back, and not to be compared but for being the same. */
  readonly resourceVersion: string;
  /** As spec.podCIDRs has them, or spec.podCIDR. */
  readonly podCidrs: readonly string[];
  /** Ours and flannel's, by their names without the prefix. */
  readonly annotations: Annotations;
  readonly networkUnavailable: Condition | undefined;
}

export type Annotations = Readonly<Partial<Record<AnnotationName, string>>>;

export interface Condition {
  readonly status: string;
  readonly reason: string;
}

const text = z.string().nullish();
const shape = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    resourceVersion: z.string(),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
  spec: z.object({ podCIDR: text, podCIDRs: z.array(z.string()).nullish() }).nullish(),
  status: z
    .object({ conditions: z.array(z.object({ type: z.string(), status: z.string(), reason: text })).nullish() })
    .nullish(),
});

/** Undefined if it is no Node. @param prefix of the annotations */
export function nodeFactsOf(object: unknown, prefix: string): NodeFacts | undefined {
  const { data } = shape.safeParse(object);
  if (data === undefined) return undefined;
  const { name, uid, resourceVersion, annotations } = data.metadata;
  const { podCIDR, podCIDRs } = data.spec ?? {};
  const condition = data.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
  return {
    name,
    uid,
    resourceVersion,
    podCidrs: podCIDRs?.length ? podCIDRs : podCIDR ? [podCIDR] : [],
    annotations: withoutPrefix(annotations ?? {}, prefix),
    networkUnavailable: condition && { status: condition.status, reason: condition.reason ?? '' },
  };
}

function withoutPrefix(all: Readonly<Record<string, string>>, prefix: string): Annotations {
  const kept: Partial<Record<AnnotationName, string>> = {};
  for (const [key, value] of Object.entries(all)) {
    const name = key.startsWith(prefix) ? key.slice(prefix.length) : '';
    if (isAnnotationName(name)) kept[name] = value;
  }
  return kept;
}

/** The IPv4 one; undefined: there is none, or none yet. */
export function podSubnetOf({ podCidrs }: Pick<NodeFacts, 'podCidrs'>): Subnet | undefined {
  for (const cidr of podCidrs) {
    const subnet = cidr.includes('.') ? parseSubnet(cidr) : undefined;
    if (subnet !== undefined) return subnet;
  }
  return undefined;
}
