import { type ConfigVersion, KEPT_VERSIONS } from '../../src/control/etcd/config-history.js';
import {
  type LeaseEntry,
  NO_TTL,
  type Registry,
  type WatchEvent,
  type WatchHandler,
} from '../../src/control/etcd/registry.js';

export interface MemoryRegistry extends Registry {
  /** Writes a key as another client of etcd would; `ttlSeconds` undefined makes it permanent. */
  putRaw(key: string, value: string, ttlSeconds?: number): void;
  deleteRaw(key: string): void;
  /** Ends a TTL at once, and its keys with it. */
  revoke(ttlId: string): void;
  /** Forgets all history: a watch from an older revision ends. */
  compact(): void;
  /** Ends all watches, as a lost connection does. */
  disconnect(): void;
}

interface Stored {
  value: string;
  revision: number;
  ttlId: string;
}

/**
 * A registry in memory with etcd's semantics, for tests of policy.
 * @param now milliseconds, from a clock that the test owns
 */
export function createMemoryRegistry(now: () => number = Date.now): MemoryRegistry {
  const keys = new Map<string, Stored>();
  const ttls = new Map<string, { granted: number; expiresAt: number }>();
  let versions: ConfigVersion[] = [];
  const watches = new Set<{ handler: WatchHandler; fromRevision: number }>();
  let history: { revision: number; event: WatchEvent }[] = [];
  let revision = 1;
  let compacted = 0;
  let lastTtlId = 0;

  function record(event: (revision: number) => WatchEvent): number {
    revision++;
    const made = event(revision);
    history.push({ revision, event: made });
    for (const watch of watches) {
      if (revision >= watch.fromRevision) queueMicrotask(() => watches.has(watch) && watch.handler.events([made]));
    }
    return revision;
  }

  function put(key: string, value: string, ttlId: string): number {
    return record((at) => {
      keys.set(key, { value, revision: at, ttlId });
      if (key === 'config') return { type: 'config', json: value };
      return { type: 'put', entry: { name: key, value, revision: at, ttlId } };
    });
  }

  function putConfig(json: string, note: string | undefined): void {
    put('config', json, NO_TTL);
    if (note === undefined) return;
    versions = [{ number: (versions[0]?.number ?? 0) + 1, note }, ...versions].slice(0, KEPT_VERSIONS);
  }

  function remove(key: string): void {
    if (!keys.delete(key)) return;
    record((at) =>
      key === 'config' ? { type: 'config', json: undefined } : { type: 'delete', name: key, revision: at },
    );
  }

  function grant(seconds: number): string {
    const id = String(++lastTtlId);
    ttls.set(id, { granted: seconds, expiresAt: now() + seconds * 1000 });
    return id;
  }

  function revoke(ttlId: string): void {
    if (ttlId === NO_TTL) return;
    ttls.delete(ttlId);
    for (const [key, stored] of keys) if (stored.ttlId === ttlId) remove(key);
  }

  /** etcd expires TTLs by itself; here every call looks first. */
  function expire(): void {
    for (const [id, ttl] of ttls) if (ttl.expiresAt <= now()) revoke(id);
  }

  /** Runs one call the way a server would: later than the caller's current statement. */
  async function call<T>(work: () => T): Promise<T> {
    await Promise.resolve();
    expire();
    return work();
  }

  const isChangedSince = (listedAt = Number.POSITIVE_INFINITY) =>
    [...keys].some(([name, stored]) => name !== 'config' && stored.revision > listedAt);

  function disconnect(): void {
    for (const watch of [...watches]) {
      watches.delete(watch);
      watch.handler.ended(new Error('connection lost'));
    }
  }

  return {
    getConfig: () => call(() => keys.get('config')?.value),
    readConfig: () =>
      call(() => {
        const stored = keys.get('config');
        return stored && { json: stored.value, revision: stored.revision };
      }),
    createConfig: (json, note) =>
      call(() => {
        if (keys.has('config')) return false;
        putConfig(json, note);
        return true;
      }),
    replaceConfig: (at, json, note) =>
      call(() => {
        if (keys.get('config')?.revision !== at) return false;
        putConfig(json, note);
        return true;
      }),
    configHistory: () => call(() => [...versions]),
    listLeases: () =>
      call(() => ({
        revision,
        entries: [...keys]
          .filter(([name]) => name !== 'config')
          .map(([name, stored]): LeaseEntry => ({ name, ...stored })),
      })),
    createLease: (name, value, ttlSeconds, listedAt) =>
      call(() => {
        if (keys.has(name) || isChangedSince(listedAt)) return undefined;
        const ttlId = ttlSeconds === undefined ? NO_TTL : grant(ttlSeconds);
        return { ttlId, revision: put(name, value, ttlId) };
      }),
    updateLease: (entry, value, ttlSeconds, listedAt) =>
      call(() => {
        const stored = keys.get(entry.name);
        if (stored?.revision !== entry.revision || isChangedSince(listedAt)) return undefined;
        const ttlId = ttlSeconds === undefined ? NO_TTL : grant(ttlSeconds);
        const at = put(entry.name, value, ttlId);
        revoke(stored.ttlId);
        return { ttlId, revision: at };
      }),
    deleteLease: (entry) =>
      call(() => {
        if (keys.get(entry.name)?.revision !== entry.revision) return false;
        remove(entry.name);
        revoke(entry.ttlId);
        return true;
      }),
    keepAlive: (ttlId) =>
      call(() => {
        const ttl = ttls.get(ttlId);
        if (ttl === undefined) return false;
        ttl.expiresAt = now() + ttl.granted * 1000;
        return true;
      }),
    timeToLive: (ttlId) =>
      call(() => {
        const ttl = ttls.get(ttlId);
        if (ttl === undefined) return undefined;
        return { remainingSeconds: Math.floor((ttl.expiresAt - now()) / 1000), grantedSeconds: ttl.granted };
      }),
    watch(fromRevision, handler) {
      const watch = { handler, fromRevision };
      watches.add(watch);
      const missed = history.filter((entry) => entry.revision >= fromRevision).map((entry) => entry.event);
      queueMicrotask(() => {
        if (!watches.has(watch)) return;
        if (fromRevision < compacted) {
          watches.delete(watch);
          return handler.ended(new Error(`revision ${fromRevision} has been compacted`));
        }
        handler.opened();
        if (missed.length > 0) handler.events(missed);
      });
      return { close: () => watches.delete(watch) };
    },
    reconnect: disconnect,
    certificates: () => [],
    close: () => watches.clear(),

    putRaw(key, value, ttlSeconds) {
      put(key, value, ttlSeconds === undefined ? NO_TTL : grant(ttlSeconds));
    },
    deleteRaw: remove,
    revoke,
    compact() {
      compacted = revision;
      // etcd still serves the compacted revision itself.
      history = history.filter((entry) => entry.revision >= compacted);
    },
    disconnect,
  };
}
