import { messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatLeaseValue, parseLeaseValue } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../core/subnet.js';
import { createBackoff } from './backoff.js';
import { type NodeIdentity, ownershipOf } from './ownership.js';
import { type Holding, type LeaseEntry, NO_TTL, type Registry } from './registry.js';
import { createRepeatLimit } from './retry.js';

export interface KeeperOptions {
  readonly registry: Registry;
  readonly identity: NodeIdentity;
  readonly ttlSeconds: number;
  /** Since etcd last confirmed the lease, if that was before this start; then it is renewed at once. */
  readonly confirmedSecondsAgo?: number;
  readonly log: Logger;
  /** The subnet has another owner: our claim has ended. Called at most once. */
  onLost(error: RudderError): void;
}

export interface LeaseKeeper {
  /** The own key as the watch sees it; undefined: it is gone. */
  ownKeySeen(entry: LeaseEntry | undefined): void;
  /** How often the lease had to be created anew since the start. */
  recoveries(): number;
  /** performance.now() of the last moment at which etcd confirmed the lease. */
  confirmedAt(): number;
  /** What we hold at this moment. */
  holding(): Holding;
  /** Who we are at this moment. */
  identity(): NodeIdentity;
  /**
   * The node has another address: writes it into the own key, so that peers follow. Until that is written the old one
   * is ours, and from the moment of writing the new one as well.
   * @throws RudderError if etcd does not answer, or the key is not ours any more: try again
   */
  moveTo(publicIp: Ipv4): Promise<void>;
  /** Stops renewing; the lease stays, as contract 2.3 wants for a restart. */
  stop(): void;
}

const LONGEST_INTERVAL_SECONDS = 30;

/** A third of the TTL allows two failures; at most 30 s, so that a revoked lease is noticed within a minute. */
export function keepAliveInterval(ttlSeconds: number): number {
  return Math.min(LONGEST_INTERVAL_SECONDS, ttlSeconds / 3);
}

/**
 * Keeps the own lease: renews it, creates the same subnet again if it was revoked or its key deleted, and reports
 * when somebody else holds the subnet. Whatever happens here, packets go on: the data path is not asked to stop.
 */
