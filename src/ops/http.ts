import { dirname, join } from 'node:path';
import { messageOf, RudderError, shorten } from '../core/errors.js';
import type { NodeEvent } from '../core/event.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { keepOnSocket, listenOnTcp } from './http-listen.js';
import { type HttpAnswer, type HttpRequest, jsonAnswer } from './http-request.js';
import { createHttpServer, type HttpServer } from './http-server.js';
import { readPage } from './page-files.js';
import type { Status } from './status.js';
import { createStatusViews, VIEWS } from './status-views.js';
import type { StoreSettings } from './store-settings.js';

/**
 * Two doors to the same room. The unix socket is for `rudder status` and its like, and for root alone. The TCP port is
 * for probes and Prometheus, is off unless asked for, and changes nothing.
 */
export interface HttpOptions {
  readonly socketPath: string;
  /** Undefined: no TCP port. */
  readonly tcp: { readonly address: string; readonly port: number } | undefined;
  /** A text while the node still starts: what it is waiting for. */
  readonly status: () => Promise<Status | string>;
  /** How all nodes see each other, which asks them; a text as above. It has a bound and a deadline of its own. */
  readonly survey: () => Promise<object | string>;
  /** The cluster as its page shows it; other nodes are asked for it, at a bounded rate. */
  readonly cluster: (status: Status) => object;
  /** The last hours after that step, of a peer or of the node; undefined: nothing is kept of it. */
  readonly history: (after: number, subnet: string | undefined) => object | undefined;
  /** What has flowed at another node, which is asked for it at a bounded rate; undefined: it says nothing. */
  readonly historyOf: (subnet: string) => Promise<object | undefined>;
  /** What has happened after that event; if nothing has, what happens first, or nothing after so long. */
  readonly events: (after: number, waitMs: number) => Promise<readonly NodeEvent[]>;
  /** For commands on this host that look for the node's store; undefined: it has none that could be asked. */
  readonly store: StoreSettings | undefined;
  /** @throws RudderError `usage` for an unknown level */
  readonly setLogLevel: (level: string) => void;
  /** Gives the node another key. @throws RudderError `usage` if it has none, `not-ready` while it starts */
  readonly rotateKey?: () => Promise<object>;
  readonly log: Logger;
}

/** Where a daemon with that subnet file is spoken to. */
export function controlSocketOf(subnetFile: string): string {
  return join(dirname(subnetFile), 'rudder.sock');
}

type Handler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

/** What a door answers: a handler for each path, by method. */
interface Door {
  readonly handlers: Readonly<Record<string, ReadonlyMap<string, Handler>>>;
  readonly isOurName: (host: string | undefined) => boolean;
}

