/** A node that was a peer and is none any more: its lease has gone. */
export interface LostPeer {
  readonly host: string | null;
  readonly version: string | null;
  readonly subnet: string;
  readonly nextHop: string;
  /** Since then. */
  readonly seconds: number;
}

type Peer = Omit<LostPeer, 'seconds'>;

/** So long it is remembered... */
export const LOST_SECONDS = 3600;
/** ... with the latest of so many. */
export const MOST_LOST = 200;

export interface LostPeers {
  /** Those that are there. @param now seconds of a clock that never goes back */
  note(present: readonly Peer[], now: number): void;
  /** The latest first. */
  list(now: number): LostPeer[];
}

export function createLostPeers(): LostPeers {
  let known = new Map<string, Peer>();
  /** In the order in which they left. */
  const lost = new Map<string, { readonly peer: Peer; readonly at: number }>();

  /** Who is back is not lost: a node with that name, or anybody in that subnet. */
  function forgetReturned(present: readonly Peer[]): void {
    if (lost.size === 0) return;
    const hosts = new Set(present.flatMap(({ host }) => host ?? []));
    const subnets = new Set(present.map(({ subnet }) => subnet));
    for (const [key, { peer }] of lost) {
      if (subnets.has(peer.subnet) || (peer.host !== null && hosts.has(peer.host))) lost.delete(key);
    }
  }

  return {
    note(present, now) {
      const current = new Map(present.map((peer) => [peer.subnet, peer]));
      for (const [subnet, peer] of known) if (!current.has(subnet)) lost.set(subnet, { peer, at: now });
      forgetReturned(present);
      for (const [key, { at }] of lost) if (now - at > LOST_SECONDS || lost.size > MOST_LOST) lost.delete(key);
      known = current;
    },
    list: (now) =>
      [...lost.values()]
        .filter(({ at }) => now - at <= LOST_SECONDS)
        .map(({ peer: { host, version, subnet, nextHop }, at }) => ({
          host,
          version,
          subnet,
          nextHop,
          seconds: now - at,
        }))
        .reverse(),
  };
}
