import { KEPT_WITHIN_MS } from '../protocol/tai64n.js';
import type { SessionMemory } from '../session-file.js';
import { type Moment, type Observed, sessionOf } from './observed.js';

/**
 * When the last handshake was, by the clock of the day: the kernel tells peers what that says, and a clock that says less was
 * set back. It is kept for the next start, as with a WireGuard of ours, which may be the next one.
 */
export interface LastHandshake {
  /** What was looked at, by public key. */
  follow(observed: Iterable<readonly [string, Observed]>, at: Moment): void;
  behindSeconds(today: number): number;
  /** Peers know nothing of another key. */
  forget(): void;
  /** Resolves when all is kept. */
  stop(): Promise<void>;
}

export function keepLastHandshake(
  { timestampMs = 0 }: SessionMemory,
  keep: (memory: SessionMemory) => Promise<void>,
): LastHandshake {
  let last = timestampMs;
  /** Up to then they were of another key. */
  let forgotten = 0;
  let peers: readonly string[] = [];
  let keptAt = Number.NEGATIVE_INFINITY;
  let keeping: Promise<void> = Promise.resolve();

  function keepNow(): void {
    if (last > 0) keeping = keeping.then(() => keep({ timestampMs: last, peers }));
  }

  return {
    follow(observed, at) {
      const all = [...observed];
      for (const [, { counts }] of all) {
        const { handshakeAt = 0 } = counts;
        if (handshakeAt > forgotten) last = Math.max(last, handshakeAt);
      }
      peers = all.filter(([, one]) => sessionOf(one, at, 0).hasSession).map(([key]) => key);
      if (at.now - keptAt < KEPT_WITHIN_MS / 2) return;
      keptAt = at.now;
      keepNow();
    },
    behindSeconds: (today) => Math.max(0, Math.floor((last - today) / 1000)),
    forget() {
      [forgotten, last] = [last, 0];
    },
    async stop() {
      keepNow();
      await keeping;
    },
  };
}
