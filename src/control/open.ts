import type { Logger } from '../core/logger.js';
import type { Administration } from './administration.js';
import { EMBEDDED, type EmbeddedOptions, joinNobody } from './embedded/embedded-membership.js';
import type { Checkup } from './etcd/checkup.js';
import { dateOf } from './etcd/date.js';
import type { EtcdOptions } from './etcd/options.js';
import { readSource as readEtcdSource } from './etcd/source.js';
import { checkKubernetes, type KubernetesCheckup } from './kubernetes/checkup.js';
import { administerKubernetes } from './kubernetes/kube-administration.js';
import { joinByKubernetes } from './kubernetes/kube-membership.js';
import type { KubernetesOptions } from './kubernetes/options.js';
import { readSource as readKubernetesSource } from './kubernetes/source.js';
import type { Membership } from './membership.js';

/**
 * The only file outside of a store's folder that knows which stores there are. What speaks to etcd comes with gRPC, a quarter of
 * a second to load and some twenty megabytes, and is loaded where there is an etcd to speak to.
 */
export type RegistryOptions = SharedRegistry | EmbeddedRegistry;
/** Those that commands of an operator can ask. */
export type SharedRegistry = EtcdRegistry | KubernetesRegistry;
export type EtcdRegistry = { readonly kind: 'etcd' } & EtcdOptions;
export type KubernetesRegistry = { readonly kind: 'kubernetes' } & KubernetesOptions;
export type EmbeddedRegistry = { readonly kind: 'embedded' } & EmbeddedOptions;

export type { CheckStep, Checkup } from './etcd/checkup.js';
export type { KubernetesCheckup } from './kubernetes/checkup.js';

/** @param ttlSeconds of the lease, where the store has such */
export async function openMembership(options: RegistryOptions, ttlSeconds: number, log: Logger): Promise<Membership> {
  if (options.kind === 'kubernetes') return joinByKubernetes(options, log);
  if (options.kind === 'embedded') return joinNobody(options);
  const { joinByEtcd } = await import('./etcd/etcd-membership.js');
  return joinByEtcd(options, ttlSeconds, log);
}

/** @param deadlineMs of one request; undefined: the store's own */
export async function openAdministration(options: SharedRegistry, deadlineMs?: number): Promise<Administration> {
  if (options.kind === 'kubernetes') return administerKubernetes(options, deadlineMs);
  const { administerEtcd } = await import('./etcd/etcd-administration.js');
  return administerEtcd(deadlineMs === undefined ? options : { ...options, deadlineMs });
}

/** What a node remembers of its store: where it was asked, and the prefix of keys or of annotations. */
export type RememberedStore =
  | { readonly kind: 'embedded' }
  | {
      readonly kind: SharedRegistry['kind'];
      /** Neither is there where nothing was remembered that makes sense. */
      readonly endpoints?: readonly string[];
      readonly prefix?: string;
    };

/** Of which store a membership's `source` speaks. */
export function storeOf(source: string): RememberedStore {
  if (source === EMBEDDED) return { kind: 'embedded' };
  const kubernetes = readKubernetesSource(source);
  if (kubernetes !== undefined)
    return { kind: 'kubernetes', endpoints: [kubernetes.server], prefix: kubernetes.prefix };
  return { kind: 'etcd', ...readEtcdSource(source) };
}

/** Asks one endpoint of etcd step by step. Nothing in it is another thing afterwards. */
export async function checkupOf(endpoint: string, options: EtcdRegistry): Promise<Checkup> {
  const { checkEndpoint } = await import('./etcd/checkup.js');
  return checkEndpoint(endpoint, options);
}

/** The same of Kubernetes. */
export function checkKubernetesOf(options: KubernetesRegistry): Promise<KubernetesCheckup> {
  return checkKubernetes(options);
}

/** What the clock of an endpoint says; undefined: it tells no time. */
export function clockOf(endpoint: string, options: EtcdRegistry): Promise<Date | undefined> {
  return dateOf(endpoint, options.tls);
}
