import type { Lease } from '../core/lease.js';
import { formatSubnetKey } from '../core/subnet.js';
import type { PeerHealth } from '../health/peer-health.js';
import { isTold, type ToldState } from './peer-log.js';

const LOOK_MS = 2000;
/** In one look: of thousands each has its turn, sooner than three probes of it are over. */
const PEERS_IN_A_LOOK = 100;

export interface PeerWatchOptions {
  /** The same array until any of them changes. */
  readonly peers: () => readonly Lease[];
  readonly healthOf: (lease: Lease) => Pick<PeerHealth, 'state' | 'reason'>;
  /** A peer is otherwise than it was when it was last told, or than the one that a start hopes for. */
  readonly tell: (lease: Lease, state: ToldState, reason: string | null) => void;
}

interface Seen {
  readonly state: ToldState;
  readonly reason: string | null;
}

/** A peer of which nothing is known yet is taken to be well: that it is so is no news. */
const WELL: Seen = { state: 'ok', reason: null };

/** Looks from time to time whether peers are as they were. */
export function watchPeerHealth({ peers, healthOf, tell }: PeerWatchOptions): { stop(): void } {
  let known: readonly Lease[] = [];
  let next = 0;
  /** Those that are not as hoped for, by subnet. */
  let troubled = new Map<string, Seen>();

  function look(): void {
    const now = peers();
    if (now !== known) {
      const current = new Set(now.map(({ subnet }) => formatSubnetKey(subnet)));
      troubled = new Map([...troubled].filter(([key]) => current.has(key)));
      known = now;
    }
    for (let count = Math.min(PEERS_IN_A_LOOK, known.length); count > 0; count--) {
      next = (next + 1) % known.length;
      lookAt(known[next]);
    }
  }

  function lookAt(lease: Lease): void {
    const { state, reason } = healthOf(lease);
    if (!isTold(state)) return;
    const key = formatSubnetKey(lease.subnet);
    const before = troubled.get(key) ?? WELL;
    if (state === before.state && reason === before.reason) return;
    if (state === 'ok' && reason === null) troubled.delete(key);
    else troubled.set(key, { state, reason });
    tell(lease, state, reason);
  }

  const timer = setInterval(look, LOOK_MS).unref();
  return { stop: () => clearInterval(timer) };
}
