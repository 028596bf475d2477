import { PRIORITY, priorityPrefix } from '../ops/journal.js';

/** One line on stderr, for a person or the journal. */
export function complain(text: string, priority: number = PRIORITY.error): void {
  process.stderr.write(`${priorityPrefix(priority, 2)}rudder: ${text}\n`);
}
