/**
 * The errors a user can meet. Each is one line that names the offending value, says what was expected
 * and ends with a remedy; `code` is stable, and `cli/exit-codes.ts` maps it to the exit status.
 */
export type ErrorCode =
  | 'usage'
  | 'network-config'
  | 'etcd-refused'
  | 'etcd-unavailable'
  | 'interface'
  | 'device'
  | 'socket'
  | 'file'
  | 'lease-conflict'
  | 'data-path'
  | 'not-running'
  | 'not-ready'
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

/** The text of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*[\r\n]\s*/g, ' ');
}

/** The errno name (`ENOENT`) of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Quotes a value for an error line, cut to 80 characters: values come from etcd and may be a megabyte long. */
export function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  // Control characters too: the line may end on a terminal.
  const oneLine = text.replace(/[\s\p{Cc}]+/gu, ' ');
  return `"${oneLine.length > 80 ? `${oneLine.slice(0, 77)}...` : oneLine}"`;
}
