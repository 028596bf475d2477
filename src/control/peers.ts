import { shorten } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { Lease, NotALease } from '../core/lease.js';
import { createLeaseSet, type LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnetKey, type Subnet } from '../core/subnet.js';
import type { IgnoredLease } from './membership.js';

/** What the store has under a name that may be a peer's. */
export interface Candidate {
  readonly name: string;
  /** Another one after each change. */
  readonly version: string | number;
  readonly verdict: Lease | NotALease;
  /** What it says of itself, lease or not. */
  readonly says: Partial<Omit<Lease, 'subnet'>>;
}

export interface PeersOptions {
  /** Peers of an earlier run, in use until the first list says otherwise. */
  readonly known?: readonly Lease[];
  /** Told in the log of what is no lease. */
  readonly skipping: string;
  readonly log: Logger;
  onPeers(changes: LeaseChange[]): void;
  onIgnored(name: string, ignored: IgnoredLease | undefined): void;
}

/** Those of a store: what of it changes, and once of each that makes no sense why it is not used. */
export interface Peers {
  /** Makes them equal to a complete list. */
  replaceAll(candidates: readonly Candidate[]): void;
  put(candidate: Candidate): void;
  remove(name: string): void;
}

/** Bad ones that are told of in each interval. */
const BAD_TOLD = 20;

export function createPeers(options: PeersOptions): Peers {
  const set = createLeaseSet();
  const claims = createClaims();
  /** Bad name -> version at which it was reported: a periodic list must not report it again. */
  const reported = new Map<string, string | number>();
  const ignored = new Set<string>();
  /** A flood of bad ones must not become one of lines. What is kept back is told after a later list. */
  const limit = createRepeatLimit(BAD_TOLD);
  tell(set.replaceAll(options.known ?? []));

  function leaseOf(candidate: Candidate): Lease | undefined {
    const { name, verdict } = candidate;
    if ('problem' in verdict) {
      ignore(candidate, verdict.problem);
      return undefined;
    }
    forget(name);
    claims.set(name, verdict);
    return verdict;
  }

  function ignore({ name, version, says }: Candidate, problem: string): void {
    const { publicIp, host, backend } = says;
    ignored.add(name);
    const key = shorten(name, 80);
    options.onIgnored(name, { key, host, version: says.version, backend: backend?.type, publicIp, problem });
    if (reported.get(name) === version) return;
    limit((suppressed) => {
      reported.set(name, version);
      const node = publicIp === undefined ? {} : { publicIp: formatIpv4(publicIp) };
      const fields = { key, ...node, problem };
      options.log.warn(suppressed === 0 ? fields : { ...fields, suppressed }, options.skipping);
    });
  }

  function forget(name: string): void {
    reported.delete(name);
    if (ignored.delete(name)) options.onIgnored(name, undefined);
  }

  function tell(changes: LeaseChange[]): void {
    if (changes.length > 0) options.onPeers(changes);
  }

  /** What that name claims it claims no more: who else claims the same has it. */
  function giveUp(name: string): LeaseChange[] {
    const before = claims.delete(name);
    if (before === undefined) return [];
    const other = claims.latestOf(before.subnet);
    return other === undefined ? set.remove(before.subnet) : set.put(other);
  }

  return {
    replaceAll(candidates) {
      const names = new Set(candidates.map(({ name }) => name));
      for (const name of ignored) if (!names.has(name)) forget(name);
      claims.clear();
      tell(set.replaceAll(candidates.flatMap((candidate) => leaseOf(candidate) ?? [])));
    },
    put(candidate) {
      // First, so that a name that moves does not hold the subnet that it leaves.
      const { name, verdict } = candidate;
      const isElsewhere = 'problem' in verdict || !claims.isOf(name, verdict.subnet);
      const left = isElsewhere ? giveUp(name) : [];
      const lease = leaseOf(candidate);
      tell([...left, ...(lease === undefined ? [] : set.put(lease))]);
    },
    remove(name) {
      forget(name);
      tell(giveUp(name));
    },
  };
}

/** What each name claims. Two may claim one subnet, for a moment or by mistake: the later counts. */
function createClaims() {
  const byName = new Map<string, Lease>();
  /** Subnet -> names, the latest last. */
  const names = new Map<string, Set<string>>();

  function drop(name: string): Lease | undefined {
    const lease = byName.get(name);
    if (lease === undefined) return undefined;
    byName.delete(name);
    const key = formatSubnetKey(lease.subnet);
    const all = names.get(key)!;
    all.delete(name);
    if (all.size === 0) names.delete(key);
    return lease;
  }

  return {
    set(name: string, lease: Lease): void {
      drop(name);
      byName.set(name, lease);
      const key = formatSubnetKey(lease.subnet);
      const all = names.get(key);
      if (all === undefined) names.set(key, new Set([name]));
      else all.add(name);
    },
    delete: drop,
    isOf(name: string, subnet: Subnet): boolean {
      return names.get(formatSubnetKey(subnet))?.has(name) === true;
    },
    latestOf(subnet: Subnet): Lease | undefined {
      const all = names.get(formatSubnetKey(subnet));
      return all === undefined ? undefined : byName.get([...all].at(-1)!);
    },
    clear(): void {
      byName.clear();
      names.clear();
    },
  };
}
