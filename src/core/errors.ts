/**
 * The errors a user can meet. Each is one line that names the offending value, says what was expected
 * and ends with a remedy; `code` is stable, and `cli/exit-codes.ts` maps it to the exit status.
 */
export type ErrorCode =
  | 'usage'
  | 'network-config'
  | 'registry-refused'
  | 'registry-unavailable'
  | 'interface'
  | 'device'
  | 'socket'
  | 'firewall'
  | 'file'
  | 'lease-conflict'
  | 'data-path'
  | 'not-running'
  | 'not-ready'
  | 'limit'
  | 'config-exists'
  | 'renumbering'
  | 'lab';

export class RudderError extends Error {
  override readonly name = 'RudderError';

  /** @param message one line without a trailing full stop: `<what and value>: <expected>; <remedy>` */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What must not reach a terminal: control characters, marks that turn the direction of writing, half characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}]+/gu;

/** Longest line about an error: what was refused comes first and the remedy last, so a longer one loses its middle. */
export const MAX_MESSAGE_LENGTH = 1000;
const MESSAGE_START = 700;

/** The text of anything thrown, on one line of bounded length without control characters. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? String(error.message) : textOf(error);
  const ends = MAX_MESSAGE_LENGTH - MESSAGE_START - 5;
  const bounded =
    text.length <= MAX_MESSAGE_LENGTH ? text : `${text.slice(0, MESSAGE_START)} ... ${text.slice(text.length - ends)}`;
  return bounded.replace(/\s*[\r\n\u2028\u2029]\s*/g, ' ').replace(UNPRINTABLE, ' ');
}

/** What has no text of its own, such as an object without a prototype, makes String() throw. */
function textOf(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return typeof thrown;
  }
}

/** The errno name (`ENOENT`) of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Text of a stranger's for a line or a table cell: without control characters, and cut. */
export function shorten(text: string, length: number): string {
  // Cut first: values come from etcd and may be a megabyte long.
  const oneLine = text
    .slice(0, 4 * length)
    .replace(UNPRINTABLE, ' ')
    .replace(/\s+/g, ' ');
  if (oneLine.length <= length && text.length <= 4 * length) return oneLine;
  return `${oneLine.slice(0, length - 3).replace(/\p{Cs}$/u, '')}...`;
}

/** Quotes a value for an error line, cut to 80 characters. */
export function quote(value: unknown): string {
  return `"${shorten(typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)), 80)}"`;
}
