import { type KeyObject, randomBytes } from 'node:crypto';
import { parseIpv4 } from '../core/address-text.js';
import { messageOf } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { type HttpAnswer, type HttpRequest, jsonAnswer } from '../ops/http-request.js';
import { createHttpServer } from '../ops/http-server.js';
import { isMacOf, macOf, secretWith } from './identity.js';
import type { PeerView, Summary } from './summary.js';

/** On the overlay address alone: nothing listens on the underlay. */
export const CLUSTER_PORT = 8285;

export interface ServeOptions {
  /** Our own in the overlay. */
  readonly address: Ipv4;
  readonly key: KeyObject;
  /** The public key of the member at that overlay address; undefined: nobody's, or it has none. */
  readonly keyOf: (address: Ipv4) => string | undefined;
  readonly summary: () => Promise<Summary>;
  /** What another member says, for one that cannot reach it; undefined: nothing. */
  readonly relay: (subnet: string) => Promise<Summary | undefined>;
  /** Probes a member now. */
  readonly probe: (subnet: string) => Promise<PeerView | undefined>;
  readonly log: Logger;
}

/** How long a challenge may be answered. */
const CHALLENGE_MS = 30_000;
/** Orders to probe or to relay, of all members together: each costs more than it takes to give it. */
const ORDERS_A_SECOND = 10;
/** The device may be made anew, and its address with it. */
const RETRY_MS = 5000;

/**
 * Answers other members, and nobody else:
 *
 *     GET /challenge                     a text that is good for half a minute and that address
 *     GET /summary/<text>/<mac>          how we see the others
 *     GET /probe/<subnet>/<text>/<mac>   the same of one of them, asked now (the subnet as in its key: 10.240.26.0-24)
 *     GET /relay/<subnet>/<text>/<mac>   the summary of another member
 *
 * The MAC is of the path before it, over the secret that we share with the member of that address.
 */
export function serveMembers(options: ServeOptions): { close(): void } {
  const { address, log } = options;
  const seed = randomBytes(32);
  const orders = createOrders();
  const limit = createRepeatLimit();
  const http = createHttpServer(answer);
  let timer: NodeJS.Timeout | undefined;

  http.server.on('error', (error) => {
    limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'other nodes cannot ask this one'));
    if (!http.server.listening) timer = setTimeout(listen, RETRY_MS).unref();
  });
  function listen(): void {
    http.server.listen(CLUSTER_PORT, formatIpv4(address));
  }
  listen();

  const challengeOf = (from: string, at: number) => macOf(seed, `${from} ${Math.floor(at / CHALLENGE_MS)}`);

  /** Undefined: no answer at all. */
  async function answer({ method, path }: HttpRequest, from: string | undefined): Promise<HttpAnswer | undefined> {
    const asker = from === undefined ? undefined : parseIpv4(from);
    const publicKey = asker === undefined ? undefined : options.keyOf(asker);
    const secret = publicKey === undefined ? undefined : secretWith(options.key, publicKey);
    if (method !== 'GET' || from === undefined || secret === undefined) return undefined;
    if (path === '/challenge') return jsonAnswer(200, { challenge: challengeOf(from, Date.now()) });
    const [question, challenge, mac] = partsOf(path);
    const now = Date.now();
    const isFresh = [now, now - CHALLENGE_MS].some((at) => challengeOf(from, at) === challenge);
    if (!isFresh || !isMacOf(secret, `${question}/${challenge}`, mac)) return undefined;
    if (question === '/summary') return jsonAnswer(200, await options.summary());
    const [, order, key = ''] = question.split('/');
    if (order !== 'probe' && order !== 'relay') return jsonAnswer(404, { error: 'no such question' });
    if (!orders.take()) return jsonAnswer(429, { error: 'asked too often' });
    const told = await options[order](key.replace('-', '/'));
    return told === undefined ? jsonAnswer(404, { error: 'nothing is known of that member' }) : jsonAnswer(200, told);
  }

  return {
    close() {
      clearTimeout(timer);
      http.close();
    },
  };
}

/** `/a/b/<challenge>/<mac>` */
function partsOf(path: string): [question: string, challenge: string, mac: string] {
  const parts = path.split('/');
  const mac = parts.pop() ?? '';
  const challenge = parts.pop() ?? '';
  return [parts.join('/'), challenge, mac];
}

/** A bucket that holds as many as are allowed in a second. */
function createOrders(): { take(): boolean } {
  let left = ORDERS_A_SECOND;
  let filledAt = performance.now();
  return {
    take() {
      const now = performance.now();
      left = Math.min(ORDERS_A_SECOND, left + ((now - filledAt) / 1000) * ORDERS_A_SECOND);
      filledAt = now;
      if (left < 1) return false;
      left--;
      return true;
    },
  };
}
