import pino from 'pino';
import { quote, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { isJournal, PRIORITY } from './journal.js';

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

/** What pino writes itself. */
const OWN_KEYS = ['level', 'time', 'msg'];

/** A key that comes twice in a line is nothing that all readers agree upon. */
function apartFromOwn(fields: Record<string, unknown>): Record<string, unknown> {
  if (!OWN_KEYS.some((key) => key in fields)) return fields;
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [OWN_KEYS.includes(key) ? `${key}_` : key, value]),
  );
}

export interface LogPlace {
  readonly fd?: number;
  readonly isTerminal?: boolean;
}

/**
 * JSON lines on stdout, behind their priority where journald reads them; for a person at a terminal, lines to read.
 * Synchronous: the last line before an exit must not be lost.
 */
export async function createLogger(
  level: string,
  { fd = 1, isTerminal = process.stdout.isTTY }: LogPlace = {},
): Promise<LeveledLogger> {
  const timestamp = pino.stdTimeFunctions.isoTime;
  const options = { level, base: null, timestamp, formatters: { log: apartFromOwn } };
  return isTerminal ? readable(options) : lines(options, fd);
}

function lines(options: pino.LoggerOptions, fd: number): LeveledLogger {
  const destination = pino.destination({ fd, sync: true });
  return pino(options, isJournal(fd) ? withPriority(destination) : destination);
}

function withPriority(destination: pino.DestinationStream): pino.DestinationStream {
  return {
    write(line) {
      destination.write(`<${priorityOf(line)}>${line}`);
    },
  };
}

function priorityOf(line: string): number {
  const level = Number(/^{"level":(\d+)/.exec(line)?.[1]);
  if (level >= 60) return PRIORITY.critical;
  if (level >= 50) return PRIORITY.error;
  if (level >= 40) return PRIORITY.warning;
  return level >= 30 ? PRIORITY.info : PRIORITY.debug;
}

async function readable(options: pino.LoggerOptions): Promise<LeveledLogger> {
  const { default: pretty } = await import('pino-pretty'); // loaded by those who see it only
  const log: LeveledLogger = pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss', singleLine: true }));
  return log;
}
