import { STATUS_CODES } from 'node:http';

/** What we need of a request. */
export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** As the client calls us; only an HTTP/1.0 client may leave it out. */
  readonly host: string | undefined;
  readonly body: string;
  /** Another request may follow on this connection. */
  readonly keepsAlive: boolean;
}

export interface HttpAnswer {
  readonly code: number;
  readonly type: string;
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that cannot be understood or is too large: what to answer before the connection is closed. */
export class BadRequest extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** Of the request line and all headers. */
const LONGEST_HEAD = 8192;
/** The one body that is read is a log level, which is a word. */
const LONGEST_BODY = 100;

const END_OF_HEAD = '\r\n\r\n';
const REQUEST_LINE = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that no header may hold
const HEADER = /^([\w!#$%&'*+.^`|~-]+):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*)$/;

/**
 * The first request in these bytes and the number of bytes it takes; undefined if it is not complete yet.
 * @throws BadRequest
 */
export function parseRequest(bytes: Buffer): { request: HttpRequest; length: number } | undefined {
  const end = bytes.subarray(0, LONGEST_HEAD).indexOf(END_OF_HEAD, 0, 'latin1');
  if (end === -1) {
    if (bytes.length >= LONGEST_HEAD) throw new BadRequest(431, `headers of over ${LONGEST_HEAD} bytes`);
    // Garbage is told at its first line: the client may wait for our answer before it sends more.
    const endOfLine = bytes.indexOf('\r\n', 0, 'latin1');
    if (endOfLine !== -1) parseRequestLine(bytes.toString('latin1', 0, endOfLine));
    return undefined;
  }
  const [first, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const { method, path, query, minor } = parseRequestLine(first);
  const headers = parseHeaders(lines);
  const host = headers.get('host');
  if (host === undefined && minor === 1) throw new BadRequest(400, 'no Host header');
  const start = end + END_OF_HEAD.length;
  const length = start + bodyLength(headers);
  if (bytes.length < length) return undefined;
  const keepsAlive = minor === 1 && !/\bclose\b/i.test(headers.get('connection') ?? '');
  return { request: { method, path, query, host, body: bytes.toString('utf8', start, length), keepsAlive }, length };
}

function parseRequestLine(line: string): Pick<HttpRequest, 'method' | 'path' | 'query'> & { minor: number } {
  const match = REQUEST_LINE.exec(line);
  if (match === null) throw new BadRequest(400, 'not a request of HTTP/1.1');
  const [, method, target, minor] = match;
  const [path] = target.split('?', 1);
  return { method, path, query: new URLSearchParams(target.slice(path.length)), minor: Number(minor) };
}

function parseHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const match = HEADER.exec(line);
    if (match === null) throw new BadRequest(400, 'a header line that is none');
    const name = match[1].toLowerCase();
    // Where two of them disagree, whoever looked at the first has let the second pass.
    if (headers.has(name) && (name === 'host' || name === 'content-length')) throw new BadRequest(400, `two ${name}s`);
    headers.set(name, match[2].trim());
  }
  return headers;
}

function bodyLength(headers: ReadonlyMap<string, string>): number {
  if (headers.has('transfer-encoding')) throw new BadRequest(501, 'a body without Content-Length');
  const text = headers.get('content-length') ?? '0';
  if (!/^\d+$/.test(text)) throw new BadRequest(400, 'a Content-Length that is no number');
  if (Number(text) > LONGEST_BODY) throw new BadRequest(413, `body of over ${LONGEST_BODY} bytes`);
  return Number(text);
}

/** The bytes before the body. */
export function formatHead({ code, type, body, headers }: HttpAnswer, keepsAlive: boolean): Buffer {
  const fields = {
    'content-type': type,
    'content-length': body.length,
    date: new Date().toUTCString(),
    connection: keepsAlive ? 'keep-alive' : 'close',
    ...headers,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${code} ${STATUS_CODES[code]}\r\n${lines.join('')}\r\n`, 'latin1');
}

export function jsonAnswer(code: number, value: unknown): HttpAnswer {
  return { code, type: 'application/json', body: Buffer.from(`${JSON.stringify(value)}\n`) };
}
