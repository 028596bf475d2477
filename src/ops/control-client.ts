import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';

const TIMEOUT_MS = 5000;

export interface Answer {
  readonly code: number;
  readonly body: unknown;
}

/** Asks the running daemon over its unix socket. @throws RudderError `not-running` */
export async function askDaemon(socketPath: string, method: 'GET' | 'PUT', path: string, body = ''): Promise<Answer> {
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const asking = request({ socketPath, method, path, timeout: TIMEOUT_MS }, (response) => {
        text(response)
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
