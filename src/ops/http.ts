import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, messageOf, RudderError, shorten } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import type { createMetrics } from './metrics.js';
import { isAlive, type Status } from './status.js';

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
  /** @throws RudderError `usage` for an unknown level */
  readonly setLogLevel: (level: string) => void;
  readonly log: Logger;
}

/** Where a daemon with that subnet file is spoken to. */
export function controlSocketOf(subnetFile: string): string {
  return join(dirname(subnetFile), 'rudder.sock');
}

/** The live page. It may load its own script, ask us, and nothing else. */
const PAGE = {
  '/': { file: 'index.html', type: 'text/html; charset=utf-8' },
  '/page.js': { file: 'page.js', type: 'text/javascript; charset=utf-8' },
};
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

/** What a client may take: these are for probes and people on this host, each asking for a moment. */
const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 10_000,
  // How soon after these deadlines a slow client is looked for.
  connectionsCheckingInterval: 1000,
};
const MAX_CONNECTIONS = 64;
/** A client that takes nothing of its answer for so long is cut off. */
const IDLE_MS = 10_000;

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** @throws RudderError `file` or `socket` */
export async function serveHttp(options: HttpOptions): Promise<{ close(): void }> {
  let metrics: ReturnType<typeof createMetrics> | undefined;
  const json = (response: ServerResponse, code: number, value: unknown) =>
    response.writeHead(code, { 'content-type': 'application/json' }).end(`${JSON.stringify(value)}\n`);

  const read: Record<string, Handler> = {
    async '/healthz'(_, response) {
      const status = await options.status();
      const alive = typeof status === 'string' || isAlive(status);
      json(response, alive ? 200 : 503, { alive });
    },
    async '/readyz'(_, response) {
      const status = await options.status();
      const problems = typeof status === 'string' ? [`starting: ${status}`] : status.problems;
      json(response, problems.length === 0 ? 200 : 503, { ready: problems.length === 0, problems });
    },
    async '/metrics'(_, response) {
      const status = await options.status();
      // Loaded when first asked for: most nodes of a test, and many others, never are.
      metrics ??= (await import('./metrics.js')).createMetrics();
      const text = await metrics.text(typeof status === 'string' ? undefined : status);
      response.writeHead(200, { 'content-type': metrics.contentType }).end(text);
    },
    async '/status'(_, response) {
      const status = await options.status();
      if (typeof status === 'string') json(response, 503, { starting: status });
      else json(response, 200, status);
    },
  };
  for (const [path, { file, type }] of Object.entries(PAGE)) {
    read[path] = async (_, response) => {
      const text = await readFile(new URL(`./page/${file}`, import.meta.url));
      response.writeHead(200, { 'content-type': type, 'content-security-policy': PAGE_POLICY }).end(text);
    };
  }
  const control: Record<string, Handler> = {
    async '/log-level'(request, response) {
      options.setLogLevel(await bodyOf(request));
      json(response, 200, {});
    },
  };

  const servers: Server[] = [];
  const refused = createRepeatLimit();
  function limitedServer(
    allowed: (method: string, path: string) => Handler | undefined,
    isOurName: (host: string | undefined) => boolean,
  ): Server {
    const server = createServer(LIMITS, (request: IncomingMessage, response: ServerResponse) => {
      const path = (request.url ?? '').split('?')[0];
      if (!isOurName(request.headers.host)) return json(response, 403, { error: 'not the name of this host' });
      const handler = allowed(request.method ?? '', path);
      if (handler === undefined) {
        const code = Object.hasOwn(read, path) ? 405 : 404;
        return json(response, code, { error: `nothing at ${request.method} ${shorten(path, 80)}` });
      }
      handler(request, response).catch((error: unknown) => {
        const isUsers = error instanceof RudderError;
        if (!isUsers) options.log.error({ path, reason: messageOf(error) }, 'a request failed');
        json(response, isUsers ? 400 : 500, { error: messageOf(error) });
      });
    });
    // Of a connection that could not be accepted, for want of descriptors or memory: no reason to end the daemon.
    server.on('error', (error) => {
      if (!server.listening) return; // told by who wanted it to
      refused((suppressed) => options.log.warn({ reason: messageOf(error), suppressed }, 'a request was not taken'));
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.setTimeout(IDLE_MS);
    servers.push(server);
    return server;
  }

  const reading = (method: string, path: string) => (method === 'GET' ? own(read, path) : undefined);
  const local = limitedServer(
    (method, path) => (method === 'PUT' ? own(control, path) : reading(method, path)),
    () => true,
  );
  try {
    await listenOnSocket(local, options.socketPath);
    if (options.tcp !== undefined) {
      const { address } = options.tcp;
      const server = limitedServer(reading, (host) => !address.startsWith('127.') || isLoopbackName(host));
      await listenOnTcp(server, options.tcp);
      options.log.info(options.tcp, 'health, metrics and status are served');
    }
  } catch (error) {
    close();
    throw error;
  }

  function close(): void {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  }
  return { close };
}

/** Not what every object has: `constructor` is no path of ours. */
function own(handlers: Record<string, Handler>, path: string): Handler | undefined {
  return Object.hasOwn(handlers, path) ? handlers[path] : undefined;
}

/**
 * True for names that lead to loopback by themselves. A page of a stranger's whose name its owner has turned to
 * 127.0.0.1 (DNS rebinding) makes a browser here ask under that name.
 */
function isLoopbackName(host: string | undefined): boolean {
  return host === undefined || /^(localhost|127\.\d+\.\d+\.\d+)(:\d+)?$/i.test(host);
}

/** A log level is a word. */
const LONGEST_BODY = 100;

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > LONGEST_BODY) throw new RudderError('usage', `body of over ${LONGEST_BODY} characters`);
  }
  return body.trim();
}

/** A socket left by a daemon that was killed is replaced; one that somebody answers on is not. */
async function listenOnSocket(server: Server, path: string): Promise<void> {
  if (await isAnswered(path)) {
    throw new RudderError(
      'file',
      `another rudder answers on ${path}: expected none; stop it, or give this one another --subnet-file`,
    );
  }
  try {
    rmSync(path, { force: true });
    // The mode must be right from the first moment, and listen() binds before it returns; it rejects and never throws.
    const before = process.umask(0o177);
    const listening = listen(server, () => server.listen(path));
    process.umask(before);
    await listening;
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot make the control socket beside the subnet file, in ${dirname(path)}: ${messageOf(error)}; expected a writable directory, choose another with --subnet-file`,
      { cause: error },
    );
  }
}

async function listenOnTcp(server: Server, { address, port }: { address: string; port: number }): Promise<void> {
  try {
    await listen(server, () => server.listen(port, address));
  } catch (error) {
    const reason = errnoOf(error) === 'EADDRINUSE' ? 'somebody listens there already' : messageOf(error);
    throw new RudderError(
      'socket',
      `cannot listen on ${address}:${port}: ${reason}; choose others with --healthz-ip and --healthz-port`,
      { cause: error },
    );
  }
}

function listen(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve).once('error', reject);
    start();
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
      .once('connect', () => done(true))
      .once('error', () => done(false));
    function done(answered: boolean): void {
      probe.destroy();
      resolve(answered);
    }
  });
}
