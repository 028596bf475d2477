import { createCookieChecker } from './cookie.js';
import { createInitiator } from './initiator.js';
import { keysIn, NO_KEYS, withoutExpired } from './key-slots.js';
import type { Identity } from './keys.js';
import {
  COOKIE_REPLY,
  cookieReply,
  handshakeTypeOf,
  INITIATION,
  initiation,
  type RESPONSE,
  response,
} from './messages.js';
import { createParty, type HandshakeOptions, type Refusal } from './party.js';
import { createPeer, type Peer, type PeerOptions, remoteOf } from './peer.js';
import { createResponder } from './responder.js';
import type { Activity, Endpoint } from './sessions.js';
import { createSourceLimit } from './source-limit.js';
import {
  isExpired,
  isKeepaliveOwed,
  isOldForReceiving,
  isOldForSending,
  isPersistentKeepaliveDue,
  isSilent,
} from './timers.js';

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
  const { sessions, timing, now, send } = options;
  const party = createParty(options);
  const { active } = party;
  let checker = createCookieChecker(party.own.publicKey, options);
  const allows = createSourceLimit(now);
  const byKey = new Map<string, Peer>();
  const byLine = new Map<number, Peer>();
  const initiator = createInitiator(party);
  const responder = createResponder(party, (publicKey) => byKey.get(nameOf(publicKey)));

  function addPeer(peer: PeerOptions): number {
    const line = sessions.addPeer();
    const added = createPeer(party.own, peer, line, options);
    byKey.set(nameOf(peer.publicKey), added);
    byLine.set(line, added);
    if (peer.endpoint !== undefined) sessions.setEndpoint(line, peer.endpoint);
    if (peer.keepaliveMs > 0) active.add(added);
    return line;
  }

  function removePeer(line: number): void {
    const peer = byLine.get(line);
    if (peer === undefined) return;
    party.endAttempt(peer);
    party.setKeys(peer, NO_KEYS);
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
    party.own = next;
    checker = createCookieChecker(next.publicKey, options);
    for (const peer of byLine.values()) {
      party.endAttempt(peer);
      peer.remote = remoteOf(next, peer.remote);
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
    return type === INITIATION ? responder.takeInitiation(message, from) : initiator.takeResponse(message, from);
  }

  function isWelcome(type: typeof INITIATION | typeof RESPONSE, message: Buffer, from: Endpoint): boolean {
    if (checker.hasMac2(message, from)) return allows(from.address);
    const index = message.readInt32LE(type === INITIATION ? initiation.sender : response.sender);
    send(checker.reply(message, index, from), from);
    return false;
  }

  function takeCookie(message: Buffer): Refusal | undefined {
    const peer = party.ofIndex(message.readInt32LE(cookieReply.receiver));
    if (peer === undefined) return 'unexpected';
    return peer.cookies.take(message) ? undefined : 'forged';
  }

  // What time brings.

  /** To be called a few times a second. */
  function tick(): void {
    for (const peer of active) {
      dropExpired(peer);
      const activity = sessions.activity(peer.line);
      if (peer.attempt !== undefined) initiator.goOnTrying(peer, peer.attempt);
      else if (isHandshakeDue(peer, activity)) initiator.initiate(peer);
      if (isKeepaliveDue(peer, activity)) initiator.askForKeepalive(peer);
      const isIdle = keysIn(peer.keys).length === 0 && peer.attempt === undefined && peer.keepaliveMs === 0;
      if (isIdle) active.delete(peer);
    }
  }

  function dropExpired(peer: Peer): void {
    const kept = withoutExpired(peer.keys, (key) => isExpired(timing, key, now()));
    if (keysIn(kept).length < keysIn(peer.keys).length) party.setKeys(peer, kept);
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

  function isKeepaliveDue(peer: Peer, activity: Activity): boolean {
    if (isKeepaliveOwed(timing, activity, now(), Math.max(peer.spokeAt, peer.keepaliveAt))) return true;
    const { lastSent, lastReceived } = activity;
    const lastAny = Math.max(lastSent, lastReceived, peer.spokeAt, peer.heardAt, peer.keepaliveAt);
    return isPersistentKeepaliveDue(peer.keepaliveMs, lastAny, now());
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

  /** What is asked of a peer that is gone meanwhile is nothing. */
  const withPeer = (act: (peer: Peer) => void) => (line: number) => {
    const peer = byLine.get(line);
    if (peer !== undefined) act(peer);
  };
  const linesWithSession = () => [...active].filter(({ keys }) => keys.current !== undefined).map(({ line }) => line);
  const withSession = () => linesWithSession().map((line) => byLine.get(line)!.remote.publicKey);

  return {
    addPeer,
    removePeer,
    setIdentity,
    receive,
    confirmed: responder.confirmed,
    /** Packets wait for a session with that line's peer. */
    wanted: withPeer(initiator.want),
    /** The same without a packet: once. */
    ask: withPeer(initiator.ask),
    tick,
    sessionOf,
    linesWithSession,
    withSession,
  };
}

export type Handshakes = ReturnType<typeof createHandshakes>;

const nameOf = (publicKey: Buffer) => publicKey.toString('hex');
