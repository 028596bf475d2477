import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';

/** Keys of X25519: 32 bytes in messages, base64 in leases and files, and KeyObjects where they are worked with, which OpenSSL wipes. */
export const KEY_BYTES = 32;

/** What comes before the 32 bytes of a private key in PKCS #8 (RFC 8410, 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** A node's own key pair. */
export interface Identity {
  readonly privateKey: KeyObject;
  readonly publicKey: Buffer;
}

/** The bytes are copied; whoever gave them wipes theirs. */
export function identityOf(privateBytes: Uint8Array): Identity {
  const der = Buffer.concat([PKCS8_PREFIX, privateBytes]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  return { privateKey, publicKey: bytesOf(createPublicKey(privateKey)) };
}

/** Not of random bytes: to make a key of its bytes takes eight times as long. */
export function generateIdentity(): Identity {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  return { privateKey, publicKey: bytesOf(publicKey) };
}

const bytesOf = (publicKey: KeyObject) => Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');

/** By JWK: reading DER takes ten times as long. */
export function publicKeyFrom(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
}

/** As `wg` and flannel write a key of any kind: 44 characters, one way of writing each. Undefined: it is none. */
export function parseKeyText(text: unknown): Buffer | undefined {
  if (typeof text !== 'string' || text.length !== 44) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === KEY_BYTES && bytes.toString('base64') === text ? bytes : undefined;
}

/** To be wiped by who has asked for them. */
export function privateKeyBytes({ privateKey }: Identity): Buffer {
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  const bytes = Buffer.alloc(KEY_BYTES);
  der.copy(bytes, 0, der.length - KEY_BYTES);
  der.fill(0);
  return bytes;
}

/** What `wg pubkey` reads: for the file alone, since a text cannot be wiped. */
export function privateKeyText(identity: Identity): string {
  const bytes = privateKeyBytes(identity);
  const text = bytes.toString('base64');
  bytes.fill(0);
  return text;
}

/**
 * Points by which every secret comes out as zero (RFC 7748, 6.1; the list of libsodium), the highest bit of each cleared: no
 * node has made one of these.
 */
const LOW_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

export function isLowOrder(publicKey: Uint8Array): boolean {
  const canonical = Buffer.from(publicKey);
  canonical[31] &= 0x7f;
  return LOW_ORDER.has(canonical.toString('hex'));
}
