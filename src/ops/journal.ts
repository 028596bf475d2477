import { fstatSync } from 'node:fs';

/** Priorities of syslog(3), which journald reads from the start of a line (sd-daemon(3)). */
export const PRIORITY = { critical: 2, error: 3, warning: 4, info: 6, debug: 7 } as const;

/** What to write before a line that has this priority: nothing, unless journald reads it. */
export function priorityPrefix(priority: number, fd: number): string {
  return isJournal(fd) ? `<${priority}>` : '';
}

/** systemd says in JOURNAL_STREAM which file it has connected with the journal (systemd.exec(5)): it may be another one. */
export function isJournal(fd: number, stream = process.env.JOURNAL_STREAM): boolean {
  if (stream === undefined || stream === '') return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return `${dev}:${ino}` === stream;
  } catch {
    return false; // closed
  }
}
