import { afterConfirming, afterResponding, NO_KEYS } from './key-slots.js';
import { createResponse, readInitiation, readTimestamp } from './noise.js';
import type { Party, Refusal } from './party.js';
import type { Peer } from './peer.js';
import type { Endpoint } from './sessions.js';

/** Handshakes that others begin. @param peerWith that public key */
export function createResponder(party: Party, peerWith: (publicKey: Buffer) => Peer | undefined) {
  const { sessions, timing, now } = party;
  return {
    takeInitiation(message: Buffer, from: Endpoint): Refusal | undefined {
      const introduced = readInitiation(party.own, message);
      if (introduced === undefined) return 'forged';
      const peer = peerWith(introduced.publicKey);
      if (peer === undefined) return 'unknown peer';
      const asked = readTimestamp(introduced, peer.remote, message);
      if (asked === undefined) return 'forged';
      if (peer.timestamp !== undefined && asked.timestamp.compare(peer.timestamp) <= 0) return 'replayed';
      if (now() - peer.askedAt < timing.floodMs) return 'too often';
      // A peer has four places for keys: what the new one puts an end to goes first.
      party.setKeys(peer, { ...NO_KEYS, current: peer.keys.current });
      const index = sessions.reserve(peer.line);
      const answer = createResponse(asked, peer.remote, { ephemeral: party.ephemeral(), index });
      if (answer === undefined) {
        sessions.release(index);
        return 'forged';
      }
      peer.timestamp = asked.timestamp;
      peer.askedAt = now();
      party.heard(peer, from);
      const key = { index, bornAt: now(), isInitiator: false };
      party.install(key, asked.index, answer.keys, 'next');
      party.setKeys(peer, afterResponding(peer.keys, key));
      party.speak(peer, answer.message, from);
      return undefined;
    },
    /** The first authentic packet under that index has come. */
    confirmed(index: number): void {
      const peer = party.ofIndex(index);
      if (peer?.keys.next?.index !== index) return;
      sessions.setRole(index, 'current');
      party.setKeys(peer, afterConfirming(peer.keys));
      party.completed(peer);
    },
  };
}
