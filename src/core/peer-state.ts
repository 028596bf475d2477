/**
 * How a peer is, by what was heard of it and not by what its lease says:
 *
 *     ok             it was heard within the time that three probes take
 *     silent         three probes, one after the other, had no answer, and nothing else was heard
 *     unreachable    nothing can be sent to it, and why
 *     unknown        not asked often enough yet; or nobody is known there who would answer
 *     reserved       kept for a node that has not taken it
 *     other-backend  its lease is of another kind: no peer
 */
export const PEER_STATES = ['ok', 'silent', 'unreachable', 'unknown', 'reserved', 'other-backend'] as const;
export type PeerState = (typeof PEER_STATES)[number];
