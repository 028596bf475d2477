import { parseSubnetKey } from '../../core/address-text.js';
import { messageOf, shorten } from '../../core/errors.js';
import { createFaultLog } from '../../core/fault.js';
import { formatIpv4 } from '../../core/ipv4.js';
import { type Lease, type NotALease, parseLease, parseLeaseValue } from '../../core/lease.js';
import { createLeaseSet, type LeaseChange } from '../../core/lease-set.js';
import type { Logger } from '../../core/logger.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnetKey } from '../../core/subnet.js';
import type { IgnoredLease } from '../membership.js';
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
  const peers = createPeers(options);
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
      peers.replaceAll(list.entries);
      peers.tellConfig(config);
      if (!listed) onListed();
      listed = true;
      watching = performance.now();
      await watchUntilResync({ ...options, onWatch }, list.revision + 1, peers.apply, signal);
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

/** Bad keys that are told of in each interval. */
const BAD_KEYS_TOLD = 20;

/** Turns registry entries into lease changes, and says once of each bad entry why it is not used. */
function createPeers(options: WatcherOptions) {
  const set = createLeaseSet();
  /** Bad key -> revision at which it was reported: a periodic list must not report it again. */
  const reported = new Map<string, number>();
  const ignored = new Set<string>();
  /** A flood of bad keys must not become one of lines. What is kept back is told after a later list. */
  const limit = createRepeatLimit(BAD_KEYS_TOLD);
  let configTold: { json: string | undefined } | undefined;
  tell(set.replaceAll(options.known ?? []));

  function toLease(entry: LeaseEntry): Lease | undefined {
    const lease = judge(entry);
    if (!('problem' in lease)) {
      forget(entry.name);
      return lease;
    }
    ignore(entry, lease.problem);
    return undefined;
  }

  function judge(entry: LeaseEntry): Lease | NotALease {
    const parsed = parseLease(options.config, entry.name, entry.value);
    if ('problem' in parsed) return parsed;
    const isReserved = entry.ttlId === NO_TTL && parsed.nodeId === undefined;
    const lease = isReserved ? { ...parsed, reserved: true } : parsed;
    const problem = options.problemOf(lease);
    return problem === undefined ? lease : { problem };
  }

  function ignore(entry: LeaseEntry, problem: string): void {
    const attributes = parseLeaseValue(entry.value);
    const says: Partial<Omit<Lease, 'subnet'>> = 'problem' in attributes ? {} : attributes;
    const { publicIp, host, version, backend } = says;
    ignored.add(entry.name);
    options.onIgnored(entry.name, {
      key: shorten(entry.name, 80),
      host,
      version,
      backend: backend?.type,
      publicIp,
      problem,
    });
    if (reported.get(entry.name) !== entry.revision) {
      limit((suppressed) => {
        reported.set(entry.name, entry.revision);
        const node = publicIp === undefined ? {} : { publicIp: formatIpv4(publicIp) };
        const fields = { key: shorten(entry.name, 80), ...node, problem };
        const told = suppressed === 0 ? fields : { ...fields, suppressed };
        options.log.warn(told, 'skipping a key that is no lease');
      });
    }
  }

  function forget(name: string): void {
    reported.delete(name);
    if (ignored.delete(name)) options.onIgnored(name, undefined);
  }

  function tell(changes: LeaseChange[]): void {
    if (changes.length > 0) options.onPeers(changes);
  }

  function removeNamed(name: string): void {
    const subnet = parseSubnetKey(name);
    // A dual-stack key names a subnet too, but was never its lease.
    if (subnet !== undefined && formatSubnetKey(subnet) === name) tell(set.remove(subnet));
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
      const others = entries.filter((entry) => entry.name !== options.ownName);
      const names = new Set(others.map((entry) => entry.name));
      for (const name of ignored) if (!names.has(name)) forget(name);
      tell(set.replaceAll(others.flatMap((entry) => toLease(entry) ?? [])));
      options.onOwnKey(entries.find((entry) => entry.name === options.ownName));
    },
    apply(event: WatchEvent): void {
      if (event.type === 'config') return tellConfig(event.json);
      const name = event.type === 'put' ? event.entry.name : event.name;
      if (name === options.ownName) return options.onOwnKey(event.type === 'put' ? event.entry : undefined);
      if (event.type === 'delete') {
        forget(name);
        return removeNamed(name);
      }
      const lease = toLease(event.entry);
      if (lease === undefined) removeNamed(name);
      else tell(set.put(lease));
    },
  };
}
