import { setTimeout as delay } from 'node:timers/promises';
import { parseSubnetKey } from '../core/address-text.js';
import { chooseSubnet, fitsConfig } from '../core/allocator.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import { formatLeaseValue, parseLeaseValue } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../core/subnet.js';
import { keepAliveInterval, type NodeIdentity } from './lease-keeper.js';
import { type Holding, type LeaseEntry, NO_TTL, type Registry } from './registry.js';
import { createRepeatLimit, createRetryBackoff, retryWhileUnavailable } from './retry.js';

export interface AcquireOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  readonly identity: NodeIdentity;
  /** The subnet of our last run, from the state directory. */
  readonly savedSubnet: Subnet | undefined;
  readonly ttlSeconds: number;
  readonly log: Logger;
  readonly random?: () => number;
}

export interface OwnLease {
  readonly subnet: Subnet;
  readonly holding: Holding;
  /** True if this call created the key: a start that fails later takes it back. */
  readonly created: boolean;
}

/**
 * Gets this node its subnet: its own lease if there is one, else the saved subnet if free, else a random free one.
 * Every write is a compare-and-swap; a lost race means to look again, without end.
 * @throws RudderError `lease-conflict` if a living node with our PublicIP holds a lease
 */
export async function acquireLease(options: AcquireOptions, signal: AbortSignal): Promise<OwnLease> {
  const { registry, log } = options;
  const backoff = createRetryBackoff();
  const limit = createRepeatLimit();
  for (;;) {
    const { entries } = await retryWhileUnavailable('leases', () => registry.listLeases(), log, signal);
    const attempt = () => takeOwn(entries, options, signal).then((own) => own ?? createNew(entries, options));
    const outcome = await retryWhileUnavailable('own lease', attempt, log, signal);
    if (typeof outcome === 'object') return outcome;
    if (outcome === 'network-full') {
      limit((suppressed) =>
        log.warn(
          { network: formatSubnet(options.config.network), leases: entries.length, suppressed },
          'no free subnet left, waiting for one: a larger Network or shorter leases would help',
        ),
      );
    }
    await backoff.wait(signal);
  }
}

type Outcome = OwnLease | 'lost-race' | 'network-full';

/** Takes over the entry that is ours; undefined if none is. */
async function takeOwn(
  entries: readonly LeaseEntry[],
  options: AcquireOptions,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { registry, config, identity, log } = options;
  const own = findOwn(entries, identity);
  if (own === undefined) return undefined;
  if (own.otherNodeId !== undefined) await waitUntilUnrefreshed(own.entry, options, signal);

  const subnet = parseSubnetKey(own.entry.name);
  if (subnet === undefined || !fitsConfig(config, subnet)) {
    if (own.entry.ttlId === NO_TTL) {
      log.warn(
        { reservation: own.entry.name },
        'our reservation does not fit the network config, leasing another subnet',
      );
      return undefined;
    }
    log.warn({ lease: own.entry.name }, 'the own lease does not fit the network config any more, replacing it');
    await registry.deleteLease(own.entry);
    return 'lost-race';
  }
  // A reservation has no TTL and keeps none.
  const ttlSeconds = own.entry.ttlId === NO_TTL ? undefined : options.ttlSeconds;
  const value = formatLeaseValue(identity.publicIp, identity.nodeId);
  const holding = await registry.updateLease(own.entry, value, ttlSeconds);
  return holding === undefined ? 'lost-race' : { subnet, holding, created: false };
}

interface OwnEntry {
  readonly entry: LeaseEntry;
  /** Set if the entry has our PublicIP but another node's id: perhaps we lost our state, perhaps it is a twin. */
  readonly otherNodeId?: string;
}

/** Our node id is proof; our PublicIP without a node id was written by flannel on this host; else it must be watched. */
function findOwn(entries: readonly LeaseEntry[], identity: NodeIdentity): OwnEntry | undefined {
  const leases = entries.flatMap((entry) => {
    const lease = parseLeaseValue(entry.value);
    // A dual-stack key of flannel's names more than we would keep: it stays a stranger's.
    return 'problem' in lease || entry.name.includes('&') ? [] : [{ entry, ...lease }];
  });
  const sameId = leases.find((lease) => lease.nodeId === identity.nodeId);
  if (sameId !== undefined) return { entry: sameId.entry };
  const sameIp = leases.filter((lease) => lease.publicIp === identity.publicIp);
  const withoutId = sameIp.find((lease) => lease.nodeId === undefined || lease.entry.ttlId === NO_TTL);
  if (withoutId !== undefined) return { entry: withoutId.entry };
  return sameIp.length === 0 ? undefined : { entry: sameIp[0].entry, otherNodeId: sameIp[0].nodeId };
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
  const start = performance.now();
  const watchMs = 2 * keepAliveInterval(first.grantedSeconds) * 1000;
  log.info(
    { lease: entry.name, seconds: Math.ceil(watchMs / 1000) },
    'a lease with our PublicIP has an unknown node id, waiting to see whether its node is alive',
  );
  for (let look = 1; look <= LOOKS; look++) {
    await delay(start + (watchMs * look) / LOOKS - performance.now(), undefined, { signal });
    // Before the request: an answer that travels long must not look like a refreshed lease.
    const elapsed = (performance.now() - start) / 1000;
    const now = await registry.timeToLive(entry.ttlId);
    if (now === undefined) return;
    if (now.remainingSeconds > first.remainingSeconds - elapsed + TTL_ROUNDING_SECONDS) {
      throw new RudderError(
        'lease-conflict',
        `PublicIP ${formatIpv4(identity.publicIp)} is in use: a living node with another node id keeps lease ${entry.name}; give each node its own address with --public-ip or --iface`,
      );
    }
  }
}

async function createNew(entries: readonly LeaseEntry[], options: AcquireOptions): Promise<Outcome> {
  const { registry, config, identity } = options;
  const taken = entries.flatMap((entry) => parseSubnetKey(entry.name) ?? []);
  const subnet = chooseSubnet(config, taken, options.savedSubnet, options.random ?? Math.random);
  if (subnet === undefined) return 'network-full';
  const value = formatLeaseValue(identity.publicIp, identity.nodeId);
  const holding = await registry.createLease(formatSubnetKey(subnet), value, options.ttlSeconds);
  return holding === undefined ? 'lost-race' : { subnet, holding, created: true };
}
