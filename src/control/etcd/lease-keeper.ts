import { messageOf, RudderError } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import { formatLeaseValue, type NodeReach, parseLeaseValue } from '../../core/lease.js';
import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../../core/subnet.js';
import { createBackoff } from '../backoff.js';
import { bootNow } from '../boot-clock.js';
import type { OwnKey } from '../membership.js';
import type { EtcdHolding } from './holding.js';
import { hasNodeId, ownershipOf, saysWhatWeAre } from './ownership.js';
import { type LeaseEntry, NO_TTL, type Registry } from './registry.js';

export interface KeeperOptions {
  readonly registry: Registry;
  readonly identity: NodeReach;
  /** Of each TTL that is asked for. */
  readonly ttlSeconds: number;
  /** What an earlier run left, if etcd has not given the lease to this one; then it is renewed at once. */
  readonly earlier?: EarlierLease | undefined;
  readonly log: Logger;
  /** The subnet has another owner: our claim has ended. Called at most once. */
  onLost(error: RudderError): void;
}

/** A lease as an earlier run had it. */
export interface EarlierLease {
  readonly ttlSeconds: number;
  readonly confirmedSecondsAgo: number;
  readonly ownKey: OwnKey;
}

export interface LeaseKeeper {
  /** The own key as the watch sees it; undefined: it is gone. */
  ownKeySeen(entry: LeaseEntry | undefined): void;
  /** How often the lease had to be created anew since the start. */
  recoveries(): number;
  /** bootNow() of the last moment at which etcd confirmed the lease. */
  confirmedAt(): number;
  /** Of the TTL that we hold. */
  ttlSeconds(): number;
  /** bootNow() of etcd's last answer to the keeper; undefined: it had none. */
  answeredAt(): number | undefined;
  ownKey(): OwnKey;
  /** Why it could not renew or write, the last time that it tried; undefined: it could. */
  problem(): string | undefined;
  /** What we hold at this moment. */
  holding(): EtcdHolding;
  /** Who we are at this moment. */
  identity(): NodeReach;
  /** The node is reached in another way: written into the own key, so that peers follow, as soon as etcd takes it. */
  publish(reach: Partial<Pick<NodeReach, 'publicIp' | 'backend'>>): void;
  /** Stops renewing; the lease stays, as contract 2.3 wants for a restart. */
  stop(): void;
  /** Resolves when no write is under way: after stop(), what we hold does not change any more. */
  settled(): Promise<void>;
}

const LONGEST_INTERVAL_SECONDS = 30;

/** A third of the TTL allows two failures; at most 30 s, so that a revoked lease is noticed within a minute. */
export function keepAliveInterval(ttlSeconds: number): number {
  return Math.min(LONGEST_INTERVAL_SECONDS, ttlSeconds / 3);
}

/**
 * Keeps the own lease: renews it, and makes the key what it should be whenever it is not (its TTL was revoked, it was
 * deleted, it has another address of ours, or says something else of our backend). Reports when somebody else holds the subnet. Whatever happens here, packets go
 * on: the data path is not asked to stop.
 */
