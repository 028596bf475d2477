import { ConsecutiveBreaker, circuitBreaker, handleWhen, isBrokenCircuitError, retry } from 'cockatiel';
import { castGrpcError, Etcd3, EtcdInvalidAuthTokenError, EtcdLeaseInvalidError, isRecoverableError } from 'etcd3';
import { toRudderError } from './etcd-errors.js';
import { openWatch, toEntry } from './etcd-watch.js';
import { type Holding, NO_TTL, type Registry } from './registry.js';
import { unlessAborted } from './retry.js';

/**
 * This file and etcd-watch.ts are all that knows etcd3. What the library would do by itself and why it may not:
 *  - its calls have no deadline: a frozen etcd would hang us for ever. Every unary call gets one here;
 *  - its lease renewal notices a revoked lease only after a third of the TTL (8 h of 24): we renew ourselves;
 *  - its watcher moves its start revision forward before the old events arrived, throws out of an event handler on
 *    a late message, and dies without a word on compaction: we speak the watch stream directly, one stream for each
 *    watch, and a stream that ends is never revived. The caller lists again and opens another.
 */
export interface EtcdOptions {
  /** `http://host:port` or `https://host:port`, all of one kind. */
  readonly endpoints: readonly string[];
  /** Without a trailing slash, such as `/coreos.com/network`. */
  readonly prefix: string;
  readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly auth?: { readonly username: string; readonly password: string };
  /** Deadline of one request, in milliseconds. */
  readonly deadlineMs?: number;
}

const DEFAULT_DEADLINE_MS = 5000;
/** A half-open connection is noticed in 15 s. Not below 5 s, which etcd punishes (`--grpc-keepalive-min-time`). */
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5000;
/** How long a failed endpoint is left alone while others are tried; short, so that etcd's return is noticed soon. */
const ENDPOINT_REST_MS = 1000;
/** gRPC refuses answers above 4 MB, less than a few strangers' 1 MB values under our prefix. */
const MAX_ANSWER_BYTES = 1024 * 1024 * 1024;

export function createEtcdRegistry(options: EtcdOptions): Registry {
  const deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  const configKey = `${options.prefix}/config`;
  const leasePrefix = `${options.prefix}/subnets/`;
  let client = connect(options, deadlineMs);
  let disconnected = new AbortController();
  let lastFailure: unknown;

  /** Runs one request and turns what it throws into a RudderError. */
  async function call<T>(work: () => Promise<T>): Promise<T> {
    try {
      const result = await unlessAborted(work(), disconnected.signal);
      lastFailure = undefined;
      return result;
    } catch (thrown) {
      // While an endpoint rests, requests fail with "circuit breaker is open": tell the reason that opened it.
      if (!isBrokenCircuitError(thrown as Error)) lastFailure = thrown;
      throw toRudderError(lastFailure ?? thrown, options);
    }
  }

  /** Grants a TTL, if there is to be one, and uses it in a transaction; one that was not used is given back. */
  async function withTtl(
    ttlSeconds: number | undefined,
    write: (ttlId: string) => Promise<number | undefined>,
  ): Promise<Holding | undefined> {
    const ttlId = ttlSeconds === undefined ? NO_TTL : (await client.leaseClient.leaseGrant({ TTL: ttlSeconds })).ID;
    const giveBack = async () => (ttlId === NO_TTL ? undefined : revoke(ttlId));
    const revision = await write(ttlId).catch(async (thrown: unknown) => {
      // If the answer is lost, the key may hang on this TTL by now: to revoke it could delete our own lease.
      if (toRudderError(thrown, options).code === 'etcd-refused') await giveBack();
      throw thrown;
    });
    if (revision === undefined) await giveBack();
    return revision === undefined ? undefined : { revision, ttlId };
  }

  /** Best effort: an unused TTL that cannot be revoked runs out by itself. */
  async function revoke(ttlId: string): Promise<void> {
    await client.leaseClient.leaseRevoke({ ID: ttlId }).catch(() => undefined);
  }

  /** Puts the key if its compared column still has that value; the new revision, or undefined. */
  async function putIf(
    name: string,
    column: 'Version' | 'Mod',
    expected: number,
    value: string,
    ttlId: string,
  ): Promise<number | undefined> {
    const key = leasePrefix + name;
    const put = client.put(key).value(value);
    const result = await client
      .if(key, column, '==', expected)
      .then(ttlId === NO_TTL ? put : put.lease(ttlId))
      .commit();
    return result.succeeded ? Number(result.header.revision) : undefined;
  }

  return {
    getConfig: () => call(async () => (await client.get(configKey).string()) ?? undefined),
    createConfig: (json) =>
      call(async () => {
        const result = await client.if(configKey, 'Version', '==', 0).then(client.put(configKey).value(json)).commit();
        return result.succeeded;
      }),
    listLeases: () =>
      call(async () => {
        const response = await client.getAll().prefix(leasePrefix).exec();
        return {
          revision: Number(response.header.revision),
          entries: response.kvs.map((kv) => toEntry(kv, leasePrefix)),
        };
      }),
    createLease: (name, value, ttlSeconds) =>
      call(() => withTtl(ttlSeconds, (ttlId) => putIf(name, 'Version', 0, value, ttlId))),
    updateLease: (entry, value, ttlSeconds) =>
      call(async () => {
        const holding = await withTtl(ttlSeconds, (id) => putIf(entry.name, 'Mod', entry.revision, value, id));
        // The key has left the old TTL, which holds nothing now and can go without deleting the key.
        if (holding !== undefined && entry.ttlId !== NO_TTL) await revoke(entry.ttlId);
        return holding;
      }),
    deleteLease: (entry) =>
      call(async () => {
        const key = leasePrefix + entry.name;
        const result = await client.if(key, 'Mod', '==', entry.revision).then(client.delete().key(key)).commit();
        return result.succeeded;
      }),
    keepAlive: (ttlId) => call(() => keepAlive(client, ttlId, deadlineMs, options.endpoints.length)),
    timeToLive: (ttlId) =>
      call(async () => {
        const answer = await client.leaseClient.leaseTimeToLive({ ID: ttlId });
        // etcd answers -1 for a lease that does not exist.
        if (Number(answer.TTL) < 0) return undefined;
        return { remainingSeconds: Number(answer.TTL), grantedSeconds: Number(answer.grantedTTL) };
      }),
    watch: (fromRevision, handler) =>
      openWatch(client, options, fromRevision, handler, deadlineMs, disconnected.signal),
    reconnect() {
      client.close();
      // gRPC lets what is under way wait for its deadline.
      disconnected.abort(new Error('the connection was given up'));
      client = connect(options, deadlineMs);
      disconnected = new AbortController();
    },
    close: () => client.close(),
  };
}

