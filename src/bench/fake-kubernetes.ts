import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** An object of Kubernetes, as far as it matters here. */
export interface KubeObject {
  metadata: {
    name: string;
    uid?: string;
    resourceVersion?: string;
    annotations?: Record<string, string>;
    [more: string]: unknown;
  };
  spec?: Record<string, unknown> & { podCIDR?: string; podCIDRs?: string[] };
  status?: Record<string, unknown> & { conditions?: (Record<string, unknown> & { type: string })[] };
}

export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/**
 * The part of the Kubernetes API that a node needs, as the real one answers: pages, watches with bookmarks, patches that
 * compare, and whatever it can do wrong. One contract runs over both.
 */
export interface FakeKubernetes {
  readonly nodes: ReadonlyMap<string, KubeObject>;
  /** Events that were told of Nodes. */
  readonly events: readonly Record<string, unknown>[];
  readonly requests: readonly FakeRequest[];
  readonly port: number;
  putNode(node: KubeObject): KubeObject;
  removeNode(name: string): void;
  /** From now on these tokens are known; undefined: whoever asks. */
  setTokens(tokens: readonly string[] | undefined): void;
  /** Such as `list nodes`. */
  forbid(...rights: string[]): void;
  /** So many requests are sent away, to come back after so long. */
  beBusy(times: number, retryAfterSeconds: number): void;
  /** What happened before now is not known any more; lists under way too. */
  forget(): void;
  /** Holds all answers back and keeps all connections. */
  freeze(isFrozen: boolean): void;
  bookmark(): void;
  /** Ends all watches. */
  endWatches(): void;
  /** Connections end, and none is taken. */
  stop(): Promise<void>;
  /** @param tls another certificate */
  start(tls?: { key: string | Buffer; cert: string | Buffer }): Promise<void>;
}

export interface FakeOptions {
  readonly tls?: { readonly key: string | Buffer; readonly cert: string | Buffer } | undefined;
  /** Where it listens: a port, or a socket in the file system. */
  readonly at?: number | string;
  /** Of the port; default: loopback. */
  readonly host?: string;
  readonly bookmarkMs?: number;
}

interface Change {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: string;
}

interface Watcher {
  readonly response: ServerResponse;
  sent: number;
}

