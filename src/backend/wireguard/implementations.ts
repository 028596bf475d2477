/** Whose WireGuard: auto is the kernel's where it has one, else ours. A key of ours in the config, which flannel passes by. */
export const IMPLEMENTATIONS = ['auto', 'kernel', 'user'] as const;
export type ImplementationChoice = (typeof IMPLEMENTATIONS)[number];
