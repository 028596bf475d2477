import { formatIpv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import type { PeerState } from '../core/peer-state.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnet } from '../core/subnet.js';

/** Lines about single peers in each interval; also how many at once are worth a line each. */
const PEERS_TOLD = 100;

/** States that are told when they begin: those that say that a peer is there, or is not. */
const TOLD = { ok: 'peer.ok', silent: 'peer.silent', unreachable: 'peer.unreachable' } as const;
export type ToldState = keyof typeof TOLD;
export const isTold = (state: PeerState): state is ToldState => state in TOLD;

export interface PeerLog {
  /** Peers came, moved and left. */
  changed(changes: readonly LeaseChange[]): void;
  /** A peer is otherwise than before. @param reason null: there is none */
  health(lease: Lease, state: ToldState, reason: string | null): void;
}

/**
 * Says which peers came, moved and left, and how they are: one by one while that is news, and as counts when it is a flood,
 * such as the first list of a large cluster or a node that flaps. At level debug all are told.
 * @param known those of the last run: that they are there after a start is no event
 */
export function createPeerLog(log: Logger, known: readonly Lease[]): PeerLog {
  const limit = createRepeatLimit(PEERS_TOLD);
  const knownYet = new Set(known.map(nameOf));

  /** Once: who has left and comes again is news. */
  const isNews = ({ type, lease }: LeaseChange) =>
    knownYet.size === 0 || !knownYet.delete(nameOf(lease)) || type !== 'added';

  return {
    changed(changes) {
      const isFlood = changes.length > PEERS_TOLD;
      const news = new Set(changes.filter(isNews));
      if (isFlood) {
        const count = (type: LeaseChange['type']) => changes.filter((change) => change.type === type).length;
        const counts = { added: count('added'), changed: count('changed'), removed: count('removed') };
        log.info(counts, 'peers changed', news.size > 0 ? 'peer.changed' : undefined);
      }
      // Of thousands no text that nobody reads.
      if (isFlood && !log.isLevelEnabled('debug')) return;
      for (const change of changes) {
        const { type, lease } = change;
        const fields = fieldsOf(lease);
        log.debug(fields, `route ${type}`);
        if (isFlood) continue;
        const event = news.has(change) ? (`peer.${type}` as const) : undefined;
        limit((suppressed) => log.info(suppressed > 0 ? { ...fields, suppressed } : fields, `peer ${type}`, event));
      }
    },
    health(lease, state, reason) {
      const level = state === 'ok' ? 'info' : 'warn';
      limit((suppressed) => {
        const fields = {
          ...fieldsOf(lease),
          ...(reason !== null && { reason }),
          ...(suppressed > 0 && { suppressed }),
        };
        log[level](fields, `peer is ${state}`, TOLD[state]);
      });
    },
  };
}

function fieldsOf({ subnet, publicIp, host }: Lease): Record<string, string> {
  return { ...(host && { host }), subnet: formatSubnet(subnet), nextHop: formatIpv4(publicIp) };
}

const nameOf = ({ subnet, publicIp }: Lease) => `${formatSubnet(subnet)} ${publicIp}`;
