import { createCookieChecker } from './cookie.js';
import {
  afterConfirming,
  afterInitiating,
  afterResponding,
  type KeySlots,
  keysIn,
  NO_KEYS,
  type SessionKey,
  withoutExpired,
} from './key-slots.js';
import { generateIdentity, type Identity } from './keys.js';
import {
  COOKIE_REPLY,
  cookieReply,
  handshakeTypeOf,
  INITIATION,
  initiation,
  type RESPONSE,
  response,
} from './messages.js';
import {
  createInitiation,
  createResponse,
  readInitiation,
  readResponse,
  readTimestamp,
  type SessionKeys,
  wipeInitiated,
} from './noise.js';
import { createPeer, type Peer, type PeerOptions, remoteOf } from './peer.js';
import type { Activity, Endpoint, Sessions } from './sessions.js';
import { createSourceLimit } from './source-limit.js';
import type { TimestampSource } from './tai64n.js';
import {
  type Attempt,
  isExpired,
  isGivenUp,
  isKeepaliveOwed,
  isOldForReceiving,
  isOldForSending,
  isPersistentKeepaliveDue,
  isRetryDue,
  isSilent,
} from './timers.js';
import type { Timing } from './timing.js';

/** Why a message of a handshake has had no effect. */
export const REFUSALS = [
  'malformed',
  'bad mac1',
  'under load',
  'unknown peer',
  'forged',
  'replayed',
  'too often',
  'unexpected',
] as const;
export type Refusal = (typeof REFUSALS)[number];

export interface HandshakeOptions {
  readonly own: Identity;
  readonly sessions: Sessions;
  readonly timing: Timing;
  readonly timestamps: TimestampSource;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  readonly random: (size: number) => Buffer;
  readonly send: (message: Buffer, to: Endpoint) => void;
  readonly refused: (why: Refusal) => void;
}

/** What a node shows of a peer. */
export interface PeerSession {
  /** Milliseconds since the last handshake was completed; undefined: there was none. */
  readonly handshakeAgeMs: number | undefined;
  /** There is a key to send by. */
  readonly hasSession: boolean;
  /** A handshake of ours is under way, and since when. */
  readonly tryingForMs: number | undefined;
}

/**
 * Sessions with all peers: makes them by handshakes, changes their keys in time, gives up what does not answer. It knows no
 * socket, no clock and no packet of data; what it sends and what it wants of the packet path goes through `send` and `sessions`.
 */
