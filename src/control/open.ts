import type { Logger } from '../core/logger.js';
import type { Administration } from './administration.js';
import { type EmbeddedOptions, joinNobody } from './embedded/embedded-membership.js';
import { type Checkup, checkEndpoint } from './etcd/checkup.js';
import { dateOf } from './etcd/date.js';
import { administerEtcd } from './etcd/etcd-administration.js';
import { joinByEtcd } from './etcd/etcd-membership.js';
import type { EtcdOptions } from './etcd/options.js';
import { checkKubernetes, type KubernetesCheckup } from './kubernetes/checkup.js';
import { administerKubernetes } from './kubernetes/kube-administration.js';
import { joinByKubernetes } from './kubernetes/kube-membership.js';
import type { KubernetesOptions } from './kubernetes/options.js';
import type { Membership } from './membership.js';

/** The only file outside of a store's folder that knows which stores there are. */
export type RegistryOptions = SharedRegistryOptions | ({ readonly kind: 'embedded' } & EmbeddedOptions);
/** Those that commands of an operator can ask. */
export type SharedRegistryOptions = EtcdRegistryOptions | KubernetesRegistryOptions;
export type EtcdRegistryOptions = { readonly kind: 'etcd' } & EtcdOptions;
export type KubernetesRegistryOptions = { readonly kind: 'kubernetes' } & KubernetesOptions;

export type { CheckStep, Checkup } from './etcd/checkup.js';
export type { KubernetesCheckup } from './kubernetes/checkup.js';

/** @param ttlSeconds of the lease, where the store has such */
export function openMembership(options: RegistryOptions, ttlSeconds: number, log: Logger): Membership {
  switch (options.kind) {
    case 'etcd':
      return joinByEtcd(options, ttlSeconds, log);
    case 'kubernetes':
      return joinByKubernetes(options, log);
    case 'embedded':
      return joinNobody(options, ttlSeconds);
  }
}

/** @param deadlineMs of one request; undefined: the store's own */
export function openAdministration(options: SharedRegistryOptions, deadlineMs?: number): Administration {
  if (options.kind === 'kubernetes') return administerKubernetes(options, deadlineMs);
  return administerEtcd(deadlineMs === undefined ? options : { ...options, deadlineMs });
}

/** Asks one endpoint of etcd step by step. Nothing in it is another thing afterwards. */
export function checkupOf(endpoint: string, options: EtcdRegistryOptions): Promise<Checkup> {
  return checkEndpoint(endpoint, options);
}

/** The same of Kubernetes. */
export function checkKubernetesOf(options: KubernetesRegistryOptions): Promise<KubernetesCheckup> {
  return checkKubernetes(options);
}

/** What the clock of an endpoint says; undefined: it tells no time. */
export function clockOf(endpoint: string, options: EtcdRegistryOptions): Promise<Date | undefined> {
  return dateOf(endpoint, options.tls);
}
