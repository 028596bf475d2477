/**
 * One assignment, comment or other line of an EnvironmentFile, as systemd reads it (env-file.c): quotes count only at the
 * beginning of a value, where several may follow each other; a `#` inside of a line is no comment; what has no `=` is
 * passed over.
 */
const ENTRY =
  /[ \t\r\n]*(?:[#;][^\r\n]*|([^=\r\n]*)(?:=((?:[ \t]+|'[^']*(?:'|$)|"(?:\\[\s\S]|[^"\\])*(?:"|$))*)((?:\\[\s\S]|[^\\\r\n])*))?)/y;
const QUOTED = /[ \t]+|'([^']*)'?|"((?:\\[\s\S]|[^"\\])*)"?/g;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The variables of a file such as /etc/default/rudder. It is no shell script: nothing is expanded. */
export function parseEnvironmentFile(text: string): Map<string, string> {
  return new Map(assignmentsIn(text).map(({ name, value }) => [name, value]));
}

export interface Assignment {
  readonly name: string;
  readonly value: string;
  /** Where it begins in the text, and what comes behind it. */
  readonly start: number;
  readonly end: number;
}

/** In their order: the last one of a variable counts. */
export function assignmentsIn(text: string): Assignment[] {
  const found: Assignment[] = [];
  for (ENTRY.lastIndex = 0; ENTRY.lastIndex < text.length; ) {
    const start = ENTRY.lastIndex;
    const [entry, name, quoted, plain] = ENTRY.exec(text) ?? [''];
    if (entry === '') break; // a last backslash: systemd drops it too
    const key = name?.trim() ?? '';
    if (plain === undefined || !NAME.test(key)) continue;
    const value = unquote(quoted) + plainText(plain);
    found.push({ name: key, value, start: start + entry.search(/[^ \t\r\n]/), end: ENTRY.lastIndex });
  }
  return found;
}

function unquote(text: string): string {
  return text.replace(
    QUOTED,
    (_, single?: string, double?: string) => single ?? double?.replace(/\\(?:\n|(["\\`$]))/g, '$1') ?? '',
  );
}

/** A backslash takes the next character as it is, and joins lines. Blanks at the end do not count. */
function plainText(text: string): string {
  return text
    .replace(/(?<!\\)((?:\\\\)*)[ \t]+$/, '$1')
    .replace(/\\([\s\S])/g, (_, next) => (/[\r\n]/.test(next) ? '' : next));
}
