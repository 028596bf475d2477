import { setTimeout as delay } from 'node:timers/promises';
import { parseSubnetKey } from '../../core/address-text.js';
import { chooseSubnet, fitsConfig } from '../../core/allocator.js';
import { RudderError } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import { formatLeaseValue } from '../../core/lease.js';
import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnet, formatSubnetKey } from '../../core/subnet.js';
import { bootNow } from '../boot-clock.js';
import type { OwnLease, Wanted } from '../membership.js';
import { createRetryBackoff, lastWord, retryWhileUnavailable, unlessAborted } from '../retry.js';
import type { EtcdHolding } from './holding.js';
import { keepAliveInterval } from './lease-keeper.js';
import { hasNodeId, ownershipOf } from './ownership.js';
import { type LeaseEntry, NO_TTL, type Registry } from './registry.js';

export interface AcquireOptions extends Wanted {
  readonly registry: Registry;
  readonly ttlSeconds: number;
  readonly log: Logger;
  readonly random?: () => number;
}

export interface TakenLease extends OwnLease {
  readonly holding: EtcdHolding;
}

/**
 * Gets this node its subnet: its own lease if there is one, else the saved subnet if free, else a random free one.
 * Every write is a compare-and-swap; a lost race means to look again, without end.
 * @throws RudderError `lease-conflict` if a living node with our PublicIP holds a lease
 */
export async function acquireLease(options: AcquireOptions, signal: AbortSignal): Promise<TakenLease> {
  const { registry, log } = options;
  const backoff = createRetryBackoff();
  const limit = createRepeatLimit();
  for (;;) {
    // List and write together: a write whose answer was lost may have made a lease that only a new list shows.
    const attempt = async () => {
      const { entries } = await registry.listLeases();
      return (await takeOwn(entries, options, signal)) ?? createNew(entries, options);
    };
    let underWay: Promise<Outcome> | undefined;
    const begin = () => {
      underWay = attempt();
      return underWay;
    };
    const asking = options.isHasty
      ? unlessAborted(begin(), signal)
      : retryWhileUnavailable('own lease', begin, log, signal, 'etcd');
    const outcome = await asking.catch(async (error) => {
      if (signal.aborted && underWay !== undefined) await lastWord(takeBack(registry, underWay));
      throw error;
    });
    if (typeof outcome === 'object') return outcome;
    if (outcome === 'network-full') {
      limit((suppressed) =>
        log.warn(
          { network: formatSubnet(options.config.network), suppressed },
          'no free subnet left, waiting for one: a larger Network or shorter leases would help',
        ),
      );
    }
    await backoff.wait(signal);
  }
}

/** A stop does not wait for a write that is under way, but what that creates nevertheless is not left behind. */
async function takeBack(registry: Registry, underWay: Promise<Outcome>): Promise<void> {
  const outcome = await underWay;
  if (typeof outcome !== 'object' || !outcome.created) return;
  await registry.deleteLease({ name: formatSubnetKey(outcome.subnet), ...outcome.holding });
}

type Outcome = TakenLease | 'lost-race' | 'network-full';

/** Takes over the entry that is ours; undefined if none is. */
async function takeOwn(
  entries: readonly LeaseEntry[],
  options: AcquireOptions,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { registry, config, identity, log } = options;
  const own = findOwn(entries, options);
  if (own === undefined) return undefined;
  if (ownershipOf(own, identity) === 'unclear') await waitUntilUnrefreshed(own, options, signal);

  const subnet = parseSubnetKey(own.name);
  if (subnet === undefined || !fitsConfig(config, subnet)) {
    if (own.ttlId === NO_TTL) {
      log.warn({ reservation: own.name }, 'our reservation does not fit the network config, leasing another subnet');
      return undefined;
    }
    log.warn({ lease: own.name }, 'the own lease does not fit the network config any more, replacing it');
    await registry.deleteLease(own);
    return 'lost-race';
  }
  // A reservation has no TTL and keeps none.
  const ttlSeconds = own.ttlId === NO_TTL ? undefined : options.ttlSeconds;
  const value = formatLeaseValue(identity);
  const holding = await registry.updateLease(own, value, ttlSeconds);
  return holding === undefined ? 'lost-race' : { subnet, holding, created: false };
}

/**
 * Our node id comes before our PublicIP, what is surely ours before what is unclear, and of several leases (one may be
 * left of a write whose answer was lost) that of our last run.
 */
function findOwn(entries: readonly LeaseEntry[], { identity, savedSubnet }: AcquireOptions): LeaseEntry | undefined {
  const saved = savedSubnet === undefined ? undefined : formatSubnetKey(savedSubnet);
  const candidates = entries.filter((entry) => ownershipOf(entry, identity) !== 'strangers');
  const rank = (entry: LeaseEntry) =>
    (hasNodeId(entry, identity) ? 0 : 4) +
    (ownershipOf(entry, identity) === 'ours' ? 0 : 2) +
    (entry.name === saved ? 0 : 1);
  return candidates.sort((a, b) => rank(a) - rank(b))[0];
}

/** etcd tells whole seconds, so a TTL may look up to this much longer than it is. */
const TTL_ROUNDING_SECONDS = 1.5;
const LOOKS = 8;

/**
 * A lease whose remaining time only falls over two keep-alive intervals has no living owner.
 * @throws RudderError `lease-conflict` if somebody refreshes it
 */
async function waitUntilUnrefreshed(entry: LeaseEntry, options: AcquireOptions, signal: AbortSignal): Promise<void> {
  const { registry, log, identity } = options;
  const first = await registry.timeToLive(entry.ttlId);
  if (first === undefined) return;
  const start = bootNow();
  const watchMs = 2 * keepAliveInterval(first.grantedSeconds) * 1000;
  log.info(
    { lease: entry.name, seconds: Math.ceil(watchMs / 1000) },
    hasNodeId(entry, identity)
      ? 'a lease with our node id has another PublicIP, waiting to see whether its node is alive'
      : 'a lease with our PublicIP has an unknown node id, waiting to see whether its node is alive',
  );
  for (let look = 1; look <= LOOKS; look++) {
    await delay(start + (watchMs * look) / LOOKS - bootNow(), undefined, { signal });
    // Before the request: an answer that travels long must not look like a refreshed lease.
    const elapsed = (bootNow() - start) / 1000;
    const now = await registry.timeToLive(entry.ttlId);
    if (now === undefined) return;
    if (now.remainingSeconds > first.remainingSeconds - elapsed + TTL_ROUNDING_SECONDS) {
      throw new RudderError(
        'lease-conflict',
        hasNodeId(entry, identity)
          ? `our node id is in use: a living node at another address keeps lease ${entry.name} with it; give each node its own --state-dir, a copied one must be removed`
          : `PublicIP ${formatIpv4(identity.publicIp)} is in use: a living node with another node id keeps lease ${entry.name}; give each node its own address with --public-ip or --iface`,
      );
    }
  }
}

async function createNew(entries: readonly LeaseEntry[], options: AcquireOptions): Promise<Outcome> {
  const { registry, config, identity } = options;
  const taken = entries.flatMap((entry) => parseSubnetKey(entry.name) ?? []);
  const subnet = chooseSubnet(config, taken, options.savedSubnet, options.random ?? Math.random);
  if (subnet === undefined) return 'network-full';
  const value = formatLeaseValue(identity);
  const holding = await registry.createLease(formatSubnetKey(subnet), value, options.ttlSeconds);
  return holding === undefined ? 'lost-race' : { subnet, holding, created: true };
}
