import { SPUN_IN_VAIN } from '../../../system/native.js';
import { IN_BYTES, OUT_BYTES } from '../tables/counters.js';

/** To be woken on an idle core takes tens of microseconds: after work more is likely to come, so look again first. */
export const SHORT_SPIN_US = 30;
/** About the time until a request is answered through two tunnels. */
export const LONG_SPIN_US = 100;
/** A turn that moves more is of a bulk transfer, which loses 5 % by the long look: batches shrink. */
const FEW_BYTES = 4096;
export const QUIET_TURNS = 16;

/**
 * How long to look for work before sleeping, by what the last turns were like:
 *
 *     nothing came within the longest wait       not at all: an idle node sleeps
 *     bulk, or the long look was just in vain    short
 *     QUIET_TURNS turns of few bytes             long: requests and answers, whose latency falls by a fifth
 *
 * A trickle of packets further apart than the long look so pays for one such look in QUIET_TURNS packets.
 * @returns what to call after each turn with what wait() has answered: microseconds
 */
export function createSpin(counters: Int32Array): (ready: number) => number {
  let spin = 0;
  let quiet = 0;
  /** Low words, which wrap: only their difference counts. */
  let movedBefore = 0;

  return function spinAfter(ready: number): number {
    if (ready === 0) {
      spin = 0;
      return spin;
    }
    const moved = (counters[2 * OUT_BYTES] + counters[2 * IN_BYTES]) | 0;
    const isBulk = ((moved - movedBefore) | 0) > FEW_BYTES;
    movedBefore = moved;
    const wasInVain = spin === LONG_SPIN_US && (ready & SPUN_IN_VAIN) !== 0;
    if (isBulk || wasInVain) quiet = 0;
    else if (quiet < QUIET_TURNS) quiet++;
    spin = quiet === QUIET_TURNS ? LONG_SPIN_US : SHORT_SPIN_US;
    return spin;
  };
}
