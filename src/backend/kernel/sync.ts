import { counted } from '../../core/counted.js';
import { messageOf } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { createOneAtATime } from '../../core/one-at-a-time.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnet, type Subnet } from '../../core/subnet.js';
import type { Forwarding } from '../../system/netlink.js';
import { createPlan } from './plan.js';
import { createPresent } from './present.js';
import type { Tables } from './tables.js';
import { type Ground, type KernelPeer, placeOf, type Wants } from './wanted.js';

export type PeerChange =
  | { readonly type: 'put'; readonly peer: KernelPeer }
  | { readonly type: 'removed'; readonly subnet: Subnet };

/** The links as they are to be. `repaired`: what somebody had changed of them, in words. */
export interface Looked {
  readonly ground: Ground;
  readonly repaired: string | undefined;
}

export interface KernelSyncOptions {
  readonly netlink: Tables & Pick<Forwarding, 'hopTowards'>;
  readonly network: Subnet;
  readonly own: Subnet;
  /** Looks at the links, and puts right what is ours of them. @throws RudderError if it cannot */
  readonly ensureGround: () => Promise<Looked>;
  readonly wants: Wants;
  readonly log: Logger;
}

export interface SyncStatus {
  /** Entries of the kernel's tables: how many there shall be, and how many of them were there when last looked at. */
  readonly wanted: number;
  readonly present: number;
  /** Peers whose packets leave by the underlay as they are. */
  readonly direct: number;
  /** Peers that are not reached, and why. */
  readonly failed: readonly { readonly subnet: Subnet; readonly reason: string }[];
  /** Why there are no links to forward by; undefined: there are. */
  readonly problem: string | undefined;
}

/**
 * Keeps the kernel's tables as the peers want them:
 *
 *     apply      a few peers changed: their entries are written, and what they had before goes      O(1) requests
 *     reconcile  links, then a list of all there is: what is missing is written, what is not wanted goes
 *
 * Both write a peer's neighbour, FDB entry and route in this order and remove in the reverse one, so that no route leads
 * to where nothing is. A peer whose entry is refused does not stop the others; all is looked at again soon.
 */
export interface KernelSync {
  /** Never rejects: what fails is tried again, told and shown. */
  apply(changes: readonly PeerChange[]): Promise<void>;
  /**
   * All peers have been applied: from now on what is not wanted is removed. Before, an earlier run's entries of peers
   * that are not known yet go on carrying packets.
   */
  peersComplete(): void;
  /** @returns what was wrong, in words; undefined: nothing. @throws RudderError if the links cannot be put right */
  reconcile(): Promise<string | undefined>;
  /** Takes the routes back, or puts them back. Rejects as reconcile() does. */
  setRouted(isRouted: boolean): Promise<void>;
  status(): SyncStatus;
  /** From now on what was written stays when this ends. */
  persist(): void;
  /** Why nothing reaches that peer at the moment; undefined: nothing is known to be wrong. */
  problemOf(subnet: Subnet): string | undefined;
  /** After persist() the kernel goes on forwarding; before it, all is as it was found. Resolves when that is so, and stays so. */
  stop(): Promise<void>;
}

const FIRST_RETRY_MS = 200;
const MAX_RETRY_MS = 10_000;
/** Log lines of one kind that are told in each interval. */
const LINES_TOLD = 3;

