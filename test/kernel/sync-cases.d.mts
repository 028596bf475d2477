import type { createKernelSync } from '../../src/backend/kernel/sync.js';
import type { forwardToPeers, Ground } from '../../src/backend/kernel/wanted.js';
import type { Forwarding } from '../../src/system/netlink.js';

/** A host with eth0 (10.1.1.1/24, router 10.1.1.254) and a VXLAN device with nothing in it. */
export interface CaseHost {
  readonly netlink: Forwarding;
  readonly ground: Ground & { readonly tunnel: number };
  readonly createKernelSync: typeof createKernelSync;
  readonly forwardToPeers: typeof forwardToPeers;
}

export interface SyncCase {
  readonly name: string;
  readonly expected: unknown;
  run(host: CaseHost): Promise<unknown>;
}

export const cases: readonly SyncCase[];
