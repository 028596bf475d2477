import { createHmac, createPublicKey, diffieHellman, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * How a node shows that a question is its own: an address alone shows nothing, since a container that its host masquerades
 * has the host's. Two nodes share a secret (X25519, from the one's private key and the other's public key, which stands in
 * its lease), and the asker puts a MAC of the question over it.
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

export function macOf(secret: Buffer, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url');
}

export function isMacOf(secret: Buffer, text: string, mac: string): boolean {
  const [right, given] = [Buffer.from(macOf(secret, text)), Buffer.from(mac)];
  return right.length === given.length && timingSafeEqual(right, given);
}
