import { setTimeout as delay } from 'node:timers/promises';
import { RudderError } from '../core/errors.js';

const POLL_MS = 25;

/**
 * Polls until the condition yields something true. An error of the condition counts as "not yet".
 * @throws RudderError `lab` that says what was waited for and why it was not so at the last look
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs: number,
): Promise<Exclude<T, false | undefined | null>> {
  const end = performance.now() + deadlineMs;
  let last = '';
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as Exclude<T, false | undefined | null>;
      last = '';
    } catch (error) {
      last = `: ${error instanceof Error ? error.message : error}`;
    }
    if (performance.now() > end)
      throw new RudderError('lab', `gave up after ${deadlineMs} ms waiting for ${what}${last}`);
    await delay(POLL_MS);
  }
}
