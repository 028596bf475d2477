import { type BackendData, isUntaken, type Lease } from '../../core/lease.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { Subnet } from '../../core/subnet.js';
import type { Backend, HostChange } from '../backend.js';
import type { BackendHost } from '../kind.js';
import { createKernelSync, type KernelSync, type Looked, type PeerChange } from './sync.js';
import { type PeerTable, removeOurRoutes } from './tables.js';
import type { KernelPeer, Wants } from './wanted.js';

/** What one kind of these has that others do not: its links. */
export interface KernelLinks {
  /** Name of its own device; undefined: it has none. */
  readonly device: string | undefined;
  readonly leaves: Backend['leaves'];
  /** Of a device that knows peers. */
  readonly peers?: PeerTable | undefined;
  leaseData(): BackendData;
  mtu(): number;
  /** Interfaces that packets leave and arrive by. */
  ways(): readonly string[];
  readonly bareWay?: Backend['bareWay'];
  /** Gives the device its address, and brings it up. @throws RudderError */
  configure(own: Subnet): Promise<void>;
  /** @throws RudderError, and leaves all as it was */
  adapt(host: HostChange): Promise<void>;
  /** Puts back what somebody has changed. @throws RudderError */
  ensure(): Promise<Looked>;
  /** The device goes, and what leads through it. `isNew`: only if this process has made it. */
  remove(isNew: boolean): Promise<void>;
}

/** What its lease says of how a node is reached; undefined: not by these routes. */
export type ToPeer = (lease: Lease) => KernelPeer | undefined;

/**
 * A backend that lets the kernel move the packets:
 *
 *     lease changes --toPeer--> peers --plan.ts--> entries wanted --sync.ts--> neighbours, FDB or peers, routes
 *                                                        KernelLinks: the devices that they lead through
 *
 * What is in the kernel goes on carrying packets when this process ends.
 */
export function createKernelBackend(host: BackendHost, links: KernelLinks, wants: Wants, toPeer: ToPeer): Backend {
  const { netlink, config, log } = host;
  /** Peers that are told before there is an own subnet. */
  let early: PeerChange[] = [];
  let sync: KernelSync | undefined;
  let isPersistent = false;
  /** As it is followed; undefined: half way, as far as anybody knows. */
  let followed: HostChange | undefined = host;

  async function start(own: Subnet): Promise<void> {
    await links.configure(own);
    const { network } = config;
    const tables = links.peers === undefined ? netlink : { ...netlink, peers: links.peers };
    sync = createKernelSync({ netlink: tables, network, own, ensureGround: links.ensure, wants, log });
    sync.peersComplete();
    // Which has no ground to stand on yet, and so looks at everything.
    await sync.apply(early);
    early = [];
    if (sync.status().problem !== undefined) await sync.reconcile(); // to reject
  }

  async function apply(changes: readonly LeaseChange[]): Promise<void> {
    const peers = changes.map(({ type, lease }): PeerChange => {
      const peer = type === 'removed' || isUntaken(lease) ? undefined : toPeer(lease);
      return peer === undefined ? { type: 'removed', subnet: lease.subnet } : { type: 'put', peer };
    });
    if (sync === undefined) early.push(...peers);
    else await sync.apply(peers);
  }

  return {
    device: links.device,
    leaves: links.leaves,
    ways: links.ways,
    bareWay: links.bareWay,
    leaseData: links.leaseData,
    mtu: links.mtu,
    start,
    apply,
    problemOf: (subnet) => sync?.problemOf(subnet),
    repair: async () => sync?.reconcile(),
    async adapt(change) {
      // It is told at each look: what else there is to put right repair() has found.
      if (isSameHost(followed, change)) return;
      followed = undefined;
      await links.adapt(change);
      followed = change;
      await sync?.reconcile();
    },
    setRouted: async (isRouted) => sync?.setRouted(isRouted),
    packetPath: undefined,
    kernelEntries() {
      if (sync === undefined) return undefined;
      const { wanted, present } = sync.status();
      return { wanted, present };
    },
    directPeers: () => (wants.direct ? (sync?.status().direct ?? 0) : undefined),
    persist() {
      isPersistent = true;
      sync?.persist();
    },
    async stop(removeDevice) {
      try {
        await sync?.stop();
      } finally {
        if (removeDevice || !isPersistent) await links.remove(!removeDevice);
        if (removeDevice) await removeOurRoutes(netlink);
      }
    },
    // The kernel does not stop forwarding by itself.
    failure: new Promise<never>(() => undefined),
  };
}

const isSameHost = (a: HostChange | undefined, b: HostChange) =>
  a?.interface === b.interface && a.localAddress === b.localAddress && a.mtu === b.mtu;
