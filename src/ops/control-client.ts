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

/** Asks the running daemon over its unix socket. @throws RudderError `not-running` */
export async function askDaemon(socketPath: string, method: 'GET' | 'PUT', path: string, body = ''): Promise<Answer> {
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const signal = AbortSignal.timeout(DEADLINE_MS);
      const asking = request({ socketPath, method, path, timeout: TIMEOUT_MS, signal }, (response) => {
        boundedText(response)
          .then((answer) => resolve({ code: response.statusCode ?? 0, body: JSON.parse(answer) }))
          .catch(reject);
      });
      asking.on('timeout', () => asking.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
      asking.on('error', reject);
      asking.end(body);
    });
  } catch (error) {
    throw new RudderError('not-running', `no rudder answers on ${socketPath}: ${explain(error)}`, { cause: error });
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

function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return 'expected a running daemon; start it with "systemctl start rudder", or give its --subnet-file';
    case 'EACCES':
      return 'the socket is for root alone; run as root';
    default:
      return `${messageOf(error)}; see the log of rudder`;
  }
}
