import { type IncomingMessage, request } from 'node:http';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';

const TIMEOUT_MS = 5000;
/** For the whole answer: root asks here, and who has broken into the daemon answers. */
const DEADLINE_MS = 30_000;
/** The status of 4,000 peers is a megabyte. */
const MAX_ANSWER_LENGTH = 64 * 1024 * 1024;

export interface Answer {
  readonly code: number;
  readonly body: unknown;
}

/** What came of asking, told apart: each has another cause and another remedy. */
export type Asked =
  | { readonly is: 'answer'; readonly answer: Answer }
  /** There is no socket, or that of a process that has ended. */
  | { readonly is: 'absent' }
  | { readonly is: 'not permitted' }
  /** Somebody listens and says nothing. */
  | { readonly is: 'silent'; readonly seconds: number }
  | { readonly is: 'garbled'; readonly reason: string };

/** Asks the running daemon over its unix socket. @throws RudderError `not-running` */
export async function askDaemon(
  socketPath: string,
  method: 'GET' | 'PUT',
  path: string,
  body = '',
  timeoutMs = TIMEOUT_MS,
): Promise<Answer> {
  const asked = await tryDaemon(socketPath, method, path, body, timeoutMs);
  if (asked.is === 'answer') return asked.answer;
  throw new RudderError('not-running', explain(socketPath, asked));
}

/** What is no JSON, such as the metrics. @throws RudderError `not-running` */
export async function askDaemonForText(socketPath: string, path: string): Promise<string> {
  const asked = await tryDaemon(socketPath, 'GET', path, '', TIMEOUT_MS, (text) => text);
  if (asked.is === 'answer') return String(asked.answer.body);
  throw new RudderError('not-running', explain(socketPath, asked));
}

export async function tryDaemon(
  socketPath: string,
  method: 'GET' | 'PUT',
  path: string,
  body = '',
  timeoutMs = TIMEOUT_MS,
  parse: (text: string) => unknown = JSON.parse,
): Promise<Asked> {
  const began = performance.now();
  const signal = AbortSignal.timeout(DEADLINE_MS);
  let isSilent = false;
  try {
    const answer = await new Promise<Answer>((resolve, reject) => {
      const asking = request({ socketPath, method, path, timeout: timeoutMs, signal }, (response) => {
        boundedText(response)
          .then((text) => resolve({ code: response.statusCode ?? 0, body: parse(text) }))
          .catch(reject);
      });
      asking.on('timeout', () => {
        isSilent = true;
        asking.destroy();
      });
      asking.on('error', reject);
      asking.end(body);
    });
    return { is: 'answer', answer };
  } catch (error) {
    if (isSilent || signal.aborted) return { is: 'silent', seconds: Math.round((performance.now() - began) / 1000) };
    const errno = errnoOf(error) ?? '';
    if (['ENOENT', 'ENOTDIR', 'ECONNREFUSED'].includes(errno)) return { is: 'absent' };
    if (['EACCES', 'EPERM'].includes(errno)) return { is: 'not permitted' };
    return { is: 'garbled', reason: messageOf(error) };
  }
}

async function boundedText(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_ANSWER_LENGTH) throw new Error(`an answer of over ${MAX_ANSWER_LENGTH} characters`);
  }
  return text;
}

/** Why it has not answered, and what to do. */
export function explain(socketPath: string, asked: Exclude<Asked, { is: 'answer' }>): string {
  switch (asked.is) {
    case 'absent':
      return `no rudder answers on ${socketPath}: expected a running daemon; start it (a service with "systemctl start rudder"), or give its --subnet-file`;
    case 'not permitted':
      return `rudder cannot be asked on ${socketPath}: the socket is for root alone; run as root`;
    case 'silent':
      return `no rudder answers on ${socketPath}: somebody listens there, and gives no answer within ${asked.seconds} s; see the log of rudder`;
    case 'garbled':
      return `no rudder answers on ${socketPath}: ${asked.reason}; see the log of rudder`;
  }
}
