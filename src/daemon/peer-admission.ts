import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import type { Backend } from '../backend/backend.js';
import { messageOf } from '../core/errors.js';
import { inTurns, MOST_AT_ONCE } from '../core/in-turns.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { isPortMapped, type Lease } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { contains, formatSubnet, formatSubnetKey, type Subnet, subnetOf } from '../core/subnet.js';
import type { Firewall } from '../system/firewall.js';
import type { Netlink } from '../system/netlink.js';
import type { Members } from '../system/nft-rules.js';
import { coverOf } from './cover.js';

export interface AdmissionOptions {
  readonly config: NetworkConfig;
  readonly own: Subnet;
  readonly netlink: Pick<Netlink, 'routeTo'>;
  readonly backend: Pick<Backend, 'apply'>;
  /** Address of the tunnel's socket. */
  readonly source: () => Ipv4;
  readonly log: Logger;
}

/** Our device in this host's routing. */
export interface DeviceRoutes {
  /** Interface index; undefined: there is no device yet. */
  readonly device: number | undefined;
  /** What leads through it beside the Network. */
  readonly foreign: readonly Subnet[];
}

/**
 * Between control, which says who the peers are, and the backend, which sends to them:
 *
 *     changes --> may it be a next hop? --> out of connection tracking (firewall) --> route (backend)
 *                       no: skipped, told, shown
 *
 * A peer's subnet must not overlap our own. A next hop must not lie in a leased subnet, nor be one that the kernel would route into our own device: its datagrams
 * would be carried in themselves, each round 28 bytes larger.
 */
export interface PeerAdmission {
  /** Takes effect in this order, soon. */
  apply(changes: readonly LeaseChange[]): void;
  /** Resolves when all that was given so far is in force. */
  settled(): Promise<void>;
  /** From now on a peer's datagrams are kept from connection tracking before it is routed. */
  use(firewall: Firewall): void;
  members(): Members;
  /** Looks at next hops again: routes may have changed. */
  recheck(routes: DeviceRoutes): Promise<void>;
  /** Why the lease's node is no peer; undefined: it is one. */
  problemOf(lease: Lease): string | undefined;
}

/** Each take starts nft, which costs more than all else of a change: a first change is taken at once, those after it together. */
const GATHER_MS = 100;
/** Skipped peers that are told in each interval. */
const SKIPPED_TOLD = 20;

