import { EBADFD, type Native, STOP_SIGNALLED, TUN_FAILED, TUN_READABLE, UDP_READABLE } from '../../../system/native.js';
import { CONTROL_STOP, type PathSettings, type SharedMemory } from '../tables/memory.js';
import { createInbound } from './inbound.js';
import { createOutbound } from './outbound.js';
import { PathFailure } from './path-failure.js';
import { openRing } from './ring.js';
import { createSpin } from './spin.js';
import { createWire } from './wire.js';

/** The stop event ends a wait at once; this only bounds the harm if it were ever missed. */
const LONGEST_WAIT_MS = 1000;

/**
 * Forwards until told to stop. Each turn handles one bounded batch of each direction, so that neither starves the
 * other and a stop is prompt. Nothing in it allocates.
 * @throws PathFailure when the device is gone
 */
export function forward(native: Native, memory: SharedMemory, settings: PathSettings): void {
  openRing(native, memory);
  const wire = createWire(native, memory, settings);
  const outbound = createOutbound(native, memory, settings, undefined, wire);
  const inbound = createInbound(native, memory, settings, wire);

  const spinAfter = createSpin(memory.counters);
  let spin = 0;
  /** The way out has packets left that it has read, and so do not show in the device any more. */
  let isLeft = false;

  // A function of its own: V8 optimises it as a whole after some calls, while the endless loop itself never returns.
  function turn(): void {
    const found = native.wait(TUN_READABLE | UDP_READABLE, isLeft ? 0 : LONGEST_WAIT_MS, isLeft ? 0 : spin);
    const ready = isLeft ? found | TUN_READABLE : found;
    if ((ready & TUN_FAILED) !== 0) throw new PathFailure('wait', -EBADFD);
    // To stop is a flag beside it (below): what else the main thread wants, it wants of the wire.
    if ((ready & STOP_SIGNALLED) !== 0) wire.attend();
    if ((ready & TUN_READABLE) !== 0) isLeft = outbound();
    if ((ready & UDP_READABLE) !== 0) inbound();
    spin = spinAfter(ready);
  }

  while (Atomics.load(memory.control, CONTROL_STOP) === 0) turn();
}
