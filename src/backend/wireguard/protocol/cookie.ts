import { timingSafeEqual } from 'node:crypto';
import { COOKIE_REPLY, cookieReply, createMessage, fieldOf, MAC_BYTES } from './messages.js';
import { hash, mac16, openX, sealX } from './primitives.js';
import type { Timing } from './timing.js';

/**
 * What keeps a node from working for everybody: mac1 shows that the sender knows our public key, and under load mac2 that it
 * has the address that it writes, by a cookie that was sent there.
 */

const LABEL_MAC1 = Buffer.from('mac1----');
const LABEL_COOKIE = Buffer.from('cookie--');
const NONCE_BYTES = 24;
const SECRET_BYTES = 32;

export interface CookieSources {
  readonly timing: Timing;
  readonly now: () => number;
  readonly random: (size: number) => Buffer;
}

/** Where a message came from: in four bytes, and its port. */
export interface Source {
  readonly address: number;
  readonly port: number;
}

const mac1Of = (message: Buffer) => message.subarray(-2 * MAC_BYTES, -MAC_BYTES);
const mac2Of = (message: Buffer) => message.subarray(-MAC_BYTES);
const beforeMac1 = (message: Buffer) => message.subarray(0, -2 * MAC_BYTES);
const beforeMac2 = (message: Buffer) => message.subarray(0, -MAC_BYTES);

/** By which messages for the node with that key carry their mac1. */
export const mac1KeyOf = (publicKey: Buffer): Buffer => hash(LABEL_MAC1, publicKey);

/** Of messages that come to us. @param publicKey our own */
export function createCookieChecker(publicKey: Buffer, { timing, now, random }: CookieSources) {
  const mac1Key = mac1KeyOf(publicKey);
  const cookieKey = hash(LABEL_COOKIE, publicKey);
  let secret = random(SECRET_BYTES);
  let madeAt = now();

  function cookieFor({ address, port }: Source): Uint8Array {
    const bytes = Buffer.alloc(6);
    bytes.writeInt32BE(address | 0, 0);
    bytes.writeUInt16BE(port, 4);
    return mac16(secret, bytes);
  }

  return {
    hasMac1: (message: Buffer) => timingSafeEqual(mac1Of(message), mac16(mac1Key, beforeMac1(message))),
    hasMac2(message: Buffer, source: Source): boolean {
      if (now() - madeAt >= timing.cookieMs) return false;
      return timingSafeEqual(mac2Of(message), mac16(cookieFor(source), beforeMac2(message)));
    },
    /** @param index the sender's, by which it knows which message is meant */
    reply(message: Buffer, index: number, source: Source): Buffer {
      if (now() - madeAt >= timing.cookieMs) {
        secret.fill(0);
        secret = random(SECRET_BYTES);
        madeAt = now();
      }
      const reply = createMessage(COOKIE_REPLY, cookieReply.size);
      reply.writeInt32LE(index, cookieReply.receiver);
      const nonce = random(NONCE_BYTES);
      nonce.copy(reply, cookieReply.nonce[0]);
      reply.set(sealX(cookieKey, nonce, cookieFor(source), mac1Of(message)), cookieReply.cookie[0]);
      return reply;
    },
  };
}

export type CookieChecker = ReturnType<typeof createCookieChecker>;

/** Of messages that go to one peer. @param publicKey the peer's */
export function createCookieHolder(publicKey: Buffer, { timing, now }: Pick<CookieSources, 'timing' | 'now'>) {
  const mac1Key = mac1KeyOf(publicKey);
  const cookieKey = hash(LABEL_COOKIE, publicKey);
  let cookie: { readonly value: Uint8Array; readonly takenAt: number } | undefined;
  let lastMac1: Buffer | undefined;

  return {
    /** Puts both macs into a message that is complete but for them. */
    sign(message: Buffer): void {
      mac1Of(message).set(mac16(mac1Key, beforeMac1(message)));
      lastMac1 = Buffer.from(mac1Of(message));
      if (cookie === undefined || now() - cookie.takenAt >= timing.cookieHeldMs) return;
      mac2Of(message).set(mac16(cookie.value, beforeMac2(message)));
    },
    /** @returns whether it was the answer to what was signed last */
    take(reply: Buffer): boolean {
      if (lastMac1 === undefined) return false;
      const value = openX(cookieKey, fieldOf(reply, cookieReply.nonce), fieldOf(reply, cookieReply.cookie), lastMac1);
      if (value === undefined) return false;
      cookie = { value, takenAt: now() };
      // One message, one cookie: who repeats an old reply cannot put an old cookie in the place of a new one.
      lastMac1 = undefined;
      return true;
    },
  };
}

export type CookieHolder = ReturnType<typeof createCookieHolder>;
