import { toRudderError } from './errors.js';
import { castGrpcError, type IKeyValue, type IWatchResponse, Range } from './library.js';
import type { Member } from './member.js';
import type { EtcdOptions } from './options.js';
import type { LeaseEntry, Watch, WatchEvent, WatchHandler } from './registry.js';

/** How often the stream is asked for a sign of life, and how long there may be none. */
const HEARTBEAT_MS = 2000;
const LONGEST_SILENCE_MS = 4000;

/**
 * One stream for one watch, which ends for good when the stream does.
 * @param disconnected aborted when the connection is given up: nobody would tell the stream
 */
export function openWatch(
  member: Member,
  options: EtcdOptions,
  fromRevision: number,
  handler: WatchHandler,
  deadlineMs: number,
  disconnected: AbortSignal,
): Watch {
  // One range for both: `<prefix>/config` and `<prefix>/subnets/...`.
  const range = Range.prefix(`${options.prefix}/`);
  let over = false;
  let hasFailed = false;
  let closeStream: () => void = () => undefined;

  function finish(reason?: Error): void {
    if (over) return;
    over = true;
    hasFailed = reason !== undefined;
    clearTimeout(created);
    clearInterval(heartbeat);
    clearTimeout(silence);
    disconnected.removeEventListener('abort', onDisconnect);
    closeStream();
    if (reason !== undefined) handler.ended(toRudderError(reason, { ...options, endpoints: [member.endpoint] }));
  }
  // Neither a connection that never comes nor an etcd that never answers may leave us waiting.
  const created = setTimeout(() => finish(new Error('etcd did not confirm the watch in time')), deadlineMs);

  /** A frozen etcd keeps its connections, and gRPC's own keep-alive takes a quarter of a minute. */
  let heartbeat: NodeJS.Timeout | undefined;
  function keepAsking(request: () => void): void {
    request();
    heartbeat = setInterval(request, HEARTBEAT_MS);
  }

  /** Runs from the first sign of life that was answered on: an etcd before 3.4 gives none. */
  let silence: NodeJS.Timeout | undefined;
  function heard(): void {
    if (silence !== undefined) silence.refresh();
    else
      silence = setTimeout(() => finish(new Error(`etcd was silent for ${LONGEST_SILENCE_MS} ms`)), LONGEST_SILENCE_MS);
  }

  const onDisconnect = () => finish(disconnected.reason);
  disconnected.addEventListener('abort', onDisconnect);

  function received(response: IWatchResponse): void {
    if (over) return;
    if (response.canceled) {
      const compacted = Number(response.compact_revision) > 0;
      finish(new Error(compacted ? `revision ${fromRevision} has been compacted` : response.cancel_reason));
      return;
    }
    if (response.created) {
      clearTimeout(created);
      handler.opened();
    }
    // etcd answers a request for progress with a message that has nothing in it.
    else if (silence !== undefined || response.events.length === 0) heard();
    const events = response.events.flatMap((event) => toWatchEvent(event, options.prefix));
    if (events.length > 0) handler.events(events);
  }

  const opened = member.client().then((client) => client.watchClient.watch());
  opened.then(
    (stream) => {
      // An error must always find a listener, also after the end: without one it would end the process.
      stream.on('error', (error) => finish(castGrpcError(error)));
      stream.on('end', () => finish(new Error('etcd ended the watch stream')));
      stream.on('data', received);
      closeStream = () => {
        // One that we close is no failure of the member: etcd3 would take it for one unless it has been ended, and close the
        // channels of all other requests to it, also of those that wait for their connection.
        if (!hasFailed) stream.end();
        stream.cancel();
      };
      if (over) closeStream();
      else {
        stream.write({
          create_request: { key: range.start, range_end: range.end, start_revision: String(fromRevision) },
        });
        keepAsking(() => stream.write({ progress_request: {} }));
      }
    },
    (error: unknown) => finish(error as Error),
  );
  return { close: () => finish() };
}

function toWatchEvent(event: IWatchResponse['events'][number], prefix: string): WatchEvent[] {
  const key = event.kv.key.toString();
  const isDelete = String(event.type).toLowerCase() === 'delete';
  if (key === `${prefix}/config`) {
    return [{ type: 'config', json: isDelete ? undefined : event.kv.value.toString() }];
  }
  const leasePrefix = `${prefix}/subnets/`;
  if (!key.startsWith(leasePrefix)) return [];
  const entry = toEntry(event.kv, leasePrefix);
  if (!isDelete) return [{ type: 'put', entry }];
  return [{ type: 'delete', name: entry.name, revision: entry.revision }];
}

/** A key under the leases' prefix. */
export function toEntry(kv: IKeyValue, leasePrefix: string): LeaseEntry {
  return {
    name: kv.key.toString().slice(leasePrefix.length),
    value: kv.value.toString(),
    revision: Number(kv.mod_revision),
    ttlId: String(kv.lease),
  };
}