export function keepLease(subnet: Subnet, initial: Holding, options: KeeperOptions): LeaseKeeper {
  const { registry, log } = options;
  const name = formatSubnetKey(subnet);
  let identity = options.identity;
  /** Who we are about to be: the watch may tell of our write before its answer is here. */
  let moving: NodeIdentity | undefined;
  const stopped = new AbortController();
  const limit = createRepeatLimit();
  const intervalMs = keepAliveInterval(options.ttlSeconds) * 1000;
  let holding = initial;
  let recoveries = 0;
  const ageMs = (options.confirmedSecondsAgo ?? 0) * 1000;
  let confirmedAt = performance.now() - ageMs;
  let recovering: Promise<void> | undefined;
  let lookAgain = false;
  let timer = setTimeout(renew, ageMs === 0 ? intervalMs : 0);

  const isOurs = (entry: LeaseEntry) =>
    [identity, moving].some((who) => who !== undefined && ownershipOf(entry, who) === 'ours');
  const leaseValueOf = (who: NodeIdentity) => formatLeaseValue(who.publicIp, who.nodeId);

  function schedule(ms: number): void {
    clearTimeout(timer);
    if (!stopped.signal.aborted) timer = setTimeout(renew, ms);
  }

  async function renew(): Promise<void> {
    try {
      if (holding.ttlId !== NO_TTL && !(await registry.keepAlive(holding.ttlId))) {
        log.warn({ subnet: formatSubnet(subnet) }, 'the own lease has run out or was revoked');
        recover();
      } else confirmedAt = performance.now();
      schedule(intervalMs);
    } catch (error) {
      limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'the own lease could not be renewed'));
      schedule(Math.min(intervalMs, 1000 + Math.random() * 1000));
    }
  }

  function ownKeySeen(entry: LeaseEntry | undefined): void {
    if (entry === undefined) {
      if (recovering === undefined) log.warn({ subnet: formatSubnet(subnet) }, 'the own lease key is gone');
      recover();
    } else if (!isOurs(entry)) lost(entry);
    else if (entry.revision > holding.revision && entry.ttlId !== holding.ttlId) recover();
  }

  /**
   * One recovery at a time: a lost TTL and a deleted key are told twice, by the renewal and by the watch. What is told
   * during a recovery may have happened after its look, so it looks once more.
   */
  function recover(): void {
    if (stopped.signal.aborted) return;
    lookAgain = recovering !== undefined;
    recovering ??= recoverUntilDone().finally(() => {
      recovering = undefined;
      if (lookAgain) recover();
    });
  }

  async function recoverUntilDone(): Promise<void> {
    const backoff = createBackoff(100, 2000);
    while (!stopped.signal.aborted) {
      try {
        if (await recoverOnce()) return;
      } catch (error) {
        limit((suppressed) =>
          log.warn({ reason: messageOf(error), suppressed }, 'the own lease could not be restored'),
        );
      }
      await backoff.wait(stopped.signal).catch(() => undefined);
    }
  }

  /** False: somebody changed the key between our look and our write, look again. */
  async function recoverOnce(): Promise<boolean> {
    const { entries } = await registry.listLeases();
    if (stopped.signal.aborted) return true;
    const entry = entries.find((candidate) => candidate.name === name);
    if (entry !== undefined && !isOurs(entry)) {
      lost(entry);
      return true;
    }
    if (entry !== undefined && (entry.ttlId === holding.ttlId || entry.ttlId === NO_TTL)) {
      holding = entry; // without a TTL: an operator has made a reservation of it, and it stays one
      return true;
    }
    const restored =
      entry === undefined
        ? await registry.createLease(name, leaseValueOf(identity), options.ttlSeconds)
        : await registry.updateLease(entry, leaseValueOf(identity), options.ttlSeconds);
    if (restored === undefined) return false;
    holding = restored;
    confirmedAt = performance.now();
    recoveries++;
    log.warn({ subnet: formatSubnet(subnet), recoveries }, 'the own lease is restored');
    return true;
  }

  async function moveTo(publicIp: Ipv4): Promise<void> {
    const next = { ...identity, publicIp };
    moving = next;
    const { entries } = await registry.listLeases();
    const entry = entries.find((candidate) => candidate.name === name);
    // Gone, or somebody else's: the watch has told, or will, and is acted on there.
    if (entry === undefined || !isOurs(entry)) throw new Error(`the own lease key ${name} is not there to be changed`);
    const ttlSeconds = entry.ttlId === NO_TTL ? undefined : options.ttlSeconds;
    const moved = await registry.updateLease(entry, leaseValueOf(next), ttlSeconds);
    if (moved === undefined) throw new Error(`the own lease key ${name} was changed meanwhile`);
    holding = moved;
    confirmedAt = performance.now();
    identity = next;
    moving = undefined;
  }

  function lost(entry: LeaseEntry): void {
    if (stopped.signal.aborted) return;
    stop();
    const lease = parseLeaseValue(entry.value);
    const owner = 'problem' in lease ? 'an unreadable value' : `the node at ${formatIpv4(lease.publicIp)}`;
    options.onLost(
      new RudderError(
        'lease-conflict',
        `subnet ${formatSubnet(subnet)} now belongs to ${owner}, not to this node at ${formatIpv4(identity.publicIp)}; restart rudder to lease another subnet`,
      ),
    );
  }

  function stop(): void {
    stopped.abort();
    clearTimeout(timer);
  }

  return {
    ownKeySeen,
    recoveries: () => recoveries,
    confirmedAt: () => confirmedAt,
    holding: () => holding,
    identity: () => identity,
    moveTo,
    stop,
  };
}
