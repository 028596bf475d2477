import { MISSES_FOR_SILENCE, type Probe } from '../core/echo-turns.js';
import { isUntaken, type Lease } from '../core/lease.js';
import type { PeerState } from '../core/peer-state.js';

/** Where peers are few. */
export const PROBE_INTERVAL_MS = 2000;

/** What one has learnt from the echoes to a peer. */
export interface PeerProbe extends Probe {
  answeredAt: number | undefined;
  rttMs: number | undefined;
  /** Why the last one could not be sent. */
  sendError: string | undefined;
}

export interface PeerHealth {
  readonly state: PeerState;
  /** Why it is unreachable; null: it is not, or nobody knows. */
  readonly reason: string | null;
  /** Null: no echo has come back. */
  readonly rttMs: number | null;
  /** Null: nothing was ever heard. */
  readonly lastHeardSeconds: number | null;
}

/** What is known of a peer. Times are in ms of one clock. */
export interface PeerFacts {
  readonly lease: Pick<Lease, 'reserved' | 'backend'>;
  /** Why nothing is sent there; undefined: it is a peer. */
  readonly problem: string | undefined;
  /** Undefined: it is not probed. */
  readonly probe: PeerProbe | undefined;
  /** Anything else from it; undefined: never, or nobody knows. */
  readonly heardAt: number | undefined;
  /**
   * When its daemon last sent a probe, or from when on it should have; undefined: nobody expects that of it. Where the kernel
   * answers, nothing else tells that the daemon is there.
   */
  readonly daemonHeardAt: number | undefined;
  /** Whether a node of this kind has an address that answers. Where it has none for certain, silence says nothing. */
  readonly isSureToAnswer: boolean;
  /** In which all peers are probed once. */
  readonly roundMs: number;
  /** In which its daemon has probed all of its peers once. */
  readonly peersRoundMs: number;
}

export function healthOf(facts: PeerFacts, now: number): PeerHealth {
  const { probe, heardAt, problem } = facts;
  const lastHeard = later(probe?.answeredAt, heardAt);
  const { state, reason } = judge(facts, lastHeard, now, problem ?? probe?.sendError);
  return {
    state,
    reason: reason ?? null,
    rttMs: state === 'ok' ? (probe?.rttMs ?? null) : null,
    lastHeardSeconds: lastHeard === undefined ? null : (now - lastHeard) / 1000,
  };
}

/** Undefined: never. */
export function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}

const longestOf = (roundMs: number) => MISSES_FOR_SILENCE * roundMs + PROBE_INTERVAL_MS;

function judge(
  { lease, probe, daemonHeardAt, isSureToAnswer, roundMs, peersRoundMs }: PeerFacts,
  lastHeard: number | undefined,
  now: number,
  obstacle: string | undefined,
): { state: PeerState; reason?: string } {
  if (obstacle !== undefined) return { state: 'unreachable', reason: obstacle };
  const longest = longestOf(roundMs);
  if (lastHeard !== undefined && now - lastHeard <= longest) {
    // Who has never answered may not answer pings at all.
    const isUnanswered = probe?.answeredAt !== undefined && now - probe.answeredAt > longest;
    if (isUnanswered)
      return isSureToAnswer ? { state: 'unreachable', reason: ONE_WAY } : { state: 'ok', reason: NO_BRIDGE };
    const isLeft = daemonHeardAt !== undefined && now - daemonHeardAt > longestOf(peersRoundMs);
    return isLeft ? { state: 'ok', reason: NO_DAEMON } : { state: 'ok' };
  }
  if (isUntaken(lease) && lastHeard === undefined) return { state: 'reserved' };
  const isAskedEnough = probe !== undefined && probe.misses >= MISSES_FOR_SILENCE;
  if (!isAskedEnough || (lastHeard === undefined && !isSureToAnswer)) return { state: 'unknown' };
  return { state: 'silent' };
}

/** Its routes stay as they are, so that it is lost to what changes from now on. */
const NO_DAEMON = 'its kernel answers and forwards, but its daemon sends no probes: is rudder running there?';
/** Whether it can be reached is not known then. */
const NO_BRIDGE = 'it is heard, but its bridge of containers has answered nothing of late: is there one still?';
const ONE_WAY = 'it is heard, but has answered nothing of late: what is sent to it does not arrive';
