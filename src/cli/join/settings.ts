import { assignmentsIn, parseEnvironmentFile } from '../environment-file.js';

/** What a file of settings should say; undefined: nothing of that variable. */
export type Wanted = ReadonlyMap<string, string | undefined>;

export interface Change {
  readonly name: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** Of what is to be another thing afterwards; as systemd, an empty value is none. */
export function changesTo(text: string, wanted: Wanted): Change[] {
  const now = parseEnvironmentFile(text);
  return [...wanted]
    .map(([name, after]) => ({ name, before: now.get(name) || undefined, after }))
    .filter(({ before, after }) => before !== after);
}

/**
 * The text with these changes, and all else of it as it was: each setting where it was, else below the comment with its
 * default, else at the end.
 */
export function withChanges(text: string, changes: readonly Change[]): string {
  return changes.reduce((edited, { name, after }) => withSetting(edited, name, after), text);
}

function withSetting(text: string, name: string, value: string | undefined): string {
  const line = value === undefined ? '' : `${name}=${quoted(value)}`;
  const found = assignmentsIn(text).filter((assignment) => assignment.name === name);
  const last = found.pop();
  if (last !== undefined) {
    const replaced = line === '' ? withoutPart(text, last) : text.slice(0, last.start) + line + text.slice(last.end);
    // The ones before it, from the end on, count for nothing and would only mislead.
    return found.reverse().reduce(withoutPart, replaced);
  }
  const comment = new RegExp(`^#\\s*${name}=.*$`, 'm').exec(text);
  if (comment !== null) {
    const end = comment.index + comment[0].length;
    return `${text.slice(0, end)}\n${line}${text.slice(end)}`;
  }
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`;
}

/** With the end of its line. */
function withoutPart(text: string, { start, end }: { start: number; end: number }): string {
  return text.slice(0, start) + text.slice(text[end] === '\n' ? end + 1 : end);
}

/** As systemd reads it back. */
function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `"${value.replace(/["\\`$]/g, '\\$&')}"`;
}