export function createKernelSync(options: KernelSyncOptions): KernelSync {
  const { netlink, network, own, wants, log } = options;
  const limit = createRepeatLimit(LINES_TOLD);
  const oneAtATime = createOneAtATime();
  const plan = createPlan({ netlink, own, wants, log });
  /** Peers whose entries the kernel has refused, and what it said. */
  const refused = new Map<string, string>();
  const present = createPresent({ netlink, network, wantedAt: plan.at });
  /** Undefined: not looked at yet, or not as they should be. */
  let ground: Ground | undefined;
  let isComplete = false;
  let isRouted = true;
  let isRoutedInForce: boolean | undefined;
  /** What went wrong the last time, beside single peers; undefined: nothing. */
  let problem: string | undefined;
  let retryMs = FIRST_RETRY_MS;
  let retryTimer: NodeJS.Timeout | undefined;
  let stopped = false;

  async function change(changes: readonly PeerChange[]): Promise<void> {
    // Of thousands that have come at once the rest may be told when all has been taken back.
    if (stopped) return;
    const owners = new Set(changes.map((next) => formatSubnet(next.type === 'put' ? next.peer.subnet : next.subnet)));
    const before = [...owners].flatMap(plan.of);
    for (const next of changes) {
      if (next.type === 'put') plan.set(formatSubnet(next.peer.subnet), next.peer);
      else forget(formatSubnet(next.subnet));
    }
    if (ground === undefined) {
      await converge();
      return;
    }
    // What these give up may be what others wait for.
    if (before.length > 0) for (const owner of plan.problems.keys()) owners.add(owner);
    await plan.decide([...owners], ground, isRouted);
    await writeFor(owners, ground);
    if (!isComplete) return;
    const stale = before.filter((entry) => plan.at(placeOf(entry)) === undefined);
    await present.remove(stale, ground);
  }

  function forget(owner: string): void {
    plan.remove(owner);
    refused.delete(owner);
  }

  async function converge(): Promise<string | undefined> {
    if (stopped) return undefined;
    const { ground: on, repaired } = await look();
    await plan.decide([...plan.peers.keys()], on, isRouted);
    const { lost, others } = await present.read(on);
    await writeFor(plan.owners(), on);
    const stale = others.filter((entry) => isComplete || (entry.kind === 'route' && !isRouted));
    await present.remove(stale, on);
    isRoutedInForce = isRouted;
    const found = [
      repaired,
      lost > 0 && `without ${lost} of its entries`,
      stale.length > 0 && `with ${counted(stale.length, 'entry', 'entries')} that nobody wants`,
    ];
    return found.filter(Boolean).join(', ') || undefined;
  }

  async function look(): Promise<Looked> {
    try {
      const looked = await options.ensureGround();
      ground = looked.ground;
      return looked;
    } catch (error) {
      ground = undefined;
      present.clear();
      throw error;
    }
  }

  /** Writes what these owners want and the kernel does not have. */
  async function writeFor(owners: Iterable<string>, on: Ground): Promise<void> {
    for (const owner of owners) {
      try {
        for (const entry of plan.of(owner)) await present.write(entry, on);
        refused.delete(owner);
      } catch (error) {
        const reason = messageOf(error);
        if (refused.get(owner) === reason) continue;
        refused.set(owner, reason);
        limit((suppressed) =>
          log.warn({ subnet: owner, reason, suppressed }, 'the kernel refuses a peer: tried again'),
        );
      }
    }
  }

  /** One after the other; what could not be done is done again later. */
  function run<T>(work: () => Promise<T>): Promise<T> {
    return oneAtATime(async () => {
      clearTimeout(retryTimer);
      try {
        const result = await work();
        problem = undefined;
        return result;
      } catch (error) {
        problem = messageOf(error);
        throw error;
      } finally {
        if (problem === undefined && refused.size === 0) retryMs = FIRST_RETRY_MS;
        else retryLater();
      }
    });
  }

  function retryLater(): void {
    if (stopped) return;
    retryTimer = setTimeout(() => void run(converge).then(tellFound, told), retryMs);
    retryMs = Math.min(MAX_RETRY_MS, 2 * retryMs);
  }

  const tellFound = (found: string | undefined) =>
    found !== undefined && limit((suppressed) => log.warn({ found, suppressed }, 'put right', 'device.repaired'));
  const told = () => limit((suppressed) => log.warn({ reason: problem, suppressed }, 'the overlay is not set up'));

  return {
    apply: (changes) => run(() => change(changes)).catch(told),
    peersComplete() {
      isComplete = true;
    },
    reconcile: () => run(converge),
    async setRouted(next) {
      isRouted = next;
      if (next !== isRoutedInForce) await run(converge);
    },
    status() {
      const failed = [...plan.problems, ...refused].map(([owner, reason]) => ({
        subnet: plan.peers.get(owner)?.subnet ?? own,
        reason,
      }));
      const { wanted: there, direct } = present.count(ground);
      return { wanted: plan.size(), present: there, direct, failed, problem };
    },
    problemOf(subnet) {
      // Thousands are asked about every few seconds, and mostly there is none.
      if (problem === undefined && plan.problems.size === 0 && refused.size === 0) return undefined;
      const owner = formatSubnet(subnet);
      return problem ?? plan.problems.get(owner) ?? refused.get(owner);
    },
    persist: present.persist,
    async stop() {
      stopped = true;
      await oneAtATime(async () => {
        clearTimeout(retryTimer);
        await present.takeBack(ground);
      });
    },
  };
}
