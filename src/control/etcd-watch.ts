import { castGrpcError, type Etcd3, type IKeyValue, type IWatchResponse, Range } from 'etcd3';
import { toRudderError } from './etcd-errors.js';
import type { EtcdOptions } from './etcd-registry.js';
import type { LeaseEntry, Watch, WatchEvent, WatchHandler } from './registry.js';

/**
 * One stream for one watch, which ends for good when the stream does.
 * @param disconnected aborted when the connection is given up: nobody would tell the stream
 */
export function openWatch(
  client: Etcd3,
  options: EtcdOptions,
  fromRevision: number,
  handler: WatchHandler,
  deadlineMs: number,
  disconnected: AbortSignal,
): Watch {
  // One range for both: `<prefix>/config` and `<prefix>/subnets/...`.
  const range = Range.prefix(`${options.prefix}/`);
  let over = false;
  let closeStream: () => void = () => undefined;

  function finish(reason?: Error): void {
    if (over) return;
    over = true;
    clearTimeout(created);
    disconnected.removeEventListener('abort', onDisconnect);
    closeStream();
    if (reason !== undefined) handler.ended(toRudderError(reason, options));
  }
  // Neither a connection that never comes nor an etcd that never answers may leave us waiting.
  const created = setTimeout(() => finish(new Error('etcd did not confirm the watch in time')), deadlineMs);

  const onDisconnect = () => finish(new Error('the connection was given up'));
  disconnected.addEventListener('abort', onDisconnect);

  function received(response: IWatchResponse): void {
    if (over) return;
    if (response.canceled) {
      const compacted = Number(response.compact_revision) > 0;
      finish(new Error(compacted ? `revision ${fromRevision} has been compacted` : response.cancel_reason));
      return;
    }
    if (response.created) clearTimeout(created);
    const events = response.events.flatMap((event) => toWatchEvent(event, options.prefix));
    if (events.length > 0) handler.events(events);
  }

  client.watchClient.watch().then(
    (stream) => {
      // An error must always find a listener, also after the end: without one it would end the process.
      stream.on('error', (error) => finish(castGrpcError(error)));
      stream.on('end', () => finish(new Error('etcd ended the watch stream')));
      stream.on('data', received);
      closeStream = () => stream.cancel();
      if (over) closeStream();
      else {
        stream.write({
          create_request: { key: range.start, range_end: range.end, start_revision: String(fromRevision) },
        });
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