export function keepLease(subnet: Subnet, initial: EtcdHolding, options: KeeperOptions): LeaseKeeper {
  const { registry, log } = options;
  const name = formatSubnetKey(subnet);
  let identity = options.identity;
  /** Who we were until the key says who we are now: a key with that value is ours too. */
  let former: NodeReach[] = [];
  /** All addresses that we had: etcd may commit a write of one of them long after we had no answer to it. */
  const pastAddresses = new Set<Ipv4>();
  const stopped = new AbortController();
  const limit = createRepeatLimit();
  const { earlier } = options;
  let holding = initial;
  let ttlSeconds = earlier?.ttlSeconds ?? options.ttlSeconds;
  const intervalMs = keepAliveInterval(Math.min(ttlSeconds, options.ttlSeconds)) * 1000;
  let ownKey: OwnKey = earlier?.ownKey ?? 'written';
  let recoveries = 0;
  let confirmedAt = bootNow() - (earlier?.confirmedSecondsAgo ?? 0) * 1000;
  let answeredAt: number | undefined;
  /** By what was tried: a renewal that works says nothing of a write, for which etcd may have no room. */
  const problems: { renewal?: string; write?: string } = {};
  let mending: Promise<void> | undefined;
  let lookAgain = false;
  let timer = setTimeout(renew, earlier === undefined ? intervalMs : 0);

  function isOurs(entry: LeaseEntry): boolean {
    const isOf = (who: NodeReach) => ownershipOf(entry, who) === 'ours';
    if ([identity, ...former].some(isOf)) return true;
    return hasNodeId(entry, identity) && [...pastAddresses].some((publicIp) => isOf({ ...identity, publicIp }));
  }

  function schedule(ms: number): void {
    clearTimeout(timer);
    if (!stopped.signal.aborted) timer = setTimeout(renew, ms);
  }

  /** etcd's answer, whatever it says. */
  async function answered<T>(request: Promise<T>): Promise<T> {
    const answer = await request;
    answeredAt = bootNow();
    return answer;
  }

  async function renew(): Promise<void> {
    const { ttlId } = holding;
    // Of the question, not of the answer: the host may be suspended in between.
    const askedAt = bootNow();
    try {
      if (ttlId === NO_TTL || (await answered(registry.keepAlive(ttlId)))) confirmedAt = askedAt;
      else if (ttlId === holding.ttlId) {
        // Otherwise a write of ours has replaced it meanwhile.
        if (mending === undefined)
          log.warn({ subnet: formatSubnet(subnet) }, 'the own lease has run out or was revoked', 'lease.lost');
        // A TTL takes its keys with it; one that the key has left held nothing.
        ownKey = 'gone';
        mend();
      }
      problems.renewal = undefined;
      schedule(intervalMs);
    } catch (error) {
      problems.renewal = messageOf(error);
      limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'the own lease could not be renewed'));
      schedule(Math.min(intervalMs, 1000 + Math.random() * 1000));
    }
  }

  function ownKeySeen(entry: LeaseEntry | undefined): void {
    if (entry === undefined) {
      if (mending === undefined) log.warn({ subnet: formatSubnet(subnet) }, 'the own lease key is gone', 'lease.lost');
      ownKey = 'gone';
      return mend();
    }
    // A list may be told after a later write of ours has been answered.
    if (entry.revision < holding.revision) return;
    if (!isOurs(entry)) lost(entry);
    else if (isAsItShouldBe(entry)) accept(entry, identity);
    else {
      ownKey = 'differs';
      mend();
    }
  }

  /** Without a TTL: an operator has made a reservation of it, and it stays one. */
  const isKept = (entry: LeaseEntry) => entry.ttlId === holding.ttlId || entry.ttlId === NO_TTL;

  function isAsItShouldBe(entry: LeaseEntry): boolean {
    return isKept(entry) && ownershipOf(entry, identity) === 'ours' && saysWhatWeAre(entry, identity);
  }

  function publish(reach: Partial<Pick<NodeReach, 'publicIp' | 'backend'>>): void {
    former.push(identity);
    pastAddresses.add(identity.publicIp);
    identity = { ...identity, ...reach };
    if (ownKey === 'written') ownKey = 'differs';
    mend();
  }

  /**
   * One at a time: a lost TTL and a deleted key are told twice, by the renewal and by the watch. What is told meanwhile
   * may have happened after the look, so it looks once more.
   */
  function mend(): void {
    if (stopped.signal.aborted) return;
    lookAgain = mending !== undefined;
    mending ??= mendUntilDone().finally(() => {
      mending = undefined;
      if (lookAgain) mend();
    });
  }

  async function mendUntilDone(): Promise<void> {
    const backoff = createBackoff(100, 2000);
    while (!stopped.signal.aborted) {
      try {
        if (await mendOnce()) return;
      } catch (error) {
        problems.write = messageOf(error);
        limit((suppressed) =>
          log.warn({ reason: messageOf(error), suppressed }, 'the own lease could not be restored'),
        );
      }
      await backoff.wait(stopped.signal).catch(() => undefined);
    }
  }

  /** False: somebody changed the key between our look and our write, look again. */
  async function mendOnce(): Promise<boolean> {
    const { entries } = await answered(registry.listLeases());
    if (stopped.signal.aborted) return true;
    const entry = entries.find((candidate) => candidate.name === name);
    ownKey = entry === undefined ? 'gone' : 'differs';
    if (entry !== undefined && !isOurs(entry)) {
      lost(entry);
      return true;
    }
    if (entry !== undefined && isAsItShouldBe(entry)) {
      accept(entry, identity);
      return true;
    }
    const who = identity;
    const value = formatLeaseValue(who);
    const ttl = entry?.ttlId === NO_TTL ? undefined : options.ttlSeconds;
    const wasKept = entry !== undefined && isKept(entry);
    const askedAt = bootNow();
    /** Its operator has given the reservation up, and the key a TTL that is not ours yet. */
    const wasReleased = entry !== undefined && !wasKept && holding.ttlId === NO_TTL;
    const written =
      entry === undefined
        ? await answered(registry.createLease(name, value, ttl))
        : await answered(registry.updateLease(entry, value, ttl));
    if (written === undefined) return false;
    accept(written, who);
    confirmedAt = askedAt;
    ttlSeconds = options.ttlSeconds;
    if (wasKept) log.info(...published(entry, who));
    else if (wasReleased) log.info({ subnet: formatSubnet(subnet) }, 'the reservation is given up, and a lease now');
    else {
      recoveries++;
      log.warn({ subnet: formatSubnet(subnet), recoveries }, 'the own lease is restored', 'lease.restored');
    }
    return true;
  }

  function published(before: LeaseEntry, who: NodeReach): [object, string] {
    if (ownershipOf(before, who) !== 'ours') {
      return [{ publicIp: formatIpv4(who.publicIp) }, 'the new public address is published'];
    }
    return [{ ...who.backend }, 'what the node says of itself is published'];
  }

  /** The key says that it is held by `who`. */
  function accept({ revision, ttlId }: EtcdHolding, who: NodeReach): void {
    holding = { revision, ttlId };
    if (who !== identity) return;
    former = [];
    problems.write = undefined;
    ownKey = 'written';
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
    ttlSeconds: () => ttlSeconds,
    answeredAt: () => answeredAt,
    ownKey: () => ownKey,
    problem: () => problems.write ?? problems.renewal,
    holding: () => holding,
    identity: () => identity,
    publish,
    stop,
    settled: () => mending ?? Promise.resolve(),
  };
}
