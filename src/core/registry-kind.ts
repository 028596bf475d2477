/** Where nodes belong: a store that all of them share, or, for a node without a cluster, its own process. */
export const REGISTRY_KINDS = ['etcd', 'kubernetes', 'embedded'] as const;
export type RegistryKind = (typeof REGISTRY_KINDS)[number];
