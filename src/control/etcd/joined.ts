import type { LastKnown } from '../../core/last-known.js';
import type { Logger } from '../../core/logger.js';
import { formatSubnetKey } from '../../core/subnet.js';
import { createContact, secondsSince } from '../contact.js';
import { createLoss } from '../loss.js';
import type { IgnoredLease, Joined, JoinedState, Keeping } from '../membership.js';
import { createPeerList } from '../peer-list.js';
import { lastWord, unlessAborted } from '../retry.js';
import { toEtcdHolding } from './holding.js';
import { type EarlierLease, keepLease } from './lease-keeper.js';
import { watchLeases } from './lease-watcher.js';
import { NO_TTL, type Registry } from './registry.js';

/** A complete list is compared by value this often even while the watch looks healthy. */
const RESYNC_MS = 3 * 60_000;

export interface JoinedOptions extends Keeping {
  readonly registry: Registry;
  readonly ttlSeconds: number;
  readonly log: Logger;
}

/** Two loops: one follows the peers, the other looks after the own key. */
export function keepJoined(options: JoinedOptions): Joined {
  const { registry, config, own, fallback, degraded, identity, ttlSeconds, problemOf, log } = options;
  const stopped = new AbortController();
  const name = formatSubnetKey(own.subnet);

  const { lost, isLost, lose: onLost } = createLoss();
  const earlier = degraded === undefined ? undefined : fallback && earlierLeaseOf(fallback, ttlSeconds);
  const keeper = keepLease(own.subnet, toEtcdHolding(own.holding)!, {
    registry,
    identity,
    ttlSeconds,
    earlier,
    log,
    onLost,
  });

  const peers = createPeerList(options.onPeers);
  const ignored = new Map<string, IgnoredLease>();
  const contact = createContact(degraded, options.onCurrent);

  const listed = new Promise<void>((resolve) => {
    const watching = {
      known: fallback?.peers ?? [],
      registry,
      config,
      problemOf,
      ownName: name,
      log,
      resyncMs: RESYNC_MS,
      onPeers: peers.changed,
      onIgnored(key: string, lease: IgnoredLease | undefined) {
        if (lease === undefined) ignored.delete(key);
        else ignored.set(key, lease);
      },
      onConfig: options.onConfig,
      onAnswer: contact.onAnswer,
      onWatch: contact.onWatch,
    };
    void watchLeases({ ...watching, onOwnKey: keeper.ownKeySeen }, resolve, stopped.signal);
  });

  async function stop(): Promise<void> {
    stopped.abort();
    keeper.stop();
  }

  async function giveBack(): Promise<void> {
    await keeper.settled();
    if (keeper.holding().ttlId === NO_TTL) return; // a reservation is its operator's
    await registry.deleteLease({ name, ...keeper.holding() });
  }

  function remainingSeconds(): number | undefined {
    if (keeper.ownKey() === 'gone') return 0;
    if (keeper.holding().ttlId === NO_TTL) return undefined;
    return Math.max(0, keeper.ttlSeconds() - secondsSince(keeper.confirmedAt()));
  }

  const lease = (): JoinedState['lease'] => ({
    ttlSeconds: keeper.ttlSeconds(),
    remainingSeconds: remainingSeconds(),
    ownKey: keeper.ownKey(),
    recoveries: keeper.recoveries(),
    problem: keeper.problem(),
    holding: keeper.holding(),
  });

  return {
    state: () => ({
      ...contact.state(keeper.answeredAt()),
      lease: lease(),
      publicIp: keeper.identity().publicIp,
      peers: peers.list(),
      ignored,
    }),
    lost,
    isLost,
    listed: (signal) => unlessAborted(Promise.race([listed, lost]), signal),
    publish: keeper.publish,
    stop,
    async leave() {
      await stop();
      await lastWord(giveBack());
    },
  };
}

function earlierLeaseOf({ validUntil, keyDiffers, ...known }: LastKnown, ttlSeconds: number): EarlierLease {
  const ttl = known.ttlSeconds ?? ttlSeconds;
  const confirmedSecondsAgo = validUntil === null ? 0 : ttl - (validUntil - Date.now()) / 1000;
  return { ttlSeconds: ttl, confirmedSecondsAgo, ownKey: keyDiffers ? 'differs' : 'written' };
}
