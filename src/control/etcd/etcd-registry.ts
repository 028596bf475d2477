import { setMaxListeners } from 'node:events';
import type { RudderError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { unlessAborted } from '../retry.js';
import { historyPrefixOf, KEPT_VERSIONS, nextVersion, versionNumber } from './config-history.js';
import { keepCredentials } from './credentials.js';
import { toRudderError } from './errors.js';
import type { EtcdHolding } from './holding.js';
import {
  castGrpcError,
  type DeleteBuilder,
  EtcdLeaseInvalidError,
  type ICompare,
  type PutBuilder,
  Range,
} from './library.js';
import type { Client } from './member.js';
import { connectMembers } from './members.js';
import type { EtcdOptions } from './options.js';
import { type LeaseEntry, NO_TTL, type Registry } from './registry.js';
import { openWatch, toEntry } from './watch.js';

const DEFAULT_DEADLINE_MS = 5000;

/** A column of a key and the value it must have; a version of 0: there is no such key. */
interface Comparison {
  readonly column: 'Version' | 'Mod';
  readonly expected: number;
  /** The revision after which no lease may have been written; undefined: any may. */
  readonly listedAt?: number | undefined;
  /** One more key, which must not be there. */
  readonly absent?: string | undefined;
}

/** A change of some keys, in one transaction. */
type Change = (client: Client) => readonly (PutBuilder | DeleteBuilder)[];

/**
 * This file, member.ts and watch.ts are all that knows etcd3. What the library would do by itself and why
 * it may not:
 *  - its calls have no deadline: a frozen etcd would hang us for ever. Every unary call gets one here;
 *  - its lease renewal notices a revoked lease only after a third of the TTL (8 h of 24): we renew ourselves;
 *  - its watcher moves its start revision forward before the old events arrived, throws out of an event handler on
 *    a late message, and dies without a word on compaction: we speak the watch stream directly, one stream for each
 *    watch, and a stream that ends is never revived. The caller lists again and opens another.
 *
 * @param log told of credentials that change, cannot be read, or end soon
 */
export function createEtcdRegistry(options: EtcdOptions, log?: Logger): Registry {
  const deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  const configKey = `${options.prefix}/config`;
  const leasePrefix = `${options.prefix}/subnets/`;
  const historyPrefix = historyPrefixOf(options.prefix);
  const credentials = keepCredentials(options, log);
  let members = connectMembers(options, credentials, deadlineMs);
  let disconnected = newDisconnection();

  const ask = <T>(request: (client: Client) => Promise<T>) => members.ask(request);

  /** Runs one or more requests and turns what it throws into a RudderError. */
  async function call<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await unlessAborted(work(), disconnected.signal);
    } catch (thrown) {
      throw toRudderError(thrown, options);
    }
  }

  /** Grants a TTL, if there is to be one, and uses it in a transaction; one that was not used is given back. */
  async function withTtl(
    ttlSeconds: number | undefined,
    write: (ttlId: string) => Promise<number | undefined>,
  ): Promise<EtcdHolding | undefined> {
    const ttlId = ttlSeconds === undefined ? NO_TTL : await grant(ttlSeconds);
    const revision = await write(ttlId).catch(async (thrown: unknown) => {
      // If the answer is lost, the key may hang on this TTL by now: to revoke it could delete our own lease.
      if (toRudderError(thrown, options).code === 'registry-refused') await revoke(ttlId);
      throw thrown;
    });
    if (revision === undefined) await revoke(ttlId);
    return revision === undefined ? undefined : { revision, ttlId };
  }

  async function grant(ttlSeconds: number): Promise<string> {
    return (await ask((client) => client.leaseClient.leaseGrant({ TTL: ttlSeconds }))).ID;
  }

  /** Best effort: an unused TTL that cannot be revoked runs out by itself. */
  async function revoke(ttlId: string): Promise<void> {
    if (ttlId === NO_TTL) return;
    await ask((client) => client.leaseClient.leaseRevoke({ ID: ttlId })).catch(() => undefined);
  }

  /**
   * Changes a key if its compared column still has that value.
   *
   * A member that fails after it has sent the change to its leader leaves us without an answer, and the next member is
   * asked for a change that may have been made by then. The comparison does not hold any more in that case, but what
   * is there now tells.
   * @param isDone whether the key is as the change would have left it
   * @returns the key's new revision; undefined if another client was faster
   */
  async function changeKey(
    key: string,
    { column, expected, listedAt, absent }: Comparison,
    change: Change,
    isDone: (now: LeaseEntry | undefined) => boolean,
  ): Promise<number | undefined> {
    let attempts = 0;
    const leases = Range.prefix(leasePrefix);
    const { succeeded, header, responses } = await ask(async (client) => {
      attempts++;
      const value = column === 'Version' ? { version: expected } : { mod_revision: expected };
      // Not by the library's builder, which compares single keys.
      const compare: ICompare[] = [{ key: Buffer.from(key), target: column, result: 'Equal', ...value }];
      if (listedAt !== undefined) {
        const ends = { key: Buffer.from(leases.start), range_end: Buffer.from(leases.end) };
        compare.push({ ...ends, target: 'Mod', result: 'Less', mod_revision: listedAt + 1 });
      }
      if (absent !== undefined) {
        compare.push({ key: Buffer.from(absent), target: 'Version', result: 'Equal', version: 0 });
      }
      const success = await Promise.all(change(client).map((operation) => operation.op()));
      return client.kv.txn({ compare, success, failure: [await client.get(key).op()] });
    });
    if (succeeded) return Number(header.revision);
    const [kv] = responses[0].response_range.kvs;
    const now = kv && toEntry(kv, leasePrefix);
    return attempts > 1 && isDone(now) ? (now?.revision ?? Number(header.revision)) : undefined;
  }

  function putLease(name: string, comparison: Comparison, value: string, ttlId: string): Promise<number | undefined> {
    const key = leasePrefix + name;
    const put: Change = (client) => {
      const withValue = client.put(key).value(value);
      return [ttlId === NO_TTL ? withValue : withValue.lease(ttlId)];
    };
    return changeKey(key, comparison, put, (now) => now?.value === value && now.ttlId === ttlId);
  }

  /** @param note a version of the history, which loses its oldest ones for it; undefined: none */
  async function putConfig(comparison: Comparison, json: string, note: string | undefined): Promise<boolean> {
    const names = note === undefined ? [] : (await listHistory()).map(({ name }) => name);
    const { name, firstKept } = nextVersion(names);
    const older = { start: historyPrefix, end: historyPrefix + firstKept };
    const put: Change = (client) => [
      client.put(configKey).value(json),
      ...(note === undefined ? [] : [client.delete().inRange(older), client.put(historyPrefix + name).value(note)]),
    ];
    // Whoever reads history and config one after the other may have read an older one of the former.
    const absent = note === undefined ? undefined : historyPrefix + name;
    return (await changeKey(configKey, { ...comparison, absent }, put, (now) => now?.value === json)) !== undefined;
  }

  async function listHistory(): Promise<LeaseEntry[]> {
    const { kvs } = await ask((client) => client.getAll().prefix(historyPrefix).exec());
    return kvs.map((kv) => toEntry(kv, historyPrefix));
  }

  return {
    getConfig: () => call(async () => (await ask((client) => client.get(configKey).string())) ?? undefined),
    readConfig: () =>
      call(async () => {
        const [kv] = (await ask((client) => client.get(configKey).exec())).kvs;
        return kv && { json: kv.value.toString(), revision: Number(kv.mod_revision) };
      }),
    createConfig: (json, note) => call(() => putConfig({ column: 'Version', expected: 0 }, json, note)),
    replaceConfig: (revision, json, note) => call(() => putConfig({ column: 'Mod', expected: revision }, json, note)),
    configHistory: () =>
      call(async () => {
        const versions = (await listHistory()).flatMap(({ name, value }) => {
          const number = versionNumber(name);
          return number === undefined ? [] : [{ number, note: value }];
        });
        return versions.sort((a, b) => b.number - a.number).slice(0, KEPT_VERSIONS);
      }),
    listLeases: () =>
      call(async () => {
        const response = await ask((client) => client.getAll().prefix(leasePrefix).exec());
        return {
          revision: Number(response.header.revision),
          entries: response.kvs.map((kv) => toEntry(kv, leasePrefix)),
        };
      }),
    createLease: (name, value, ttlSeconds, listedAt) =>
      call(() =>
        withTtl(ttlSeconds, (ttlId) => putLease(name, { column: 'Version', expected: 0, listedAt }, value, ttlId)),
      ),
    updateLease: (entry, value, ttlSeconds, listedAt) =>
      call(async () => {
        const unchanged: Comparison = { column: 'Mod', expected: entry.revision, listedAt };
        const holding = await withTtl(ttlSeconds, (id) => putLease(entry.name, unchanged, value, id));
        // The key has left the old TTL, which holds nothing now and can go without deleting the key.
        if (holding !== undefined) await revoke(entry.ttlId);
        return holding;
      }),
    deleteLease: (entry) =>
      call(async () => {
        const key = leasePrefix + entry.name;
        const remove: Change = (client) => [client.delete().key(key)];
        const revision = await changeKey(
          key,
          { column: 'Mod', expected: entry.revision },
          remove,
          (now) => now === undefined,
        );
        if (revision !== undefined) await revoke(entry.ttlId);
        return revision !== undefined;
      }),
    keepAlive: (ttlId) => call(() => ask((client) => keepAlive(client, ttlId, Date.now() + deadlineMs))),
    timeToLive: (ttlId) =>
      call(async () => {
        const answer = await ask((client) => client.leaseClient.leaseTimeToLive({ ID: ttlId }));
        // etcd answers -1 for a lease that does not exist.
        if (Number(answer.TTL) < 0) return undefined;
        return { remainingSeconds: Number(answer.TTL), grantedSeconds: Number(answer.grantedTTL) };
      }),
    watch(fromRevision, handler) {
      const { inUse, leave } = members;
      const member = inUse();
      const ended = (reason: RudderError) => {
        member.failed();
        leave(member);
        handler.ended(reason);
      };
      return openWatch(member, options, fromRevision, { ...handler, ended }, deadlineMs, disconnected.signal);
    },
    reconnect() {
      members.close();
      // gRPC lets what is under way wait for its deadline.
      disconnected.abort(new Error('the connection was given up'));
      credentials.refresh();
      members = connectMembers(options, credentials, deadlineMs);
      disconnected = newDisconnection();
    },
    certificates: () => credentials.ends(),
    close: () => members.close(),
  };
}

/** LeaseKeepAlive exists only as a stream: one request, one answer, and an end in any case. */
async function keepAlive(client: Client, ttlId: string, deadline: number): Promise<boolean> {
  const stream = await client.leaseClient.leaseKeepAlive({ deadline });
  try {
    return await new Promise<boolean>((resolve, reject) => {
      stream.on('data', (answer) => resolve(Number(answer.TTL) > 0));
      stream.on('error', (error) => reject(castGrpcError(error)));
      stream.on('end', () => reject(new Error('etcd ended the keep-alive stream without an answer')));
      stream.write({ ID: ttlId });
    });
  } catch (error) {
    if (error instanceof EtcdLeaseInvalidError) return false;
    throw error;
  } finally {
    stream.end();
  }
}

/** All that is under way hears of it: as many listeners as there are requests are no leak. */
function newDisconnection(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
