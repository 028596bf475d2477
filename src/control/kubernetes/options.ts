/** Which Kubernetes, and which of its Nodes this is. */
export interface KubernetesOptions {
  /** `https://host:port`; undefined: as the kubeconfig says, else that of the cluster whose pod this is. */
  readonly apiUrl?: string | undefined;
  readonly kubeconfigFile?: string | undefined;
  /** Of this host's Node; undefined: the pod is asked after. */
  readonly nodeName?: string | undefined;
  /** Of flannel's annotations, as `--kube-annotation-prefix` has it. */
  readonly annotationPrefix: string;
  /** The file of the network config. */
  readonly netConfigPath: string;
  /** Keep the Node's condition NetworkUnavailable. */
  readonly setNetworkUnavailable: boolean;
  readonly version: string;
  /** What a pod is told, and proxies: `KUBERNETES_SERVICE_HOST`, `POD_NAME`, `HTTPS_PROXY` and so on. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where a pod finds its token and CA; another one in tests. */
  readonly serviceAccountDirectory?: string | undefined;
  readonly timing?: Partial<Timing>;
}

/** In milliseconds; shorter in tests. */
export interface Timing {
  /** Of one request. */
  readonly deadlineMs: number;
  /** Bookmarks come about once a minute: a watch that says nothing for so long is dead. */
  readonly silenceMs: number;
  /** How often the file of the network config is read. */
  readonly configMs: number;
  /** How long packets do not flow before the Node says so. */
  readonly graceMs: number;
}

export const TIMING: Timing = { deadlineMs: 15_000, silenceMs: 90_000, configMs: 5000, graceMs: 30_000 };
