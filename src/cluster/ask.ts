import { type KeyObject, randomBytes } from 'node:crypto';
import { Agent, type IncomingMessage, request } from 'node:http';
import { messageOf } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { isMacOf, macOf, secretWith } from './identity.js';
import { CLUSTER_PORT, MAC_HEADER } from './serve.js';

/** A node at the other end of the overlay answers in milliseconds; one that does not shall not keep the others waiting. */
const TIMEOUT_MS = 2000;
/** What a node says of each other one has some 150 bytes. An answer has no more than these for each that we know... */
const MOST_BYTES_EACH = 512;
/** ... and a few that it knows beside them. */
const MOST_BYTES = 64 * 1024;

export interface Asker {
  /** Our own address in the overlay, by which members know us. */
  readonly address: Ipv4;
  readonly key: KeyObject;
  /** How many nodes we know: there is so much to be said. */
  readonly nodes: number;
  /** Nodes have their addresses in the overlay by bridges, which may not be there. */
  readonly isAtBridge: boolean;
}

export interface Asked {
  readonly address: Ipv4;
  /** Undefined: it takes no questions. */
  readonly publicKey: string | undefined;
}

/** @param question `/summary` or `/probe/<subnet>` @throws Error with the reason, in words */
export async function ask(asker: Asker, { address, publicKey }: Asked, question: string): Promise<unknown> {
  const secret = publicKey === undefined ? undefined : secretWith(asker.key, publicKey);
  if (secret === undefined) throw new Error(NO_KEY);
  const [from, to] = [asker.address, address].map(formatIpv4);
  // The challenge is of the connection that it was given on.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const mostBytes = MOST_BYTES + MOST_BYTES_EACH * asker.nodes;
  const way = { host: to, localAddress: from, agent, mostBytes, isAtBridge: asker.isAtBridge };
  try {
    const challenge = challengeIn(await fetchText(way, '/challenge'));
    // By ours an answer is known to be one to this question, and not to an earlier one.
    const asked = `${question}/${randomBytes(16).toString('base64url')}/${challenge}`;
    const mac = macOf(secret, { is: 'question', from, to, about: asked });
    const told = await fetchText(way, `${asked}/${mac}`);
    const answer = { is: 'answer', from: to, to: from, about: `${asked} ${told.code}`, body: told.body } as const;
    if (!isMacOf(secret, answer, told.mac)) throw new Error(NOT_THAT_NODE);
    if (told.code !== 200) throw new Error(`it answered ${told.code}`);
    return parse(told.body);
  } finally {
    agent.destroy();
  }
}

export const NO_ANSWER = 'no answer';
export const NO_KEY = 'it takes no questions: its lease has no key for them';
const NOT_THAT_NODE = `what answers there is not that node: is TCP port ${CLUSTER_PORT} of its overlay address taken by another program?`;
export const NO_SENSE = 'its answer makes no sense: does it run another version?';

function challengeIn({ code, body }: Told): string {
  try {
    const { challenge } = JSON.parse(body.toString());
    if (code === 200 && typeof challenge === 'string' && /^[\w-]{1,64}$/.test(challenge)) return challenge;
  } catch {
    // No JSON, or null.
  }
  throw new Error(NOT_THAT_NODE);
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new Error(NO_SENSE);
  }
}

interface Way {
  readonly host: string;
  readonly localAddress: string;
  readonly agent: Agent;
  readonly mostBytes: number;
  readonly isAtBridge: boolean;
}

interface Told {
  readonly code: number;
  readonly mac: string;
  readonly body: Buffer;
}

/** Whoever answers may answer anything: it comes to an end, in time, and not by a throw that nobody catches. */
function fetchText({ mostBytes, isAtBridge, ...way }: Way, path: string): Promise<Told> {
  const by = isAtBridge ? ', the address of a bridge of containers: is there one' : '';
  const noAnswer = isAtBridge ? `no answer from ${way.host}${by} there?` : NO_ANSWER;
  const wordsOf = (error: NodeJS.ErrnoException) =>
    error.code === 'EADDRNOTAVAIL'
      ? new Error(`this host has not ${way.localAddress}, by which nodes know who asks${by} here?`)
      : explain(error);
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error(noAnswer)), { once: true });
    const asking = request({ ...way, port: CLUSTER_PORT, path, signal }, (response) => {
      const { statusCode: code = 0, headers } = response;
      bytesOf(response, mostBytes).then(
        (body) => resolve({ code, mac: String(headers[MAC_HEADER] ?? ''), body }),
        (error) => reject(wordsOf(error)),
      );
    });
    // Else such an answer is neither one nor an error.
    asking.on('upgrade', (_response, socket) => {
      socket.destroy();
      reject(new Error(NOT_THAT_NODE));
    });
    asking.on('error', (error) => reject(wordsOf(error)));
    asking.end();
  });
}

async function bytesOf(response: IncomingMessage, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > most) throw new Error('its answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function explain(error: NodeJS.ErrnoException): Error {
  if (error.code === 'ECONNREFUSED') return new Error('no rudder answers there: is it running, and of this version?');
  if (error.code === 'ECONNRESET') return new Error('it does not take us for a member');
  if (error.code === 'EHOSTUNREACH' || error.code === 'ENETUNREACH') return new Error('no route to it');
  if (error.code?.startsWith('HPE_')) return new Error(NOT_THAT_NODE);
  return new Error(messageOf(error));
}
