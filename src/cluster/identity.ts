import { createHmac, createPublicKey, diffieHellman, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * How a node shows that a question or an answer is its own: an address alone shows nothing, since a container that its host
 * masquerades has the host's, and any process may take the port of a daemon that does not run. Two nodes share a secret
 * (X25519, from the one's private key and the other's public key, which stands in its lease), and put MACs over it.
 */

/** As it stands in a lease. */
export function publicKeyOf(key: KeyObject): string {
  return createPublicKey(key).export({ format: 'jwk' }).x!;
}

/** Undefined: that text is no key. */
export function secretWith(own: KeyObject, publicKey: string): Buffer | undefined {
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: publicKey }, format: 'jwk' });
    return diffieHellman({ privateKey: own, publicKey: key });
  } catch {
    // Of another length, or a point that leaves no secret.
    return undefined;
  }
}

/** What is said, by whom and to whom: both ends have the same secret, and nobody's words shall come back to him as the other's. */
export interface Saying {
  readonly is: 'question' | 'answer';
  /** Overlay addresses. */
  readonly from: string;
  readonly to: string;
  /** The question with both random texts, without spaces; in an answer the status as well. */
  readonly about: string;
  readonly body?: Buffer;
}

export function macOf(secret: Buffer, { is, from, to, about, body }: Saying): string {
  const hmac = createHmac('sha256', secret).update(`${is} ${from} ${to} ${about}\n`);
  if (body !== undefined) hmac.update(body);
  return hmac.digest('base64url');
}

export function isMacOf(secret: Buffer, saying: Saying, mac: string): boolean {
  const [right, given] = [Buffer.from(macOf(secret, saying)), Buffer.from(mac)];
  return right.length === given.length && timingSafeEqual(right, given);
}
