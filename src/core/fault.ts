import type { EventKind } from './event.js';
import type { Logger } from './logger.js';
import { createRepeatLimit } from './rate-limit.js';

export interface FaultWords {
  readonly fault: readonly [message: string, event: EventKind];
  readonly over: readonly [message: string, event: EventKind];
}

export interface FaultLog {
  /** It is there, or is there still. */
  is(reason: string): void;
  /** It is not there, or not any more. */
  over(): void;
}

/**
 * Tells a fault that may last, or come and go: in the log at a bounded rate, and as an event when it begins and when it is
 * over. One that comes again so soon that it is not told is not told to be over either.
 */
export function createFaultLog(log: Logger, { fault, over }: FaultWords): FaultLog {
  const limit = createRepeatLimit();
  let isTold = false;
  return {
    is(reason) {
      limit((suppressed) => {
        log.warn({ reason, suppressed }, fault[0], isTold ? undefined : fault[1]);
        isTold = true;
      });
    },
    over() {
      if (isTold) log.info({}, ...over);
      isTold = false;
    },
  };
}
