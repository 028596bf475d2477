import type { EventKind } from './event.js';

/** @param event what `rudder events` remembers it as; undefined: it is a line of the log and no more */
type Log = (fields: object, message: string, event?: EventKind) => void;

/** What a module needs to speak: a fixed message, and fields for all that varies. pino is one. */
export interface Logger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
  /** Whether anybody hears it: for fields that cost something to make. */
  isLevelEnabled(level: 'debug'): boolean;
}

const ignore = () => undefined;
/** For whoever looks at what others have left, and tells of it in his own words. */
export const SILENT: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore, isLevelEnabled: () => false };
