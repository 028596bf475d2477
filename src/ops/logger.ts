import pino from 'pino';
import { RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;

export interface LeveledLogger extends Logger {
  /** Least level that is logged; may be changed at any time. */
  level: string;
}

/** @throws RudderError `usage` */
export function checkLogLevel(level: string): string {
  if ((LOG_LEVELS as readonly string[]).includes(level)) return level;
  throw new RudderError('usage', `log level "${level.slice(0, 40)}": expected one of ${LOG_LEVELS.join(', ')}`);
}

/** JSON lines on stdout, which journald keeps. Synchronous: the last line before an exit must not be lost. */
export function createLogger(level: string): LeveledLogger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 1, sync: true }));
}
