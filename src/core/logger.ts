type Log = (fields: object, message: string) => void;

/** What a module needs to speak: a fixed message, and fields for all that varies. pino is one. */
export interface Logger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
}
