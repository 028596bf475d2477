import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import type { Subnet } from '../../core/subnet.js';
import type { Forwarding, Hop } from '../../system/netlink.js';
import { type Entry, type Ground, isSame, type KernelPeer, placeOf, type Wants } from './wanted.js';

export interface PlanOptions {
  readonly netlink: Pick<Forwarding, 'hopTowards'>;
  readonly own: Subnet;
  readonly wants: Wants;
  readonly log: Logger;
}

/**
 * Who wants which entries. An owner is a peer, named by its subnet, or this node itself. Owners may share an entry, such
 * as the FDB entry of a node with two subnets; where two want something else in one place, the first one has it.
 *
 *     owners   "10.240.7.0/24" -> [neighbour, fdb, route]
 *     places   "fdb 0e:1f:.."  -> entry, its owners
 */
export interface Plan {
  readonly peers: ReadonlyMap<string, KernelPeer>;
  /** Why a peer has no entries. */
  readonly problems: ReadonlyMap<string, string>;
  set(owner: string, peer: KernelPeer): void;
  /** What the peer had is wanted no more. */
  remove(owner: string): void;
  /** Decides anew what these owners want. @throws NetlinkError */
  decide(owners: readonly string[], on: Ground, isRouted: boolean): Promise<void>;
  owners(): string[];
  of(owner: string): readonly Entry[];
  at(place: string): Entry | undefined;
  size(): number;
}

const SELF = 'this node';
/** Peers that are told of in each interval. */
const PEERS_TOLD = 3;

export function createPlan({ netlink, own, wants, log }: PlanOptions): Plan {
  const limit = createRepeatLimit(PEERS_TOLD);
  const peers = new Map<string, KernelPeer>();
  const problems = new Map<string, string>();
  const byOwner = new Map<string, readonly Entry[]>();
  const byPlace = new Map<string, { readonly entry: Entry; readonly owners: Set<string> }>();

  function release(owner: string): void {
    for (const entry of byOwner.get(owner) ?? []) {
      const place = placeOf(entry);
      const held = byPlace.get(place);
      held?.owners.delete(owner);
      if (held?.owners.size === 0) byPlace.delete(place);
    }
    byOwner.delete(owner);
  }

  /** @returns why the owner cannot have them */
  function claim(owner: string, entries: readonly Entry[]): string | undefined {
    for (const entry of entries) {
      const held = byPlace.get(placeOf(entry));
      if (held === undefined || isSame(held.entry, entry)) continue;
      return `${whatIs(entry)} is also that of ${[...held.owners].join(', ')}${remedyFor(entry)}`;
    }
    for (const entry of entries) {
      const held = byPlace.get(placeOf(entry));
      if (held === undefined) byPlace.set(placeOf(entry), { entry, owners: new Set([owner]) });
      else held.owners.add(owner);
    }
    byOwner.set(owner, entries);
    return undefined;
  }

  function problemWith(owner: string, on: Ground, hop: Hop | undefined, isRouted: boolean): string | undefined {
    const peer = peers.get(owner);
    if (peer === undefined) return undefined;
    const entries = wants.ofPeer(peer, on, hop);
    return 'problem' in entries ? entries.problem : claim(owner, routed(entries, isRouted));
  }

  const routed = (entries: readonly Entry[], isRouted: boolean) =>
    isRouted ? entries : entries.filter(({ kind }) => kind !== 'route');

  function note(owner: string, problem: string | undefined): void {
    if (problem === undefined) problems.delete(owner);
    else if (problems.get(owner) !== problem) {
      problems.set(owner, problem);
      limit((suppressed) => log.warn({ subnet: owner, problem, suppressed }, 'a peer cannot be reached'));
    }
  }

  return {
    peers,
    problems,
    set: (owner, peer) => void peers.set(owner, peer),
    remove(owner) {
      peers.delete(owner);
      problems.delete(owner);
      release(owner);
    },
    async decide(owners, on, isRouted) {
      const hops = new Map<string, Hop | undefined>();
      for (const owner of owners) {
        const peer = peers.get(owner);
        if (peer !== undefined && wants.asksHop(on)) hops.set(owner, await netlink.hopTowards(peer.endpoint));
      }
      // All of them first: a place may go from one to another.
      for (const owner of [SELF, ...owners]) release(owner);
      claim(SELF, routed(wants.ofSelf(own, on), isRouted));
      for (const owner of owners) note(owner, problemWith(owner, on, hops.get(owner), isRouted));
    },
    owners: () => [SELF, ...peers.keys()],
    of: (owner) => byOwner.get(owner) ?? [],
    at: (place) => byPlace.get(place)?.entry,
    size: () => byPlace.size,
  };
}

function whatIs(entry: Entry): string {
  if (entry.kind === 'fdb') return `its VtepMAC ${entry.mac}`;
  return entry.kind === 'peer' ? 'its PublicKey' : 'its subnet';
}

const remedyFor = ({ kind }: Entry) => (kind === 'peer' ? ': one of them needs another, `rudder keys rotate`' : '');
