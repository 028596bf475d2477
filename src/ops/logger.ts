import pino from 'pino';
import type { Logger } from '../core/logger.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;

/** JSON lines on stdout, which journald keeps. Synchronous: the last line before an exit must not be lost. */
export function createLogger(level: string): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 1, sync: true }));
}
