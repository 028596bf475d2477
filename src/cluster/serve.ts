import { type KeyObject, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { parseIpv4 } from '../core/address-text.js';
import { errnoOf, messageOf } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { type HttpAnswer, type HttpRequest, jsonAnswer } from '../ops/http-request.js';
import { createHttpServer } from '../ops/http-server.js';
import { isMacOf, macOf, secretWith } from './identity.js';
import type { Curves, PeerView, Summary } from './summary.js';

/** On the overlay address alone: nothing listens on the underlay. */
export const CLUSTER_PORT = 8285;
/** Of an answer. */
export const MAC_HEADER = 'rudder-mac';

export interface ServeOptions {
  /** Our own in the overlay. */
  readonly address: Ipv4;
  /** A bridge's, which this host may not have yet, or lose and have again: a socket at it outlives that. */
  readonly isAtBridge: boolean;
  /** Resolves when the firewall has been told who may come to the port, where rules are kept: not before is it listened on. */
  readonly guarded: Promise<void>;
  readonly key: KeyObject;
  /** The public key of the member at that overlay address; undefined: nobody's, or it has none. */
  readonly keyOf: (address: Ipv4) => string | undefined;
  readonly summary: () => Promise<Summary>;
  /** What another member says, for one that cannot reach it; undefined: nothing. */
  readonly relay: (subnet: string) => Promise<Summary | undefined>;
  /** Probes a member now. */
  readonly probe: (subnet: string) => Promise<PeerView | undefined>;
  readonly history: () => Curves;
  readonly log: Logger;
}

/** Orders to probe, to relay or to tell the past, of all members together: each costs more than it takes to give it. */
const ORDERS_A_SECOND = 10;
/** How long one summary serves all who ask: the more peers there are, the more it costs. */
const SHARED_MS = 500;
/** The device may be made anew, or a bridge come, and the address with it. */
const RETRY_MS = 5000;

/**
 * Answers other members, and nobody else, in two steps on one connection:
 *
 *     GET /challenge                             a random text, good for one question on this connection
 *     GET /summary/<nonce>/<text>/<mac>          how we see the others
 *     GET /probe/<subnet>/<nonce>/<text>/<mac>   the same of one of them, asked now (the subnet as in its key: 10.240.26.0-24)
 *     GET /relay/<subnet>/<nonce>/<text>/<mac>   the summary of another member
 *     GET /history/<nonce>/<text>/<mac>          what has flowed here in the last hours
 *
 * The MAC is of the path before it, over the secret that we share with the member of that address. The answer has one too
 * (`rudder-mac`), of the same path, its status and its body.
 */
export function serveMembers(options: ServeOptions): { close(): void } {
  const { address, isAtBridge, log } = options;
  const own = formatIpv4(address);
  const orders = createOrders();
  const limit = createRepeatLimit();
  const challenges = new WeakMap<Socket, string>();
  const http = createHttpServer(answer, { admits: (from) => keyAt(from) !== undefined, isSilent: true });
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let shared: { readonly at: number; readonly answer: Promise<HttpAnswer> } | undefined;

  http.server.on('error', (error) => {
    const isExpected = isAtBridge && errnoOf(error) === 'EADDRNOTAVAIL';
    const level = isExpected ? 'debug' : 'warn';
    limit((suppressed) => log[level]({ reason: messageOf(error), suppressed }, 'other nodes cannot ask this one'));
    if (!http.server.listening) timer = setTimeout(listen, RETRY_MS).unref();
  });
  function listen(): void {
    if (!isClosed) http.server.listen(CLUSTER_PORT, own);
  }
  void options.guarded.then(listen);

  function keyAt(from: string | undefined): string | undefined {
    const asker = from === undefined ? undefined : parseIpv4(from);
    return asker === undefined ? undefined : options.keyOf(asker);
  }

  /** Undefined: no answer at all. */
  async function answer({ method, path }: HttpRequest, socket: Socket): Promise<HttpAnswer | undefined> {
    const from = socket.remoteAddress;
    const publicKey = keyAt(from);
    const secret = publicKey === undefined ? undefined : secretWith(options.key, publicKey);
    if (method !== 'GET' || from === undefined || secret === undefined) return undefined;
    if (path === '/challenge') {
      const challenge = randomBytes(32).toString('base64url');
      challenges.set(socket, challenge);
      return jsonAnswer(200, { challenge });
    }
    const [question, about, challenge, mac] = partsOf(path);
    const isFresh = challenges.get(socket) === challenge;
    challenges.delete(socket);
    if (!isFresh || !isMacOf(secret, { is: 'question', from, to: own, about }, mac)) return undefined;
    const told = await tell(question);
    const said = { is: 'answer', from: own, to: from, about: `${about} ${told.code}`, body: told.body } as const;
    return { ...told, headers: { [MAC_HEADER]: macOf(secret, said) } };
  }

  async function tell(question: string): Promise<HttpAnswer> {
    if (question === '/summary') return summaryNow();
    const [, order, key = ''] = question.split('/');
    if (order !== 'history' && order !== 'probe' && order !== 'relay')
      return jsonAnswer(404, { error: 'no such question' });
    if (!orders.take()) return jsonAnswer(429, { error: 'asked too often' });
    if (order === 'history') return jsonAnswer(200, options.history());
    const told = await options[order](key.replace('-', '/'));
    // Who has ordered a probe asks for the summary to see what came of it.
    if (order === 'probe') shared = undefined;
    return told === undefined ? jsonAnswer(404, { error: 'nothing is known of that member' }) : jsonAnswer(200, told);
  }

  function summaryNow(): Promise<HttpAnswer> {
    const now = performance.now();
    if (shared === undefined || now - shared.at >= SHARED_MS) {
      shared = { at: now, answer: options.summary().then((summary) => jsonAnswer(200, summary)) };
    }
    return shared.answer;
  }

  return {
    close() {
      isClosed = true;
      clearTimeout(timer);
      http.close();
    },
  };
}

/** `/a/b/<nonce>/<challenge>/<mac>`. @returns the question, and what the MAC is of */
function partsOf(path: string): [question: string, about: string, challenge: string, mac: string] {
  const parts = path.split('/');
  const mac = parts.pop() ?? '';
  const about = parts.join('/');
  const challenge = parts.pop() ?? '';
  parts.pop();
  return [parts.join('/'), about, challenge, mac];
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
