import type { KeyObject } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { messageOf } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { macOf, secretWith } from './identity.js';
import { CLUSTER_PORT } from './serve.js';

/** A node at the other end of the overlay answers in milliseconds; one that does not shall not keep the others waiting. */
const TIMEOUT_MS = 2000;
/** The summary of a node with 4,000 peers has half a megabyte. */
const MOST_BYTES = 16 * 1024 * 1024;

export interface Asker {
  /** Our own address in the overlay, by which members know us. */
  readonly address: Ipv4;
  readonly key: KeyObject;
}

export interface Asked {
  readonly address: Ipv4;
  /** Undefined: it takes no questions. */
  readonly publicKey: string | undefined;
}

/** @param question `/summary` or `/probe/<subnet>` @throws Error with the reason, in words */
export async function ask(asker: Asker, { address, publicKey }: Asked, question: string): Promise<unknown> {
  const secret = publicKey === undefined ? undefined : secretWith(asker.key, publicKey);
  if (secret === undefined) throw new Error('it takes no questions: its lease has no key for them');
  const get = (path: string) => fetchJson(formatIpv4(asker.address), formatIpv4(address), path);
  const { challenge } = (await get('/challenge')) as { challenge?: unknown };
  if (typeof challenge !== 'string' || !/^[\w-]{1,64}$/.test(challenge)) throw new Error('what answers is no rudder');
  return get(`${question}/${challenge}/${macOf(secret, `${question}/${challenge}`)}`);
}

function fetchJson(localAddress: string, host: string, path: string): Promise<unknown> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    const asking = request({ host, port: CLUSTER_PORT, path, localAddress, agent: false, signal }, (response) => {
      textOf(response).then((text) => {
        if (response.statusCode !== 200) return reject(new Error(`it answered ${response.statusCode}`));
        resolve(JSON.parse(text));
      }, reject);
    });
    asking.on('error', (error) => reject(signal.aborted ? new Error('no answer') : wordsOf(error)));
    asking.end();
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MOST_BYTES) throw new Error('its answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function wordsOf(error: NodeJS.ErrnoException): Error {
  if (error.code === 'ECONNREFUSED') return new Error('no rudder answers there: is it running, and of this version?');
  if (error.code === 'ECONNRESET') return new Error('it does not take us for a member');
  if (error.code === 'EHOSTUNREACH' || error.code === 'ENETUNREACH') return new Error('no route to it');
  return new Error(messageOf(error));
}
