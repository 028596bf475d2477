import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/logger.js';

export interface Undo {
  add(what: string, step: () => Promise<void>): void;
  /** Runs all steps, the last one first; a step that fails is logged and does not keep the others from running. */
  all(): Promise<void>;
}

export function createUndo(log: Logger): Undo {
  const steps: { what: string; step: () => Promise<void> }[] = [];
  return {
    add: (what, step) => void steps.push({ what, step }),
    async all() {
      for (const { what, step } of steps.splice(0).reverse()) {
        try {
          await step();
        } catch (error) {
          log.warn({ what, reason: messageOf(error) }, 'could not undo');
        }
      }
    },
  };
}