export function createPeerAdmission(options: AdmissionOptions): PeerAdmission {
  const { config, own, netlink, backend, log } = options;
  const leases = new Map<string, Lease>();
  const admitted = new Map<string, Lease>();
  const problems = new Map<string, string>();
  const members = createMemberCounts();
  const limit = createRepeatLimit(SKIPPED_TOLD);
  let firewall: Firewall | undefined;
  let waiting: LeaseChange[] = [];
  let through: DeviceRoutes = { device: undefined, foreign: [] };
  let working: Promise<void> = Promise.resolve();
  let tookAt = Number.NEGATIVE_INFINITY;

  /** What comes while others are being looked at, or soon after, is taken together with the next. */
  function enqueue(): Promise<void> {
    working = working
      .then(gather)
      .then(take)
      .catch((error: unknown) => {
        log.error({ reason: messageOf(error) }, 'changes of peers could not be followed');
      });
    return working;
  }

  async function gather(): Promise<void> {
    const rest = tookAt + GATHER_MS - performance.now();
    if (waiting.length > 0 && rest > 0) await delay(rest);
    // So many have cost their list a while.
    else if (waiting.length > MOST_AT_ONCE) await setImmediate();
  }

  async function take(): Promise<void> {
    const changes = waiting;
    waiting = [];
    if (changes.length > 0) tookAt = performance.now();
    for (const { type, lease } of changes) {
      const key = formatSubnetKey(lease.subnet);
      if (type === 'removed') leases.delete(key);
      else leases.set(key, lease);
    }
    const changed = changes.map(({ lease }) => formatSubnetKey(lease.subnet));
    // Others too that only a route, or a subnet that nobody holds, keeps from being covered.
    const keys = [...new Set([...changed, ...suspects(), ...problems.keys()])];
    await inTurns(keys, judge);
    const left = members.takeLeft();
    if (firewall !== undefined && hasAny(left)) await firewall.removeMembers(left);
  }

  async function judge(keys: readonly string[]): Promise<void> {
    const results: LeaseChange[] = [];
    for (const key of keys) {
      const lease = leases.get(key);
      const problem = lease && (overlapWith(lease) ?? (isSuspect(lease) ? await problemWith(lease) : undefined));
      results.push(...decide(key, lease, problem));
    }
    if (results.length > 0) await put(results);
  }

  /** Of a node with another SubnetLen: two of one length are the same key. */
  function overlapWith({ subnet }: Lease): string | undefined {
    if (!contains(subnet, own.address) && !contains(own, subnet.address)) return undefined;
    return `its subnet overlaps this node's own, ${formatSubnet(own)}`;
  }

  function isSuspect({ publicIp }: Lease): boolean {
    return contains(config.network, publicIp) || through.foreign.some((destination) => contains(destination, publicIp));
  }

  function* suspects(): Iterable<string> {
    for (const [key, lease] of leases) if (isSuspect(lease)) yield key;
  }

  async function problemWith({ publicIp }: Lease): Promise<string | undefined> {
    const text = formatIpv4(publicIp);
    const around = contains(own, publicIp) ? own : leasedAround(publicIp);
    if (around !== undefined) return `its address ${text} lies in the leased subnet ${formatSubnet(around)}`;
    const overlay = { network: config.network, device: through.device };
    // The source may have gone from this host a moment ago: then the kernel chooses one.
    const found = await coverOf(netlink, publicIp, overlay, options.source()).catch(() =>
      coverOf(netlink, publicIp, overlay).catch(() => undefined),
    );
    if (found?.cover === undefined) return undefined;
    return `its address ${text} is reached only through the overlay itself: give it a more specific route`;
  }

  function leasedAround(address: Ipv4): Subnet | undefined {
    for (let length = config.subnetLength; length > config.network.prefixLength; length--) {
      const around = subnetOf(address, length);
      if (leases.has(formatSubnetKey(around))) return around;
    }
    return undefined;
  }

  /** What the backend has to be told of a lease as it is now. */
  function decide(key: string, lease: Lease | undefined, problem: string | undefined): LeaseChange[] {
    const before = admitted.get(key);
    if (lease === undefined || problem !== undefined) {
      if (lease !== undefined && problem !== undefined) skip(key, lease, problem);
      else problems.delete(key);
      admitted.delete(key);
      return before === undefined ? [] : [{ type: 'removed', lease: before }];
    }
    problems.delete(key);
    if (before === lease) return [];
    admitted.set(key, lease);
    return [{ type: before === undefined ? 'added' : 'changed', lease }];
  }

  function skip(key: string, lease: Lease, problem: string): void {
    if (problems.get(key) === problem) return;
    problems.set(key, problem);
    limit((suppressed) => log.warn({ subnet: formatSubnet(lease.subnet), problem, suppressed }, 'a peer is skipped'));
  }

  /** Members are there before the routes to them, and go after those: when all turns are over, which may have them again. */
  async function put(results: readonly LeaseChange[]): Promise<void> {
    const added = members.count(results);
    if (firewall !== undefined && hasAny(added)) await firewall.addMembers(added);
    await backend.apply(results);
  }

  return {
    apply(changes) {
      const isFirst = waiting.length === 0;
      waiting.push(...changes);
      // Else the take that waits for these is under way.
      if (isFirst) void enqueue();
    },
    settled: () => working,
    use(next) {
      firewall = next;
      // Others may have come and gone while it was being set up.
      working = working
        .then(() => next.replaceMembers(members.all()))
        .catch((error: unknown) => log.error({ reason: messageOf(error) }, 'members are not in the firewall'));
    },
    members: members.all,
    recheck(routes) {
      through = routes;
      return enqueue();
    },
    // Thousands are asked about every few seconds, and mostly there is none.
    problemOf: ({ subnet }) => (problems.size === 0 ? undefined : problems.get(formatSubnetKey(subnet))),
  };
}

const hasAny = ({ direct, portMapped }: Members) => direct.size + portMapped.size > 0;

/** How many leases there are of each address: a node may hold more than one. */
function createMemberCounts() {
  const counts = { direct: new Map<Ipv4, number>(), portMapped: new Map<Ipv4, number>() };
  const leases = new Map<string, Lease>();
  const nobody = () => ({ direct: new Set<Ipv4>(), portMapped: new Set<Ipv4>() });
  let left = nobody();
  const kindOf = (lease: Lease) => (isPortMapped(lease) ? 'portMapped' : 'direct');

  function change(lease: Lease, by: 1 | -1): boolean {
    const ofKind = counts[kindOf(lease)];
    const before = ofKind.get(lease.publicIp) ?? 0;
    if (before + by > 0) ofKind.set(lease.publicIp, before + by);
    else ofKind.delete(lease.publicIp);
    return before === 0 || before + by === 0;
  }

  return {
    /**
     * Which addresses are members now that were not.
     * @param changes one of a subnet at most
     */
    count(changes: readonly LeaseChange[]): Members {
      const added = nobody();
      // Those that come first: an address that only changes subnets is a member all the time.
      for (const { type, lease } of changes) {
        if (type === 'removed' || !change(lease, 1)) continue;
        const kind = kindOf(lease);
        if (!left[kind].delete(lease.publicIp)) added[kind].add(lease.publicIp);
      }
      for (const { type, lease } of changes) {
        const key = formatSubnetKey(lease.subnet);
        const before = leases.get(key);
        if (before !== undefined && change(before, -1)) left[kindOf(before)].add(before.publicIp);
        if (type === 'removed') leases.delete(key);
        else leases.set(key, lease);
      }
      return added;
    },
    /** Which are none any more. */
    takeLeft(): Members {
      const taken = left;
      left = nobody();
      return taken;
    },
    all: (): Members => ({
      direct: new Set(counts.direct.keys()),
      portMapped: new Set(counts.portMapped.keys()),
    }),
  };
}
