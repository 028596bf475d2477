import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { type CertificateEnd, certificateEnd, parseCertificates } from '../../core/certificates.js';
import { RudderError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { type ApiError, answered, type Right, unreachable } from './errors.js';
import { type Connection, readConnection } from './kube-config.js';
import { type KubernetesOptions, TIMING } from './options.js';
import { proxyFor, throughProxy } from './proxy.js';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** With its query. */
  readonly path: string;
  readonly body?: object | undefined;
  /** What is asked for, for words about a refusal. */
  readonly right: Right;
}

export interface KubernetesApi {
  /** Where it is asked, as a URL. @throws RudderError if that is not known */
  server(): string;
  /** The answer's JSON. @throws RudderError, an ApiError if the API has answered something else */
  ask(request: ApiRequest): Promise<unknown>;
  /** An answer that goes on until it ends. @throws as ask */
  open(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage>;
  /** Connects anew: what is under way fails. */
  reconnect(): void;
  certificates(): readonly CertificateEnd[];
  close(): void;
}

/** An API that is busy says when to come back (429, 503): so often it is done as it says, before the caller is told. */
const TRIES = 4;
const LONGEST_RETRY_AFTER_MS = 10_000;
/** A list's page is about a megabyte. */
const MOST_BYTES = 64 * 1024 * 1024;
const KEEP_ALIVE_MS = 15_000;

/** On node:https: the well-known client costs more memory than all of this daemon, and hangs on a half-open watch. */
export function openApi(options: KubernetesOptions, log?: Logger): KubernetesApi {
  const { deadlineMs } = { ...TIMING, ...options.timing };
  const agentOptions = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS, maxSockets: 4 };
  let agents = { http: new HttpAgent(agentOptions), https: new HttpsAgent(agentOptions) };
  let latest: Connection | undefined;
  let closing = new AbortController();
  let isWarned = false;

  function connection(): Connection {
    const found = readConnection(options);
    latest = found;
    if (found.isUnverified && !isWarned) {
      isWarned = true;
      log?.warn(
        { server: found.server },
        'the kubeconfig has insecure-skip-tls-verify: whoever answers there is believed, and told our token',
      );
    }
    return found;
  }

