import { afterInitiating } from './key-slots.js';
import { response } from './messages.js';
import { createInitiation, readResponse, wipeInitiated } from './noise.js';
import type { Party, Refusal } from './party.js';
import type { Attempting, Peer } from './peer.js';
import type { Endpoint } from './sessions.js';
import { isGivenUp, isRetryDue } from './timers.js';

/** Handshakes that we begin, and try again as long as packets wait. */
export function createInitiator(party: Party) {
  const { sessions, timing, timestamps, now, random } = party;

  /** So that two nodes that have begun at once do not do so again. */
  const jitter = () => (random(4).readUInt32LE(0) / 2 ** 32) * timing.rekeyJitterMs;
  const newAttempt = () => ({ firstAt: now(), giveUpAt: now() + timing.rekeyAttemptMs });

  /** @param attempt that it goes on with */
  function initiate(peer: Peer, { firstAt, giveUpAt }: Pick<Attempting, 'firstAt' | 'giveUpAt'> = newAttempt()): void {
    const endpoint = sessions.endpoint(peer.line);
    if (endpoint === undefined || now() - peer.initiatedAt < timing.rekeyTimeoutMs) return;
    party.endAttempt(peer);
    const index = sessions.reserve(peer.line);
    const message = { ephemeral: party.ephemeral(), timestamp: timestamps.next(), index };
    const created = createInitiation(party.own, peer.remote, message);
    if (created === undefined) return sessions.release(index);
    const retryAt = now() + timing.rekeyTimeoutMs + jitter();
    peer.initiatedAt = now();
    party.beginAttempt(peer, { firstAt, retryAt, giveUpAt, index, state: created.state });
    party.speak(peer, created.message, endpoint);
  }

  function askForKeepalive(peer: Peer): void {
    peer.keepaliveAt = now();
    if (peer.keys.current !== undefined) sessions.sendKeepalive(peer.line);
    else if (peer.attempt === undefined) initiate(peer);
  }

  return {
    initiate,
    askForKeepalive,
    /** Packets wait for a session. Being asked again begins the time of trying again, since there still is something to send. */
    want(peer: Peer): void {
      if (peer.attempt === undefined) initiate(peer);
      else peer.attempt = { ...peer.attempt, giveUpAt: now() + timing.rekeyAttemptMs };
    },
    /** A session is wanted without a packet for it: once, since nothing waits for its answer. */
    ask(peer: Peer): void {
      if (peer.attempt === undefined) initiate(peer, { firstAt: now(), giveUpAt: now() });
    },
    goOnTrying(peer: Peer, attempt: Attempting): void {
      if (!isRetryDue(attempt, now())) return;
      if (!isGivenUp(attempt, now())) return initiate(peer, attempt);
      party.endAttempt(peer);
      peer.givenUpAt = now();
      sessions.dropStaged(peer.line);
    },
    takeResponse(message: Buffer, from: Endpoint): Refusal | undefined {
      const named = message.readInt32LE(response.receiver);
      const peer = party.ofIndex(named);
      const attempt = peer?.attempt;
      if (peer === undefined || attempt?.index !== named) return 'unexpected';
      const answer = readResponse(party.own, peer.remote, attempt.state, message);
      if (answer === undefined) return 'forged';
      wipeInitiated(attempt.state);
      peer.attempt = undefined;
      party.heard(peer, from);
      const key = { index: attempt.index, bornAt: now(), isInitiator: true };
      party.install(key, answer.index, answer.keys, 'current');
      party.setKeys(peer, afterInitiating(peer.keys, key));
      party.completed(peer);
      // Nothing else tells the peer that we have the key.
      askForKeepalive(peer);
      return undefined;
    },
  };
}
