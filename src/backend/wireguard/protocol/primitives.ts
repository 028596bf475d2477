import { createCipheriv, createDecipheriv, createHash, createHmac, diffieHellman, type KeyObject } from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake2s } from '@noble/hashes/blake2.js';
import { publicKeyFrom } from './keys.js';

/** The primitives by the names of the WireGuard paper (5.4): OpenSSL's where it has them, else those of @noble. */

export const TAG_BYTES = 16;

const ZERO_NONCE = Buffer.alloc(12);
const AEAD = 'chacha20-poly1305';
const TAG = { authTagLength: TAG_BYTES } as const;

export function hash(...parts: readonly Uint8Array[]): Buffer {
  const state = createHash('blake2s256');
  for (const part of parts) state.update(part);
  return state.digest();
}

/** Keyed BLAKE2s of 16 bytes, which OpenSSL does not offer. */
export function mac16(key: Uint8Array, message: Uint8Array): Uint8Array {
  return blake2s(message, { key, dkLen: 16 });
}

/** KDF_n: as many values as there are to take. */
export function kdf(key: Uint8Array, input: Uint8Array, count: number): Buffer[] {
  const secret = hmac(key, input);
  const values: Buffer[] = [];
  for (let i = 1; i <= count; i++) values.push(hmac(secret, ...values.slice(-1), Uint8Array.of(i)));
  secret.fill(0);
  return values;
}

function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const state = createHmac('blake2s256', key);
  for (const part of parts) state.update(part);
  return state.digest();
}

/** The plaintext sealed, and its tag. @param nonce 12 bytes: zero in handshakes, whose keys seal one text each */
export function seal(key: Uint8Array, plaintext: Uint8Array, aad: Uint8Array, nonce: Uint8Array = ZERO_NONCE): Buffer {
  const cipher = createCipheriv(AEAD, key, nonce, TAG);
  if (aad.length > 0) cipher.setAAD(aad, { plaintextLength: plaintext.length });
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined: it was not sealed by that key, or not so. */
export function open(
  key: Uint8Array,
  sealed: Uint8Array,
  aad: Uint8Array,
  nonce: Uint8Array = ZERO_NONCE,
): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv(AEAD, key, nonce, TAG);
  const length = sealed.length - TAG_BYTES;
  if (aad.length > 0) decipher.setAAD(aad, { plaintextLength: length });
  decipher.setAuthTag(sealed.subarray(length));
  const plaintext = decipher.update(sealed.subarray(0, length));
  try {
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}

/** XChaCha20-Poly1305, for cookies, which OpenSSL does not offer. @param nonce 24 bytes, random */
export function sealX(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  return xchacha20poly1305(key, nonce, aad).encrypt(plaintext);
}

export function openX(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array | undefined {
  try {
    return xchacha20poly1305(key, nonce, aad).decrypt(sealed);
  } catch {
    return undefined;
  }
}

/** Undefined: the other's key is one that makes every secret zero. */
export function dh(privateKey: KeyObject, publicKey: Uint8Array): Buffer | undefined {
  try {
    return diffieHellman({ privateKey, publicKey: publicKeyFrom(publicKey) });
  } catch {
    return undefined;
  }
}
