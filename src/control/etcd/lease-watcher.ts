import { messageOf } from '../../core/errors.js';
import { createFaultLog } from '../../core/fault.js';
import { type Lease, type NotALease, parseLease, parseLeaseValue } from '../../core/lease.js';
import type { LeaseChange } from '../../core/lease-set.js';
import type { Logger } from '../../core/logger.js';
import type { NetworkConfig } from '../../core/network-config.js';
import type { IgnoredLease } from '../membership.js';
import { type Candidate, createPeers } from '../peers.js';
import { createRetryBackoff } from '../retry.js';
import { type LeaseEntry, NO_TTL, type Registry, type WatchEvent } from './registry.js';

export interface WatcherOptions {
  readonly registry: Registry;
  readonly config: NetworkConfig;
  /** Why this node's backend cannot reach the node of a lease; undefined: it can. */
  readonly problemOf: (lease: Lease) => string | undefined;
  /** Name of the key that is ours: not a peer. */
  readonly ownName: string;
  /** Peers of an earlier run, in use until the first list says otherwise. */
  readonly known?: readonly Lease[];
  readonly log: Logger;
  /** A complete list is compared this often even while the watch looks healthy, in case it is not. */
  readonly resyncMs: number;
  /** Peers that appeared, moved or left. */
  onPeers(changes: LeaseChange[]): void;
  /** Why the key of that name is no peer's; undefined: it is one's, or gone. */
  onIgnored(name: string, ignored: IgnoredLease | undefined): void;
  /** Our own key as it is now; undefined: it is gone. */
  onOwnKey(entry: LeaseEntry | undefined): void;
  /** etcd has answered a list, or sent events. */
  onAnswer(): void;
  /**
   * The watch that follows the last list stands, so that what we know is current (undefined), or why it does not. A list
   * says nothing of it: who may list may be refused to watch.
   */
  onWatch(problem: string | undefined): void;
  /** The network config at the first list, and after each change; undefined: there is none. */
  onConfig(json: string | undefined): void;
}

/** A watch that lasts this long stood; one that is refused ends sooner. */
const STEADY_MS = 10_000;

/**
 * Keeps the peers current until the signal is aborted:
 *
 *     list at revision R --> compare by value --> watch from R+1 --> events ...
 *          ^                                          |
 *          +---- the watch ended, or it is time ------+
 *
 * @param onListed called once, after the first complete list has been applied
 */
export async function watchLeases(options: WatcherOptions, onListed: () => void, signal: AbortSignal): Promise<void> {
  const { registry } = options;
  const entries = createEntries(options);
  let listed = false;
  const backoff = createRetryBackoff();
  const fault = createFaultLog(options.log, {
    fault: ['lease watch interrupted', 'registry.lost'],
    over: ['the lease watch is up again', 'registry.back'],
  });
  function onWatch(reason: string | undefined): void {
    options.onWatch(reason);
    if (reason === undefined) fault.over();
    else fault.is(reason);
  }
  while (!signal.aborted) {
    let watching = Number.POSITIVE_INFINITY;
    try {
      const list = await registry.listLeases();
      // It may have changed while nobody watched. Read after the list: a later change is an event.
      const config = await registry.getConfig();
      signal.throwIfAborted();
      options.onAnswer();
      entries.replaceAll(list.entries);
      entries.tellConfig(config);
      if (!listed) onListed();
      listed = true;
      watching = performance.now();
      await watchUntilResync({ ...options, onWatch }, list.revision + 1, entries.apply, signal);
    } catch (error) {
      if (signal.aborted) return;
      onWatch(messageOf(error));
      // A list that works and a watch that does not must not become a list every moment.
      if (performance.now() - watching > STEADY_MS) backoff.reset();
      await backoff.wait(signal).catch(() => undefined);
    }
  }
}

/** Resolves when it is time to list again; rejects when the watch ends before that. */
function watchUntilResync(
  options: WatcherOptions,
  fromRevision: number,
  apply: (event: WatchEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const watch = options.registry.watch(fromRevision, {
      opened: () => options.onWatch(undefined),
      events: (events) => {
        options.onAnswer();
        events.forEach(apply);
      },
      ended: (reason) => finish(() => reject(reason)),
    });
    const timer = setTimeout(() => finish(resolve), options.resyncMs);
    const aborted = () => finish(resolve);
    signal.addEventListener('abort', aborted);
    if (signal.aborted) aborted(); // by what the list has told

    function finish(settle: () => void): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      watch.close();
      settle();
    }
  });
}

/** Turns registry entries into peers, our own key and the network config. */
function createEntries(options: WatcherOptions) {
  const peers = createPeers({ ...options, skipping: 'skipping a key that is no lease' });
  let configTold: { json: string | undefined } | undefined;

  function toCandidate(entry: LeaseEntry): Candidate {
    const attributes = parseLeaseValue(entry.value);
    const says = 'problem' in attributes ? {} : attributes;
    return { name: entry.name, version: entry.revision, verdict: judge(entry), says };
  }

  function judge(entry: LeaseEntry): Lease | NotALease {
    const parsed = parseLease(options.config, entry.name, entry.value);
    if ('problem' in parsed) return parsed;
    const isReserved = entry.ttlId === NO_TTL && parsed.nodeId === undefined;
    const lease = isReserved ? { ...parsed, reserved: true } : parsed;
    const problem = options.problemOf(lease);
    return problem === undefined ? lease : { problem };
  }

  /** Tells the first state and every change, whether it came by list or as an event. */
  function tellConfig(json: string | undefined): void {
    if (configTold !== undefined && configTold.json === json) return;
    configTold = { json };
    options.onConfig(json);
  }

  return {
    tellConfig,
    replaceAll(entries: readonly LeaseEntry[]): void {
      peers.replaceAll(entries.filter((entry) => entry.name !== options.ownName).map(toCandidate));
      options.onOwnKey(entries.find((entry) => entry.name === options.ownName));
    },
    apply(event: WatchEvent): void {
      if (event.type === 'config') return tellConfig(event.json);
      const name = event.type === 'put' ? event.entry.name : event.name;
      if (name === options.ownName) return options.onOwnKey(event.type === 'put' ? event.entry : undefined);
      if (event.type === 'put') peers.put(toCandidate(event.entry));
      else peers.remove(name);
    },
  };
}
