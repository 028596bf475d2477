import type { Native } from '../../../system/native.js';
import { add, OFFLOAD_FALLBACKS } from '../tables/counters.js';
import type { SharedMemory } from '../tables/memory.js';
import { IO_URING } from '../tables/offloads.js';

/** Gives this thread a ring for TUN, if that is wanted and there. */
export function openRing(native: Native, memory: SharedMemory): void {
  if (memory.offloads[IO_URING] === 0) return;
  try {
    native.openRing();
  } catch {
    // It was there when it was probed: a limit of descriptors or memory, say.
    lowerRing(native, memory);
  }
}

/** The kernel will not have it (any more): from now on each packet takes a system call of its own. */
export function lowerRing(native: Native, { offloads, counters }: SharedMemory): void {
  native.closeRing();
  offloads[IO_URING] = 0;
  add(counters, OFFLOAD_FALLBACKS, 1);
}
