import { formatIpv4 } from '../core/ipv4.js';
import type { LeaseChange } from '../core/lease-set.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnet } from '../core/subnet.js';

/** Lines about single peers in each interval; also how many at once are worth a line each. */
const PEERS_TOLD = 100;

/**
 * Says which peers came, moved and left: one by one while that is news, and as counts when it is a flood, such as the
 * first list of a large cluster or a node that flaps. At level debug all are told.
 */
export function createPeerLog(log: Logger): (changes: readonly LeaseChange[]) => void {
  const limit = createRepeatLimit(PEERS_TOLD);

  return (changes) => {
    const isFlood = changes.length > PEERS_TOLD;
    if (isFlood) {
      const count = (type: LeaseChange['type']) => changes.filter((change) => change.type === type).length;
      log.info({ added: count('added'), changed: count('changed'), removed: count('removed') }, 'peers changed');
    }
    for (const { type, lease } of changes) {
      const { subnet, publicIp, host } = lease;
      const fields = { ...(host && { host }), subnet: formatSubnet(subnet), nextHop: formatIpv4(publicIp) };
      log.debug(fields, `route ${type}`);
      if (!isFlood)
        limit((suppressed) => log.info(suppressed > 0 ? { ...fields, suppressed } : fields, `peer ${type}`));
    }
  };
}