export async function startFakeKubernetes(options: FakeOptions = {}): Promise<FakeKubernetes> {
  const nodes = new Map<string, KubeObject>();
  const events: Record<string, unknown>[] = [];
  const requests: FakeRequest[] = [];
  const history: Change[] = [];
  const watchers = new Set<Watcher>();
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];
  const forbidden = new Set<string>();
  let version = 1000;
  let oldest = version;
  let generation = 1;
  let tokens: readonly string[] | undefined;
  let busy = { times: 0, retryAfter: 1 };
  let isFrozen = false;
  let server: Server | undefined;
  let port = 0;
  let { tls } = options;

  function note(type: Change['type'], node: KubeObject): void {
    history.push({ version, type, object: JSON.stringify(node) });
    if (!isFrozen) for (const watcher of watchers) feed(watcher);
  }

  function feed(watcher: Watcher): void {
    for (const { version: at, type, object } of history) {
      if (at <= watcher.sent) continue;
      watcher.response.write(`{"type":"${type}","object":${object}}\n`);
      watcher.sent = at;
    }
  }

  function endWatches(): void {
    for (const { response } of watchers) response.end();
    watchers.clear();
  }

  function bookmark(): void {
    if (isFrozen) return;
    const object = { kind: 'Node', apiVersion: 'v1', metadata: { resourceVersion: String(version) } };
    for (const { response } of watchers) response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  function store(node: KubeObject): KubeObject {
    const before = nodes.get(node.metadata.name);
    const metadata = { ...node.metadata, resourceVersion: String(++version) };
    const stored: KubeObject = {
      ...node,
      metadata: { ...metadata, uid: before?.metadata.uid ?? metadata.uid ?? randomUUID() },
    };
    nodes.set(node.metadata.name, stored);
    note(before === undefined ? 'ADDED' : 'MODIFIED', stored);
    return stored;
  }

  function remove(name: string): KubeObject | undefined {
    const before = nodes.get(name);
    if (before === undefined) return undefined;
    nodes.delete(name);
    const last = { ...before, metadata: { ...before.metadata, resourceVersion: String(++version) } };
    note('DELETED', last);
    return last;
  }

  function list(query: URLSearchParams, response: ServerResponse): void {
    const [at = version, start = 0, born = generation] = (query.get('continue') ?? '')
      .split('.')
      .flatMap((part) => (part ? [Number(part)] : []));
    if (born !== generation) return status(response, 410, 'Expired', 'The provided continue parameter is too old');
    const all = [...nodes.values()];
    const limit = Number(query.get('limit')) || all.length;
    const items = all.slice(start, start + limit);
    const more = start + limit < all.length ? { continue: `${at}.${start + limit}.${generation}` } : {};
    answer(response, 200, {
      kind: 'NodeList',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(at), ...more },
      items,
    });
  }

  function watch(query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get('resourceVersion'));
    response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
    response.flushHeaders();
    if (from < oldest) {
      const gone = {
        kind: 'Status',
        status: 'Failure',
        message: `too old resource version: ${from} (${oldest})`,
        reason: 'Expired',
        code: 410,
      };
      response.end(`${JSON.stringify({ type: 'ERROR', object: gone })}\n`);
      return;
    }
    const watcher = { response, sent: from };
    watchers.add(watcher);
    feed(watcher);
    const end = setTimeout(
      () => void (watchers.delete(watcher) && response.end()),
      (Number(query.get('timeoutSeconds')) || 1800) * 1000,
    );
    response.on('close', () => {
      clearTimeout(end);
      watchers.delete(watcher);
    });
  }

  function patch(name: string, body: KubeObject, response: ServerResponse): void {
    const before = nodes.get(name);
    if (before === undefined) return status(response, 404, 'NotFound', `nodes "${name}" not found`);
    const { uid, resourceVersion, annotations = {} } = body.metadata ?? {};
    if (
      (uid ?? before.metadata.uid) !== before.metadata.uid ||
      (resourceVersion ?? before.metadata.resourceVersion) !== before.metadata.resourceVersion
    ) {
      return status(
        response,
        409,
        'Conflict',
        `Operation cannot be fulfilled on nodes "${name}": the object has been modified`,
      );
    }
    const merged: Record<string, string> = { ...before.metadata.annotations };
    for (const [key, value] of Object.entries(annotations as Record<string, string | null>)) {
      if (value === null) delete merged[key];
      else merged[key] = value;
    }
    const conditions = [...(before.status?.conditions ?? [])];
    for (const condition of body.status?.conditions ?? []) {
      const at = conditions.findIndex(({ type }) => type === condition.type);
      if (at < 0) conditions.push(condition);
      else conditions[at] = { ...conditions[at], ...condition };
    }
    const next: KubeObject = {
      ...before,
      metadata: { ...before.metadata, annotations: merged },
      spec: { ...before.spec, ...body.spec },
      status: { ...before.status, conditions },
    };
    // A patch that changes nothing makes no new version.
    if (JSON.stringify(next) === JSON.stringify(before)) return answer(response, 200, before);
    answer(response, 200, store(next));
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    const method = request.method ?? 'GET';
    requests.push({ method, path: url.pathname + url.search, headers: request.headers });
    const body = await bodyOf(request);
    if (isFrozen) await new Promise<void>((resolve) => held.push(resolve));
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    if (tokens !== undefined && !tokens.includes(token)) return status(response, 401, 'Unauthorized', 'Unauthorized');
    if (busy.times > 0) {
      busy.times--;
      response.setHeader('retry-after', String(busy.retryAfter));
      return status(response, 429, 'TooManyRequests', 'The server has received too many requests');
    }
    const [, name, sub] = /^\/api\/v1\/nodes\/([^/]+)(?:\/(status))?$/.exec(url.pathname) ?? [];
    const isWatch = url.searchParams.has('watch');
    const resource = url.pathname.includes('/events') ? 'events' : url.pathname.includes('/pods/') ? 'pods' : 'nodes';
    const verb =
      { GET: name ? 'get' : isWatch ? 'watch' : 'list', POST: 'create', PATCH: 'patch', DELETE: 'delete' }[method] ??
      method;
    const right = `${resource === 'pods' ? 'get' : verb} ${resource}${sub ? '/status' : ''}`;
    if (url.pathname === '/version') return answer(response, 200, { gitVersion: 'v0.0.0-fake' });
    if (url.pathname.endsWith('/selfsubjectaccessreviews')) {
      const asked = (
        body as unknown as { spec: { resourceAttributes: { verb: string; resource: string; subresource?: string } } }
      ).spec.resourceAttributes;
      const of = `${asked.verb} ${asked.resource}${asked.subresource ? `/${asked.subresource}` : ''}`;
      return answer(response, 201, { status: { allowed: !forbidden.has(of) } });
    }
    if (forbidden.has(right))
      return status(response, 403, 'Forbidden', `User "fake" cannot ${right} at the cluster scope`);
    if (resource === 'events') {
      events.push(body as unknown as Record<string, unknown>);
      return answer(response, 201, body);
    }
    if (resource === 'pods')
      return answer(response, 200, {
        kind: 'Pod',
        spec: {
          nodeName: url.pathname
            .split('/')
            .at(-1)
            ?.replace(/^pod-of-/, ''),
        },
      });
    if (url.pathname !== '/api/v1/nodes' && name === undefined)
      return status(response, 404, 'NotFound', 'the server could not find the requested resource');
    if (name === undefined && method === 'POST') return answer(response, 201, store(body as unknown as KubeObject));
    if (name === undefined) return isWatch ? watch(url.searchParams, response) : list(url.searchParams, response);
    if (method === 'PATCH') return patch(decodeURIComponent(name), body as unknown as KubeObject, response);
    const node = method === 'DELETE' ? remove(name) : nodes.get(decodeURIComponent(name));
    if (node === undefined) return status(response, 404, 'NotFound', `nodes "${name}" not found`);
    answer(response, 200, node);
  }

  async function start(other = tls): Promise<void> {
    tls = other;
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      handle(request, response).catch((error: unknown) => status(response, 500, 'InternalError', String(error)));
    };
    const made = tls === undefined ? createHttpServer(listener) : (createHttpsServer({ ...tls }, listener) as Server);
    made.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    const at =
      typeof options.at === 'string'
        ? { path: options.at }
        : { host: options.host ?? '127.0.0.1', port: port || (options.at ?? 0) };
    await new Promise<void>((resolve, reject) => {
      made.on('error', reject);
      made.listen(at, resolve);
    });
    server = made;
    if (typeof options.at !== 'string') ({ port } = made.address() as AddressInfo);
  }

  const timer = options.bookmarkMs === undefined ? undefined : setInterval(bookmark, options.bookmarkMs).unref();
  await start();
  return {
    nodes,
    events,
    requests,
    get port() {
      return port;
    },
    putNode: (node) => store(structuredClone(node)),
    removeNode: (name) => void remove(name),
    setTokens(known) {
      tokens = known;
    },
    forbid(...rights) {
      forbidden.clear();
      for (const right of rights) forbidden.add(right);
    },
    beBusy(times, retryAfter) {
      busy = { times, retryAfter };
    },
    forget() {
      generation++;
      oldest = ++version;
      history.length = 0;
      endWatches();
    },
    freeze(frozen) {
      isFrozen = frozen;
      if (frozen) return;
      for (const resume of held.splice(0)) resume();
      for (const watcher of watchers) feed(watcher);
    },
    bookmark,
    endWatches,
    async stop() {
      clearInterval(timer);
      for (const socket of sockets) socket.destroy();
      for (const resume of held.splice(0)) resume();
      await new Promise((resolve) => server?.close(resolve));
    },
    start,
  };
}

function answer(response: ServerResponse, code: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function status(response: ServerResponse, code: number, reason: string, message: string): void {
  answer(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code });
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
}