/** @throws RudderError `file` or `socket` */
export async function serveHttp(options: HttpOptions): Promise<{ close(): void }> {
  const { tcp, log } = options;
  const { answer } = createStatusViews(options.status, options.cluster);
  const page = readPage().map(([path, told]) => [path, () => told] as const);
  const reading = (isFresh: boolean) =>
    new Map<string, Handler>([
      ...page,
      ...VIEWS.map((view) => [view, () => answer(view, isFresh)] as const),
      ['/history', historyOf],
      ['/events', ({ query }) => eventsAfter(numberIn(query, 'after', 0), 0)],
    ]);
  const eventsAfter = async (after: number, waitMs: number) => jsonAnswer(200, await options.events(after, waitMs));

  async function historyOf({ query }: HttpRequest): Promise<HttpAnswer> {
    const [peer, other] = ['peer', 'of'].map((name) => query.get(name) ?? undefined);
    const part =
      other === undefined ? options.history(numberIn(query, 'after', -1), peer) : await options.historyOf(other);
    return part === undefined ? jsonAnswer(404, { error: 'nothing is kept of that' }) : jsonAnswer(200, part);
  }

  const changing = new Map<string, Handler>([
    [
      '/log-level',
      ({ body }) => {
        options.setLogLevel(body.trim());
        return jsonAnswer(200, {});
      },
    ],
  ]);
  const { rotateKey } = options;
  if (rotateKey !== undefined) changing.set('/keys/rotate', async () => jsonAnswer(200, await rotateKey()));

  const open: { close(): void }[] = [];
  const failed = createRepeatLimit();
  const refused = createRepeatLimit();
  function serve(door: Door): HttpServer {
    const http = createHttpServer((request) => answerAt(door, request));
    // Of a connection that could not be accepted, for want of descriptors or memory: no reason to end the daemon.
    http.server.on('error', (error) => {
      if (!http.server.listening) return; // told by who wanted it to
      refused((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'a request was not taken'));
    });
    return http;
  }

  async function answerAt({ handlers, isOurName }: Door, request: HttpRequest): Promise<HttpAnswer> {
    const { method, path, host } = request;
    if (!isOurName(host)) return jsonAnswer(403, { error: 'not the name of this host' });
    const handler = Object.hasOwn(handlers, method) ? handlers[method].get(path) : undefined;
    if (handler === undefined) {
      const code = handlers.GET.has(path) ? 405 : 404;
      return jsonAnswer(code, { error: `nothing at ${shorten(`${method} ${path}`, 80)}` });
    }
    try {
      return await handler(request);
    } catch (error) {
      const reason = messageOf(error);
      if (error instanceof RudderError) return jsonAnswer(400, { error: reason });
      failed((suppressed) => log.error({ path, reason, suppressed }, 'a request failed'));
      return jsonAnswer(500, { error: reason });
    }
  }

  function close(): void {
    for (const door of open) door.close();
  }

  try {
    // Who is at the shell has just changed something and wants to see it.
    const localReading = reading(true)
      .set('/etcd', () =>
        options.store?.kind === 'etcd' ? jsonAnswer(200, options.store.settings) : jsonAnswer(409, { error: NO_ETCD }),
      )
      .set('/kubernetes', () =>
        options.store?.kind === 'kubernetes'
          ? jsonAnswer(200, options.store.settings)
          : jsonAnswer(404, { error: 'this node does not belong by Kubernetes' }),
      )
      .set('/survey', async () => jsonAnswer(200, surveyed(await options.survey())))
      // Who reads over TCP may not wait: there are places for a few only.
      .set('/events', ({ query }) =>
        eventsAfter(numberIn(query, 'after', 0), 1000 * Math.min(LONGEST_WAIT_SECONDS, numberIn(query, 'wait', 0))),
      );
    const local = { handlers: { GET: localReading, PUT: changing }, isOurName: () => true };
    open.push(await keepOnSocket(() => serve(local), options.socketPath, log));
    if (tcp !== undefined) {
      const isOurName = (host: string | undefined) => !tcp.address.startsWith('127.') || isLoopbackName(host);
      const http = serve({ handlers: { GET: reading(false) }, isOurName });
      open.push(http);
      await listenOnTcp(http.server, tcp);
      log.info(tcp, 'health, metrics and status are served');
    }
  } catch (error) {
    close();
    throw error;
  }
  return { close };
}

const NO_ETCD = 'this node has no etcd';

/** Who waits for what happens next asks again after this. */
const LONGEST_WAIT_SECONDS = 20;

/** The least if it is not given, or no number; whole, since steps and events are counted. */
function numberIn(query: URLSearchParams, name: string, least: number): number {
  const value = Number(query.get(name) ?? least);
  return Number.isFinite(value) ? Math.max(least, Math.floor(value)) : least;
}

const surveyed = (told: object | string) => (typeof told === 'string' ? { starting: told } : told);

/**
 * True for names that lead to loopback by themselves. A page of a stranger's whose name its owner has turned to
 * 127.0.0.1 (DNS rebinding) makes a browser here ask under that name.
 */
function isLoopbackName(host: string | undefined): boolean {
  return host === undefined || /^(localhost|127\.\d+\.\d+\.\d+)(:\d+)?$/i.test(host);
}
