import type { Logger } from '../core/logger.js';
import type { Administration } from './administration.js';
import { type EmbeddedOptions, joinNobody } from './embedded/embedded-membership.js';
import { type Checkup, checkEndpoint } from './etcd/checkup.js';
import { dateOf } from './etcd/date.js';
import { administerEtcd } from './etcd/etcd-administration.js';
import { joinByEtcd } from './etcd/etcd-membership.js';
import type { EtcdOptions } from './etcd/options.js';
import type { Membership } from './membership.js';

/** The only file outside of a store's folder that knows which stores there are. */
export type RegistryOptions = EtcdRegistryOptions | ({ readonly kind: 'embedded' } & EmbeddedOptions);
/** The one that commands of an operator can ask. */
export type EtcdRegistryOptions = { readonly kind: 'etcd' } & EtcdOptions;

export type { CheckStep, Checkup } from './etcd/checkup.js';

/** @param ttlSeconds of the lease, where the store has such */
export function openMembership(options: RegistryOptions, ttlSeconds: number, log: Logger): Membership {
  return options.kind === 'etcd' ? joinByEtcd(options, ttlSeconds, log) : joinNobody(options, ttlSeconds);
}

export function openAdministration(options: EtcdRegistryOptions): Administration {
  return administerEtcd(options);
}

/** Asks one endpoint of the store step by step. Nothing in it is another thing afterwards. */
export function checkupOf(endpoint: string, options: EtcdRegistryOptions): Promise<Checkup> {
  return checkEndpoint(endpoint, options);
}

/** What the clock of an endpoint says; undefined: it tells no time. */
export function clockOf(endpoint: string, options: EtcdRegistryOptions): Promise<Date | undefined> {
  return dateOf(endpoint, options.tls);
}
