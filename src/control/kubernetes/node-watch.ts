import type { IncomingMessage } from 'node:http';
import { messageOf, RudderError } from '../../core/errors.js';
import type { KubernetesApi } from './api.js';
import { ApiError, hasStatus } from './errors.js';
import { type NodeFacts, nodeFactsOf } from './node-facts.js';

export interface NodeWatchOptions {
  readonly api: KubernetesApi;
  readonly prefix: string;
  /** So long without a word the watch is dead. */
  readonly silenceMs: number;
  /** The API has agreed to the watch: until then nothing would be told of a change. */
  opened(): void;
  /** Anything was heard. */
  heard(): void;
  changed(node: NodeFacts): void;
  deleted(node: NodeFacts): void;
}

/** How a watch has ended; it goes on from that version, unless the API has forgotten it. */
export interface WatchEnd {
  readonly resourceVersion: string;
  /** Undefined: its time was up. */
  readonly problem: RudderError | undefined;
  /** What has happened since is not known any more: list again. */
  readonly isGone: boolean;
}

/** The API ends a watch after this long; not all nodes' in one moment. */
const SHORTEST_SECONDS = 300;
/** A Node has some ten kilobytes, and a limit of 1.5 MB in the API's own store. */
const LONGEST_LINE = 8 * 1024 * 1024;

/** Follows the Nodes from a version on, until the watch ends for whatever reason. Never rejects. */
export async function watchNodes(options: NodeWatchOptions, from: string, signal: AbortSignal): Promise<WatchEnd> {
  const { api } = options;
  const ended = new AbortController();
  let resourceVersion = from;
  let problem: RudderError | undefined;
  const stop = (reason: RudderError) => {
    problem ??= reason;
    ended.abort();
  };
  const at = `the watch of the Kubernetes API at ${api.server()}`;
  const silent = () =>
    stop(new RudderError('registry-unavailable', `${at} has been silent for ${options.silenceMs / 1000} s`));
  const silence = setTimeout(silent, options.silenceMs);

  function take(line: string): void {
    const event = parsed(line);
    const object = event?.object;
    switch (event?.type) {
      case 'BOOKMARK':
        break;
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED': {
        const node = nodeFactsOf(object, options.prefix);
        if (node === undefined) break;
        if (event.type === 'DELETED') options.deleted(node);
        else options.changed(node);
        break;
      }
      case 'ERROR':
        return stop(toldError(at, object));
      default:
        return stop(new RudderError('registry-unavailable', `${at} says what is no event`));
    }
    const version = object?.metadata?.resourceVersion;
    if (typeof version === 'string') resourceVersion = version;
  }

  try {
    const timeoutSeconds = String(Math.round(SHORTEST_SECONDS * (1 + Math.random())));
    const query = new URLSearchParams({ watch: '1', allowWatchBookmarks: 'true', resourceVersion, timeoutSeconds });
    const right = { verb: 'watch', resource: 'nodes' };
    const either = AbortSignal.any([signal, ended.signal]);
    const stream = await api.open({ method: 'GET', path: `/api/v1/nodes?${query}`, right }, either);
    options.opened();
    await readLines(stream, either, (line) => {
      silence.refresh();
      options.heard();
      if (line !== '' && problem === undefined) take(line);
    });
  } catch (error) {
    problem ??=
      error instanceof RudderError ? error : new RudderError('registry-unavailable', `${at}: ${messageOf(error)}`);
  } finally {
    clearTimeout(silence);
    ended.abort();
  }
  // Any other answer than "busy" may mean that it knows nothing of that version: after a restore, say.
  const isGone = problem instanceof ApiError && !hasStatus(problem, 429, 500, 502, 503);
  return { resourceVersion, problem, isGone };
}

interface WatchEvent {
  readonly type?: unknown;
  readonly object?: { readonly metadata?: { readonly resourceVersion?: unknown } } & StatusObject;
}

interface StatusObject {
  readonly code?: unknown;
  readonly message?: unknown;
}

function parsed(line: string): WatchEvent | undefined {
  try {
    return (JSON.parse(line) as WatchEvent | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function toldError(at: string, status: StatusObject | undefined): ApiError {
  const code = typeof status?.code === 'number' ? status.code : 500;
  const text = code === 410 ? 'was too far behind (410)' : `was ended with ${code}: ${messageOf(status?.message)}`;
  return new ApiError('registry-unavailable', `${at} ${text}`, code);
}

/** One JSON text a line. Resolves at the end. */
async function readLines(stream: IncomingMessage, signal: AbortSignal, line: (text: string) => void): Promise<void> {
  let parts: Buffer[] = [];
  let bytes = 0;
  const aborted = () => stream.destroy();
  signal.addEventListener('abort', aborted);
  if (signal.aborted) aborted();
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        parts.push(chunk.subarray(start, end));
        line(Buffer.concat(parts).toString('utf8'));
        [parts, bytes, start] = [[], 0, end + 1];
        if (signal.aborted) return;
      }
      bytes += chunk.length - start;
      if (bytes > LONGEST_LINE) throw new Error(`a line of more than ${LONGEST_LINE} bytes`);
      if (start < chunk.length) parts.push(chunk.subarray(start));
    }
  } finally {
    signal.removeEventListener('abort', aborted);
    stream.destroy();
  }
}
