import type { Command } from 'commander';
import type { SharedRegistryOptions } from '../control/open.js';
import { addEtcdOptions, type RawEtcdOptions, toEtcdRegistry } from './etcd-options.js';
import {
  addKubernetesOptions,
  type RawKubernetesOptions,
  refuseMixture,
  toKubernetesRegistry,
} from './kubernetes-options.js';

/** What the command line says of the store that all nodes share. */
export type RawRegistryOptions = RawEtcdOptions & RawKubernetesOptions;

export const addRegistryOptions = (command: Command): Command => addKubernetesOptions(addEtcdOptions(command));

/** @throws RudderError `usage` for options that do not go together */
export function toRegistryOptions(raw: RawRegistryOptions): SharedRegistryOptions {
  if (raw.kubeSubnetMgr) return toKubernetesRegistry(raw);
  refuseMixture(raw);
  return toEtcdRegistry(raw);
}
