import { shorten } from '../core/errors.js';

/** Longest text of the daemon's that is shown. */
const LONGEST_TEXT = 500;

/**
 * What a daemon answers, with every text, names too, on one line of bounded length without control characters: whoever has
 * broken into it shall not write to the terminal of root.
 */
export function printable(value: unknown): unknown {
  if (typeof value === 'string') return shorten(value, LONGEST_TEXT);
  if (Array.isArray(value)) return value.map(printable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [shorten(name, LONGEST_TEXT), printable(inner)]),
  );
}
