import type { EtcdSettings } from './etcd-settings.js';

/**
 * Which Kubernetes a node uses, as its flags say it. Told on the control socket at `/kubernetes`; the tokens and
 * certificates are in files, and the environment of the daemon's pod is that of a command in it.
 */
export interface KubernetesSettings {
  readonly apiUrl?: string | undefined;
  readonly kubeconfigFile?: string | undefined;
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  readonly nodeName?: string | undefined;
}

/** Which store a node uses, for those who ask: told at the path of its kind. */
export type StoreSettings =
  | { readonly kind: 'etcd'; readonly settings: EtcdSettings }
  | { readonly kind: 'kubernetes'; readonly settings: KubernetesSettings };
