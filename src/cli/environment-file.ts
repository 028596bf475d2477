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
  const variables = new Map<string, string>();
  for (ENTRY.lastIndex = 0; ENTRY.lastIndex < text.length; ) {
    const [entry, name, quoted, plain] = ENTRY.exec(text) ?? [''];
    if (entry === '') break; // a last backslash: systemd drops it too
    const key = name?.trim() ?? '';
    if (plain !== undefined && NAME.test(key)) variables.set(key, unquote(quoted) + plainText(plain));
  }
  return variables;
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
