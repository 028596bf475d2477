import pino from 'pino';
import { quote, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;

export interface LeveledLogger extends Logger {
  /** Least level that is logged; may be changed at any time. */
  level: string;
}

/** @throws RudderError `usage` */
export function checkLogLevel(level: string): string {
  if ((LOG_LEVELS as readonly string[]).includes(level)) return level;
  throw new RudderError('usage', `log level ${quote(level)}: expected one of ${LOG_LEVELS.join(', ')}`);
}

/**
 * JSON lines on stdout, which journald keeps; for a person at a terminal, lines to read. Synchronous: the last line
 * before an exit must not be lost.
 */
export async function createLogger(level: string, isTerminal = process.stdout.isTTY): Promise<LeveledLogger> {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  return isTerminal ? readable(options) : lines(options);
}

const lines = (options: pino.LoggerOptions): LeveledLogger => pino(options, pino.destination({ fd: 1, sync: true }));

async function readable(options: pino.LoggerOptions): Promise<LeveledLogger> {
  const { default: pretty } = await import('pino-pretty'); // loaded by those who see it only
  const log: LeveledLogger = pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss', singleLine: true }));
  return log;
}
