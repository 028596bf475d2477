import type { Identity } from './keys.js';
import { createMessage, fieldOf, INITIATION, initiation, RESPONSE, response } from './messages.js';
import { dh, hash, kdf, open, seal } from './primitives.js';

/**
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard has it: one message each way, and both ends have the keys of a session.
 *
 *     initiator                                              responder
 *     createInitiation  -- e, s, timestamp -->               readInitiation, then readTimestamp: who it is, and when
 *     readResponse      <-- e, nothing, by the psk too --    createResponse
 *
 * Messages and random keys come from outside; macs are put in and looked at by cookie.ts. What a step needs of the one before
 * is secret, and wiped by the step that uses it up.
 */

const CONSTRUCTION = Buffer.from('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
const IDENTIFIER = Buffer.from('WireGuard v1 zx2c4 Jason@zx2c4.com');
const FIRST_CHAIN = hash(CONSTRUCTION);
const FIRST_HASH = hash(FIRST_CHAIN, IDENTIFIER);
const NOTHING = Buffer.alloc(0);

/** The other end, as this one knows it. */
export interface Remote {
  readonly publicKey: Buffer;
  /** DH of both static keys, the same for all handshakes; undefined: that key is none. */
  readonly staticSecret: () => Buffer | undefined;
  /** 32 bytes; zero if there is none. */
  readonly presharedKey: Buffer;
}

/** Of a session: wiped by whoever has put them where they belong. */
export interface SessionKeys {
  readonly send: Buffer;
  readonly receive: Buffer;
}

/** What an initiator keeps until the response. */
export interface Initiated {
  readonly ephemeral: Identity;
  readonly chain: Buffer;
  readonly hash: Buffer;
}

/** Undefined: the other's static key is none. */
export function createInitiation(
  own: Identity,
  remote: Remote,
  { ephemeral, timestamp, index }: { ephemeral: Identity; timestamp: Buffer; index: number },
): { message: Buffer; state: Initiated } | undefined {
  const message = createMessage(INITIATION, initiation.size);
  message.writeInt32LE(index, initiation.sender);
  ephemeral.publicKey.copy(message, initiation.ephemeral[0]);
  const fixed = remote.staticSecret();
  if (fixed === undefined) return undefined;
  const shared = dh(ephemeral.privateKey, remote.publicKey);
  if (shared === undefined) return undefined;
  const noise = begin(remote.publicKey, ephemeral.publicKey);
  sealInto(message, initiation.static, noise, mixSecret(noise, shared), own.publicKey);
  const [chain, key] = kdf(noise.chain, fixed, 2);
  replaceChain(noise, chain);
  sealInto(message, initiation.timestamp, noise, key, timestamp);
  return { message, state: { ephemeral, ...noise } };
}

/** An initiation whose sender has shown that it knows our key, and says who it is: what readTimestamp goes on with. */
export interface Introduced {
  readonly publicKey: Buffer;
  readonly chain: Buffer;
  readonly hash: Buffer;
}

/** Undefined: nobody has made it for us. */
export function readInitiation(own: Identity, message: Buffer): Introduced | undefined {
  const ephemeral = fieldOf(message, initiation.ephemeral);
  const shared = dh(own.privateKey, ephemeral);
  if (shared === undefined) return undefined;
  const noise = begin(own.publicKey, ephemeral);
  const publicKey = openFrom(message, initiation.static, noise, mixSecret(noise, shared));
  return publicKey && { publicKey, ...noise };
}

/** An initiation that the peer itself has made: what createResponse answers. */
export interface Asked {
  readonly timestamp: Buffer;
  readonly index: number;
  readonly ephemeral: Buffer;
  readonly chain: Buffer;
  readonly hash: Buffer;
}

/** Undefined: it is not of that peer. */
export function readTimestamp(introduced: Introduced, remote: Remote, message: Buffer): Asked | undefined {
  const noise = { chain: introduced.chain, hash: introduced.hash };
  const fixed = remote.staticSecret();
  if (fixed === undefined) return undefined;
  const [chain, key] = kdf(noise.chain, fixed, 2);
  replaceChain(noise, chain);
  const timestamp = openFrom(message, initiation.timestamp, noise, key);
  if (timestamp === undefined) return undefined;
  const ephemeral = Buffer.from(fieldOf(message, initiation.ephemeral));
  return { timestamp, index: message.readInt32LE(initiation.sender), ephemeral, ...noise };
}

/** Undefined: its ephemeral key is none. */
export function createResponse(
  asked: Asked,
  remote: Remote,
  { ephemeral, index }: { ephemeral: Identity; index: number },
): { message: Buffer; keys: SessionKeys } | undefined {
  const message = createMessage(RESPONSE, response.size);
  message.writeInt32LE(index, response.sender);
  message.writeInt32LE(asked.index, response.receiver);
  ephemeral.publicKey.copy(message, response.ephemeral[0]);
  const secrets = [dh(ephemeral.privateKey, asked.ephemeral), dh(ephemeral.privateKey, remote.publicKey)];
  const noise = { chain: asked.chain, hash: asked.hash };
  const key = mixResponse(noise, ephemeral.publicKey, secrets, remote.presharedKey);
  if (key === undefined) return undefined;
  sealInto(message, response.empty, noise, key, NOTHING);
  const [receive, send] = sessionKeysOf(noise.chain);
  return { message, keys: { send, receive } };
}

/** Undefined: it is no answer to that initiation. The initiation stays as it is then: the true answer may still come. */
export function readResponse(
  own: Identity,
  remote: Remote,
  state: Initiated,
  message: Buffer,
): { index: number; keys: SessionKeys } | undefined {
  const ephemeral = fieldOf(message, response.ephemeral);
  const secrets = [dh(state.ephemeral.privateKey, ephemeral), dh(own.privateKey, ephemeral)];
  const noise = { chain: Buffer.from(state.chain), hash: state.hash };
  const key = mixResponse(noise, ephemeral, secrets, remote.presharedKey);
  if (key === undefined) return undefined;
  if (openFrom(message, response.empty, noise, key) === undefined) {
    noise.chain.fill(0);
    return undefined;
  }
  const [send, receive] = sessionKeysOf(noise.chain);
  return { index: message.readInt32LE(response.sender), keys: { send, receive } };
}

export function wipeInitiated({ chain }: Initiated): void {
  chain.fill(0);
}

/** The symmetric state of Noise: what has been said so far, and the secret that it has led to. */
interface Noise {
  chain: Buffer;
  hash: Buffer;
}

function begin(responderKey: Uint8Array, ephemeral: Uint8Array): Noise {
  const [chain] = kdf(FIRST_CHAIN, ephemeral, 1);
  return { chain, hash: hash(hash(FIRST_HASH, responderKey), ephemeral) };
}

/** @returns the key to seal by */
function mixSecret(noise: Noise, secret: Buffer): Buffer {
  const [chain, key] = kdf(noise.chain, secret, 2);
  secret.fill(0);
  replaceChain(noise, chain);
  return key;
}

/** What both ends mix for the response: its ephemeral key, two secrets, and the preshared key. */
function mixResponse(
  noise: Noise,
  ephemeral: Uint8Array,
  secrets: readonly (Buffer | undefined)[],
  presharedKey: Buffer,
): Buffer | undefined {
  if (secrets.includes(undefined)) return undefined;
  noise.hash = hash(noise.hash, ephemeral);
  replaceChain(noise, kdf(noise.chain, ephemeral, 1)[0]);
  for (const secret of secrets) {
    replaceChain(noise, kdf(noise.chain, secret!, 1)[0]);
    secret!.fill(0);
  }
  const [chain, mixed, key] = kdf(noise.chain, presharedKey, 3);
  replaceChain(noise, chain);
  noise.hash = hash(noise.hash, mixed);
  mixed.fill(0);
  return key;
}

function replaceChain(noise: Noise, chain: Buffer): void {
  noise.chain.fill(0);
  noise.chain = chain;
}

function sealInto(message: Buffer, field: readonly [number, number], noise: Noise, key: Buffer, text: Buffer): void {
  const sealed = seal(key, text, noise.hash);
  key.fill(0);
  sealed.copy(message, field[0]);
  noise.hash = hash(noise.hash, sealed);
}

function openFrom(message: Buffer, field: readonly [number, number], noise: Noise, key: Buffer): Buffer | undefined {
  const sealed = fieldOf(message, field);
  const text = open(key, sealed, noise.hash);
  key.fill(0);
  noise.hash = hash(noise.hash, sealed);
  return text;
}

/** The first is the initiator's to send by. */
function sessionKeysOf(chain: Buffer): [Buffer, Buffer] {
  const [first, second] = kdf(chain, NOTHING, 2);
  chain.fill(0);
  return [first, second];
}