function connect(options: EtcdOptions, deadlineMs: number): Etcd3 {
  const ca = options.tls?.ca;
  return new Etcd3({
    hosts: [...options.endpoints],
    credentials: ca && {
      rootCertificate: ca,
      privateKey: options.tls?.key,
      certChain: options.tls?.cert,
    },
    auth: options.auth && { ...options.auth },
    grpcOptions: {
      'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      // Only while a call is under way, as on the watch's channel there always is: etcd counts pings on a channel
      // without streams as an attack and closes it ("excess pings"), whatever their interval.
      'grpc.keepalive_permit_without_calls': 0,
      'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      // Channels to one address would otherwise share a connection and its backoff with every other client of the process.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_reconnect_backoff_ms': 2000,
    },
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + deadlineMs }),
    faultHandling: {
      // One attempt for each endpoint: etcd3 tries another one each time.
      global: retry(handleWhen(isRecoverableError), { maxAttempts: Math.max(0, options.endpoints.length - 1) }),
      host: () =>
        circuitBreaker(handleWhen(isRecoverableError), {
          halfOpenAfter: ENDPOINT_REST_MS,
          breaker: new ConsecutiveBreaker(2),
        }),
    },
  });
}

/** Tries of a keep-alive for each endpoint beyond the first: etcd3 opens a stream on one at random, dead or not. */
const TRIES_PER_ENDPOINT = 10;

async function keepAlive(client: Etcd3, ttlId: string, deadlineMs: number, endpoints: number): Promise<boolean> {
  const end = Date.now() + deadlineMs;
  for (let triesLeft = TRIES_PER_ENDPOINT * (endpoints - 1); ; triesLeft--) {
    try {
      return await keepAliveOnce(client, ttlId, end);
    } catch (error) {
      if (triesLeft === 0 || Date.now() >= end || !isRecoverableError(error as Error)) throw error;
    }
  }
}

/** LeaseKeepAlive exists only as a stream: one request, one answer, and an end in any case. */
async function keepAliveOnce(client: Etcd3, ttlId: string, deadline: number): Promise<boolean> {
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
    // Streams do not renew an expired auth token, unary calls do: one of those, and the next attempt has a fresh one.
    if (error instanceof EtcdInvalidAuthTokenError) await client.leaseClient.leaseTimeToLive({ ID: ttlId });
    throw error;
  } finally {
    stream.end();
  }
}