  /** One request, until the head of its answer. */
  async function exchange(request: ApiRequest, at: Connection, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(at.server + request.path);
    const isTls = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = Number(url.port) || (isTls ? 443 : 80);
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const tls = {
      ca: at.ca?.pem,
      cert: at.cert?.pem,
      key: at.key?.pem,
      rejectUnauthorized: !at.isUnverified,
      servername: at.tlsServerName ?? (isIP(host) ? '' : host),
    };
    const asked: RequestOptions = {
      host,
      port,
      method: request.method,
      path: url.pathname + url.search,
      headers: {
        host: url.host,
        accept: 'application/json',
        'user-agent': `rudder/${options.version}`,
        ...(at.authorization && { authorization: at.authorization }),
        ...(body !== undefined && {
          'content-type': request.method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json',
          'content-length': Buffer.byteLength(body),
        }),
      },
      signal,
    };
    const proxy = proxyFor(at, options.environment);
    const tunnel = proxy && (await throughProxy(proxy, host, port, deadlineMs));
    const way = tunnel
      ? // With the host: of an address there is no server name, and its certificate would be compared with "localhost".
        { createConnection: () => (isTls ? tlsConnect({ ...tls, host, socket: tunnel }) : tunnel) }
      : { agent: isTls ? agents.https : agents.http, ...(isTls && tls) };
    return new Promise((resolve, reject) => {
      const sending = (isTls ? httpsRequest : httpRequest)({ ...asked, ...way }, resolve);
      sending.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_MS));
      sending.on('error', reject);
      sending.end(body);
    });
  }

  /**
   * With what the API wants of those who ask: a new token, or a little patience.
   * @returns with the deadline of that exchange, which the answer's body is under too: to be stopped
   */
  async function answerTo(
    request: ApiRequest,
    signal: AbortSignal,
  ): Promise<{ answer: IncomingMessage; deadline: Deadline }> {
    let wasUnknown = false;
    for (let tries = 1; ; tries++) {
      const at = connection();
      // Of each exchange: a wait that the API asks for is none of its own time.
      const deadline = startDeadline(deadlineMs);
      const closed = closing.signal;
      let answer: IncomingMessage;
      try {
        answer = await exchange(request, at, AbortSignal.any([signal, closed, deadline.signal]));
      } catch (error) {
        deadline.stop();
        signal.throwIfAborted();
        if (error instanceof RudderError) throw error; // of our own settings
        const reason = deadline.signal.aborted ? new Error(`no answer within ${deadlineMs / 1000} s`) : error;
        throw unreachable(at.server, closed.aborted ? new Error('connecting anew') : reason, isService(at));
      }
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return { answer, deadline };
      const problem = await refusal(answer, at, request, status);
      deadline.stop();
      // The token may have been replaced between our look at its file and the answer.
      if (status === 401 && !wasUnknown && at.authorization !== undefined) wasUnknown = true;
      else if (!isBusy(answer) || tries >= TRIES) throw problem;
      else {
        await delay(retryAfterMs(answer), undefined, { signal: AbortSignal.any([signal, closed]) }).catch(() => {
          signal.throwIfAborted();
          throw problem;
        });
      }
    }
  }

  const isService = ({ server }: Connection) =>
    options.apiUrl === undefined &&
    options.kubeconfigFile === undefined &&
    server.includes(`${options.environment.KUBERNETES_SERVICE_HOST}`);

  async function refusal(
    answer: IncomingMessage,
    at: Connection,
    request: ApiRequest,
    status: number,
  ): Promise<ApiError> {
    const said = await textOf(answer, 64 * 1024).catch(() => '');
    return answered(at.server, status, said, request.right);
  }

  return {
    server: () => readConnection(options).server,
    async ask(request) {
      const { signal } = new AbortController();
      const { answer, deadline } = await answerTo(request, signal);
      const at = answer.statusCode ?? 0;
      let text: string;
      try {
        text = await textOf(answer, MOST_BYTES);
      } catch (error) {
        throw unreachable(
          connection().server,
          deadline.signal.aborted ? new Error('the answer does not end') : error,
          false,
        );
      } finally {
        deadline.stop();
      }
      try {
        return JSON.parse(text) as unknown;
      } catch {
        throw unreachable(connection().server, new Error(`an answer ${at} that is no JSON`), false);
      }
    },
    async open(request, signal) {
      const { answer, deadline } = await answerTo(request, signal);
      deadline.stop();
      return answer;
    },
    reconnect() {
      closing.abort();
      closing = new AbortController();
      for (const agent of Object.values(agents)) agent.destroy();
      agents = { http: new HttpAgent(agentOptions), https: new HttpsAgent(agentOptions) };
    },
    certificates: () => (latest === undefined ? [] : endsOf(latest)),
    close() {
      closing.abort();
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

interface Deadline {
  readonly signal: AbortSignal;
  stop(): void;
}

function startDeadline(ms: number): Deadline {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ms);
  return { signal: late.signal, stop: () => clearTimeout(timer) };
}

const isBusy = ({ statusCode, headers }: IncomingMessage) =>
  statusCode === 429 || (statusCode === 503 && headers['retry-after'] !== undefined);

function retryAfterMs({ headers }: IncomingMessage): number {
  const seconds = Number(headers['retry-after'] ?? 1);
  const ms = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : 1000;
  // Whom it has sent away it has sent away together.
  return Math.min(LONGEST_RETRY_AFTER_MS, ms) * (1 + Math.random() / 4);
}

async function textOf(answer: IncomingMessage, most: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > most) {
      answer.destroy();
      throw new Error(`an answer of more than ${most} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Of a CA's file the last that ends counts, of our own the first. */
function endsOf({ ca, cert }: Connection): CertificateEnd[] {
  const end = (pem: Connection['ca'], pick: (...ends: number[]) => number) => {
    try {
      const certificates = pem === undefined ? [] : parseCertificates(pem.pem);
      return pem === undefined || certificates.length === 0 ? [] : [certificateEnd(pem.file, certificates, pick)];
    } catch {
      return [];
    }
  };
  return [...end(ca, Math.max), ...end(cert, Math.min)];
}
