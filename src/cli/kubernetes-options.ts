import type { Command } from 'commander';
import type { KubernetesRegistryOptions } from '../control/open.js';
import { RudderError } from '../core/errors.js';
import { option } from './option.js';
import * as values from './values.js';
import { packageVersion } from './version.js';

/** What commander hands over once the options below are parsed; named as flannel's. */
export interface RawKubernetesOptions {
  kubeSubnetMgr?: boolean;
  kubeApiUrl?: string;
  kubeconfigFile?: string;
  kubeAnnotationPrefix?: string;
  netConfigPath?: string;
  setNodeNetworkUnavailable?: boolean;
  /** Of the daemon, for who knows no NODE_NAME. */
  nodeName?: string;
}

const DEFAULT_PREFIX = 'flannel.alpha.coreos.com';
const DEFAULT_NET_CONFIG = '/etc/kube-flannel/net-conf.json';

export function addKubernetesOptions(command: Command): Command {
  return command
    .addOption(
      option('--kube-subnet-mgr [boolean]', "take subnet and peers from Kubernetes' Nodes instead of etcd")
        .argParser(values.parseBoolean)
        .preset('true')
        .default(false),
    )
    .addOption(
      option(
        '--kube-api-url <url>',
        'API server; default: of the kubeconfig, else of the cluster of this pod',
      ).argParser(values.parseApiUrl),
    )
    .addOption(
      option('--kubeconfig-file <file>', 'kubeconfig; default: the service account of this pod').argParser(
        values.parsePath,
      ),
    )
    .addOption(
      option('--kube-annotation-prefix <prefix>', 'of the annotations by which nodes are reached')
        .argParser(values.parseAnnotationPrefix)
        .default(DEFAULT_PREFIX),
    )
    .addOption(
      option('--net-config-path <file>', 'the network config with Kubernetes, such as a ConfigMap')
        .argParser(values.parsePath)
        .default(DEFAULT_NET_CONFIG),
    )
    .addOption(
      option('--set-node-network-unavailable [boolean]', "keep the Node's condition NetworkUnavailable")
        .argParser(values.parseBoolean)
        .preset('true')
        .default(true),
    );
}

/** @throws RudderError `usage` if an option makes no sense without another one */
export function toKubernetesRegistry(
  raw: RawKubernetesOptions,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): KubernetesRegistryOptions {
  return {
    kind: 'kubernetes',
    apiUrl: raw.kubeApiUrl,
    kubeconfigFile: raw.kubeconfigFile || undefined,
    nodeName: environment.NODE_NAME || raw.nodeName,
    annotationPrefix: raw.kubeAnnotationPrefix ?? DEFAULT_PREFIX,
    netConfigPath: raw.netConfigPath ?? DEFAULT_NET_CONFIG,
    setNetworkUnavailable: raw.setNodeNetworkUnavailable ?? true,
    version: packageVersion(),
    environment,
  };
}

/** What belongs to Kubernetes alone is not silently without a meaning. */
export function refuseMixture(raw: RawKubernetesOptions): void {
  const given = raw.kubeApiUrl ? '--kube-api-url' : raw.kubeconfigFile ? '--kubeconfig-file' : undefined;
  if (given === undefined) return;
  throw new RudderError('usage', `${given} is given without --kube-subnet-mgr: expected both or neither`);
}
