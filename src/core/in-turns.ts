import { setImmediate } from 'node:timers/promises';

/** Of the peers of a large cluster: all of them in one turn would keep everything else waiting. */
export const MOST_AT_ONCE = 250;

/** Part after part of a list; if there is more than one, others have their turn in between. */
export async function inTurns<T>(all: readonly T[], part: (some: readonly T[]) => void | Promise<void>): Promise<void> {
  for (let first = 0; first < all.length; first += MOST_AT_ONCE) {
    if (all.length > MOST_AT_ONCE) await setImmediate();
    await part(all.slice(first, first + MOST_AT_ONCE));
  }
}