export function createHandshakes(options: HandshakeOptions) {
  const { sessions, timing, timestamps, now, random, send } = options;
  let own = options.own;
  let checker = createCookieChecker(own.publicKey, options);
  const allows = createSourceLimit(now);
  const byKey = new Map<string, Peer>();
  const byLine = new Map<number, Peer>();
  /** By our index: of initiations without an answer, and of keys. */
  const byIndex = new Map<number, Peer>();
  /** Those that a rule of time may be due for. */
  const active = new Set<Peer>();

  function addPeer(peer: PeerOptions): number {
    const line = sessions.addPeer();
    const added = createPeer(own, peer, line, options);
    byKey.set(nameOf(peer.publicKey), added);
    byLine.set(line, added);
    if (peer.endpoint !== undefined) sessions.setEndpoint(line, peer.endpoint);
    if (peer.keepaliveMs > 0) active.add(added);
    return line;
  }

  function removePeer(line: number): void {
    const peer = byLine.get(line);
    if (peer === undefined) return;
    endAttempt(peer);
    setKeys(peer, NO_KEYS);
    byKey.delete(nameOf(peer.remote.publicKey));
    byLine.delete(line);
    active.delete(peer);
    sessions.removePeer(line);
  }

  /**
   * We are another to our peers, which will know it soon. Until they begin anew, the sessions that there are go on.
   * @returns the lines of those whom an attempt to reach was ended: packets may wait for them, and ask for nothing again
   */
  function setIdentity(next: Identity): number[] {
    const tried = [...byLine.values()].filter(({ attempt }) => attempt !== undefined).map(({ line }) => line);
    own = next;
    checker = createCookieChecker(own.publicKey, options);
    for (const peer of byLine.values()) {
      endAttempt(peer);
      peer.remote = remoteOf(own, peer.remote);
      // By our old key it has never heard of us.
      peer.initiatedAt = Number.NEGATIVE_INFINITY;
    }
    return tried;
  }

  // What comes.

  /** @param isLoaded more comes than can be answered: who asks shall show that its address is its own */
  function receive(message: Buffer, from: Endpoint, isLoaded: boolean): void {
    const problem = take(message, from, isLoaded);
    if (problem !== undefined) options.refused(problem);
  }

  function take(message: Buffer, from: Endpoint, isLoaded: boolean): Refusal | undefined {
    const type = handshakeTypeOf(message);
    if (type === undefined) return 'malformed';
    if (type === COOKIE_REPLY) return takeCookie(message);
    if (!checker.hasMac1(message)) return 'bad mac1';
    if (isLoaded && !isWelcome(type, message, from)) return 'under load';
    return type === INITIATION ? takeInitiation(message, from) : takeResponse(message, from);
  }

  function isWelcome(type: typeof INITIATION | typeof RESPONSE, message: Buffer, from: Endpoint): boolean {
    if (checker.hasMac2(message, from)) return allows(from.address);
    const index = message.readInt32LE(type === INITIATION ? initiation.sender : response.sender);
    send(checker.reply(message, index, from), from);
    return false;
  }

  function takeCookie(message: Buffer): Refusal | undefined {
    const peer = byIndex.get(message.readInt32LE(cookieReply.receiver));
    if (peer === undefined) return 'unexpected';
    return peer.cookies.take(message) ? undefined : 'forged';
  }

  function takeInitiation(message: Buffer, from: Endpoint): Refusal | undefined {
    const introduced = readInitiation(own, message);
    if (introduced === undefined) return 'forged';
    const peer = byKey.get(nameOf(introduced.publicKey));
    if (peer === undefined) return 'unknown peer';
    const asked = readTimestamp(introduced, peer.remote, message);
    if (asked === undefined) return 'forged';
    if (peer.timestamp !== undefined && asked.timestamp.compare(peer.timestamp) <= 0) return 'replayed';
    if (now() - peer.askedAt < timing.floodMs) return 'too often';
    // A peer has four places for keys: what the new one puts an end to goes first.
    setKeys(peer, { ...NO_KEYS, current: peer.keys.current });
    const index = sessions.reserve(peer.line);
    const answer = createResponse(asked, peer.remote, { ephemeral: generateIdentity(random), index });
    if (answer === undefined) {
      sessions.release(index);
      return 'forged';
    }
    peer.timestamp = asked.timestamp;
    peer.askedAt = now();
    heard(peer, from);
    const key = { index, bornAt: now(), isInitiator: false };
    install(key, asked.index, answer.keys, 'next');
    setKeys(peer, afterResponding(peer.keys, key));
    speak(peer, answer.message, from);
    return undefined;
  }

  function takeResponse(message: Buffer, from: Endpoint): Refusal | undefined {
    const peer = byIndex.get(message.readInt32LE(response.receiver));
    const attempt = peer?.attempt;
    if (peer === undefined || attempt?.index !== message.readInt32LE(response.receiver)) return 'unexpected';
    const answer = readResponse(own, peer.remote, attempt.state, message);
    if (answer === undefined) return 'forged';
    wipeInitiated(attempt.state);
    peer.attempt = undefined;
    heard(peer, from);
    const key = { index: attempt.index, bornAt: now(), isInitiator: true };
    install(key, answer.index, answer.keys, 'current');
    setKeys(peer, afterInitiating(peer.keys, key));
    completed(peer);
    // Nothing else tells the peer that we have the key.
    askForKeepalive(peer);
    return undefined;
  }

  /** The first authentic packet under that index has come. */
  function confirmed(index: number): void {
    const peer = byIndex.get(index);
    if (peer?.keys.next?.index !== index) return;
    sessions.setRole(index, 'current');
    setKeys(peer, afterConfirming(peer.keys));
    completed(peer);
  }

  /** Packets wait for a session. Being asked again begins the time of trying again, since there still is something to send. */
  function wanted(line: number): void {
    const peer = byLine.get(line);
    if (peer === undefined) return;
    if (peer.attempt === undefined) initiate(peer);
    else peer.attempt = { ...peer.attempt, giveUpAt: now() + timing.rekeyAttemptMs };
  }

  /** A session is wanted without a packet for it: once, since nothing waits for its answer. */
  function ask(line: number): void {
    const peer = byLine.get(line);
    if (peer !== undefined && peer.attempt === undefined) initiate(peer, { firstAt: now(), giveUpAt: now() });
  }

  // What time brings.

  /** To be called a few times a second. */
  function tick(): void {
    for (const peer of active) {
      dropExpired(peer);
      const activity = sessions.activity(peer.line);
      if (peer.attempt !== undefined) goOnTrying(peer, peer.attempt);
      else if (isHandshakeDue(peer, activity)) initiate(peer);
      if (isKeepaliveDue(peer, activity)) askForKeepalive(peer);
      const isIdle = keysIn(peer.keys).length === 0 && peer.attempt === undefined && peer.keepaliveMs === 0;
      if (isIdle) active.delete(peer);
    }
  }

  function dropExpired(peer: Peer): void {
    const kept = withoutExpired(peer.keys, (key) => isExpired(timing, key, now()));
    if (keysIn(kept).length < keysIn(peer.keys).length) setKeys(peer, kept);
  }

  function isHandshakeDue(peer: Peer, activity: Activity): boolean {
    const { current } = peer.keys;
    if (current === undefined) return false;
    if (isOldForSending(timing, current, activity)) return true;
    const settledAt = Math.max(peer.heardAt, peer.initiatedAt, peer.givenUpAt);
    if (isSilent(timing, activity, now(), settledAt)) return true;
    if (peer.lastMinuteOf === current.index || !isOldForReceiving(timing, current, activity)) return false;
    peer.lastMinuteOf = current.index;
    return true;
  }

  function goOnTrying(peer: Peer, attempt: NonNullable<Peer['attempt']>): void {
    if (!isRetryDue(attempt, now())) return;
    if (!isGivenUp(attempt, now())) return initiate(peer, attempt);
    endAttempt(peer);
    peer.givenUpAt = now();
    sessions.dropStaged(peer.line);
  }

  function isKeepaliveDue(peer: Peer, activity: Activity): boolean {
    if (isKeepaliveOwed(timing, activity, now(), Math.max(peer.spokeAt, peer.keepaliveAt))) return true;
    const { lastSent, lastReceived } = activity;
    const lastAny = Math.max(lastSent, lastReceived, peer.spokeAt, peer.heardAt, peer.keepaliveAt);
    return isPersistentKeepaliveDue(peer.keepaliveMs, lastAny, now());
  }

  // What we do.

  /** @param attempt that it goes on with */
  function initiate(peer: Peer, { firstAt, giveUpAt }: Pick<Attempt, 'firstAt' | 'giveUpAt'> = newAttempt()): void {
    const endpoint = sessions.endpoint(peer.line);
    if (endpoint === undefined || now() - peer.initiatedAt < timing.rekeyTimeoutMs) return;
    endAttempt(peer);
    const index = sessions.reserve(peer.line);
    const ephemeral = generateIdentity(random);
    const created = createInitiation(own, peer.remote, { ephemeral, timestamp: timestamps.next(), index });
    if (created === undefined) return sessions.release(index);
    const retryAt = now() + timing.rekeyTimeoutMs + jitter();
    peer.attempt = { firstAt, retryAt, giveUpAt, index, state: created.state };
    peer.initiatedAt = now();
    byIndex.set(index, peer);
    active.add(peer);
    speak(peer, created.message, endpoint);
  }

  const newAttempt = () => ({ firstAt: now(), giveUpAt: now() + timing.rekeyAttemptMs });

  /** So that two nodes that have begun at once do not do so again. */
  const jitter = () => (random(4).readUInt32LE(0) / 2 ** 32) * timing.rekeyJitterMs;

  function endAttempt(peer: Peer): void {
    if (peer.attempt === undefined) return;
    wipeInitiated(peer.attempt.state);
    byIndex.delete(peer.attempt.index);
    sessions.release(peer.attempt.index);
    peer.attempt = undefined;
  }

  function speak(peer: Peer, message: Buffer, to: Endpoint): void {
    peer.cookies.sign(message);
    peer.spokeAt = now();
    send(message, to);
  }

  function heard(peer: Peer, from: Endpoint): void {
    peer.heardAt = now();
    sessions.setEndpoint(peer.line, from);
  }

  function completed(peer: Peer): void {
    peer.completedAt = now();
    peer.lastMinuteOf = undefined;
  }

  function askForKeepalive(peer: Peer): void {
    peer.keepaliveAt = now();
    if (peer.keys.current !== undefined) sessions.sendKeepalive(peer.line);
    else if (peer.attempt === undefined) initiate(peer);
  }

  function install(key: SessionKey, remoteIndex: number, keys: SessionKeys, role: 'current' | 'next'): void {
    const { index, bornAt } = key;
    sessions.install(index, { remoteIndex, sendKey: keys.send, receiveKey: keys.receive, bornAt, role });
    keys.send.fill(0);
    keys.receive.fill(0);
  }

  /** After a new key is in force: takes from the packet path what has no slot any more, and says what does not send. */
  function setKeys(peer: Peer, slots: KeySlots): void {
    const kept = new Set(keysIn(slots));
    for (const key of keysIn(peer.keys)) {
      if (kept.has(key)) continue;
      byIndex.delete(key.index);
      sessions.release(key.index);
    }
    if (slots.previous !== undefined && slots.previous !== peer.keys.previous) {
      sessions.setRole(slots.previous.index, 'previous');
    }
    peer.keys = slots;
    for (const key of kept) byIndex.set(key.index, peer);
    active.add(peer);
  }

  function sessionOf(line: number): PeerSession | undefined {
    const peer = byLine.get(line);
    if (peer === undefined) return undefined;
    return {
      handshakeAgeMs: peer.completedAt === undefined ? undefined : now() - peer.completedAt,
      hasSession: peer.keys.current !== undefined,
      tryingForMs: peer.attempt && now() - peer.attempt.firstAt,
    };
  }

  const linesWithSession = () => [...active].filter(({ keys }) => keys.current !== undefined).map(({ line }) => line);
  const withSession = () => linesWithSession().map((line) => byLine.get(line)!.remote.publicKey);

  return {
    addPeer,
    removePeer,
    setIdentity,
    receive,
    confirmed,
    wanted,
    ask,
    tick,
    sessionOf,
    linesWithSession,
    withSession,
  };
}

export type Handshakes = ReturnType<typeof createHandshakes>;

const nameOf = (publicKey: Buffer) => publicKey.toString('hex');
