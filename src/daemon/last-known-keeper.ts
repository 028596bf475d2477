import type { Joined } from '../control/membership.js';
import { messageOf } from '../core/errors.js';
import type { LastKnown } from '../core/last-known.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { forgetLastKnown, saveLastKnown } from '../state/last-known-file.js';

const SAVE_INTERVAL_MS = 5000;
/** A lease that is renewed changes only its end: that is worth a write this often. */
const LEAST_EXTENSION_MS = 25_000;

export interface LastKnownKeeper {
  /** @param keep false: the subnet is not ours any more */
  stop(keep: boolean): Promise<void>;
}

/** Writes what is known of the cluster into the state directory when it has changed, at most every five seconds. */
export function keepLastKnown(
  directory: string,
  own: Pick<LastKnown, 'source' | 'nodeId' | 'subnet' | 'configJson'>,
  joined: Pick<Joined, 'state'>,
  log: Logger,
): LastKnownKeeper {
  const limit = createRepeatLimit();
  let saved: { own: string; peers: LastKnown['peers']; validUntil: number | null } | undefined;
  let saving: Promise<void> = Promise.resolve();

  function current(): LastKnown {
    const { publicIp, lease, peers } = joined.state();
    const { holding, remainingSeconds, ttlSeconds, ownKey } = lease;
    const savedAt = Date.now();
    const validUntil = remainingSeconds === undefined ? null : savedAt + remainingSeconds * 1000;
    const keyDiffers = ownKey === 'differs';
    return { ...own, publicIp, holding, validUntil, ttlSeconds, savedAt, keyDiffers, peers };
  }

  async function save(): Promise<void> {
    const known = current();
    const { validUntil, savedAt: _, peers, ...rest } = known;
    const own = JSON.stringify({ ...rest, ownKey: joined.state().lease.ownKey });
    // Shortened too: the key is gone, or the clock was set.
    const extended = Math.abs((validUntil ?? 0) - (saved?.validUntil ?? 0)) > LEAST_EXTENSION_MS;
    // Thousands of peers are the same array, and not written down to be compared.
    if (saved !== undefined && saved.own === own && saved.peers === peers && !extended) return;
    try {
      await saveLastKnown(directory, known);
      saved = { own, peers, validUntil };
      log.debug({ peers: peers.length }, 'what is known of the cluster is saved');
    } catch (error) {
      // The node runs on: it only could not start without the registry.
      limit((suppressed) =>
        log.warn({ reason: messageOf(error), suppressed }, 'what is known of the cluster cannot be saved'),
      );
    }
  }

  const next = () => {
    saving = saving.then(save);
  };
  next();
  const timer = setInterval(next, SAVE_INTERVAL_MS);
  return {
    async stop(keep) {
      clearInterval(timer);
      if (keep) next();
      await saving;
      if (!keep) await forgetLastKnown(directory).catch(() => undefined);
    },
  };
}
