/** What a value is called whose text nobody is to see. */
const SECRET_NAME = /key|secret|passw(or)?d|token|psk/i;

export const HIDDEN = '(hidden)';
/** What is said of a secret that nobody has set: that is no secret. */
export const NO_SECRET = 'none';

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** A value as JSON has it, without the secrets in it. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, isSecret(name, inner) ? HIDDEN : withoutSecrets(inner)]),
  );
}

/** An empty one is none. */
const isSecret = (name: string, value: unknown) => isSecretName(name) && value !== '' && value !== null;

/** The same of JSON text; of what is no JSON each value behind a name of a secret is hidden, as far as it can be told. */
export function redactJson(text: string): string {
  if (!SECRET_NAME.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    const redacted = withoutSecrets(value);
    // As it was written, if there is nothing to hide.
    return JSON.stringify(redacted) === JSON.stringify(value) ? text : JSON.stringify(redacted);
  } catch {
    return text.replace(NAMED_VALUE, `$1"${HIDDEN}"`);
  }
}

/** Text of any kind, such as a log, without what looks like a secret in it. Paths of files stay: `--etcd-password-file /etc/x`. */
export function redactText(text: string): string {
  const named = (_: string, before: string, value: string) => `${before}${hiddenAs(value)}`;
  const unnamed = REDACTIONS.reduce((redacted, [pattern, by]) => redacted.replace(pattern, by), text);
  return NAMED.reduce((redacted, pattern) => redacted.replace(pattern, named), unnamed);
}

/** What a secret is called in it; the name may go on, but not as that of a file. Bounded: a line may be a megabyte long. */
const NAME = String.raw`(?:passw(?:or)?d|secret|psk|token|private[_ -]?key|preshared[_ -]?key)(?![\w.-]{0,40}file)[\w.-]{0,40}`;

/** In quotes, as JSON within JSON escapes them too, or up to the next space. */
const VALUE = String.raw`(\\"(?:[^"\\\n]|\\{2,}"?|\\[^"\\\n])*(?:\\")?|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s,;}\]"'\\]+)`;

const REDACTIONS: readonly (readonly [pattern: RegExp, by: string])[] = [
  [/-----BEGIN [^-\n]{0,80}-----[\s\S]*?(-----END [^-\n]{0,80}-----|$)/g, HIDDEN],
  [/(\b[a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/@"'<>]{1,500}@/gi, `$1${HIDDEN}@`],
  [/(\bAuthorization["']?\s{0,9}[:=]\s{0,9}["']?)[^\r\n"']+/gi, `$1${HIDDEN}`],
];

const NAMED: readonly RegExp[] = [
  new RegExp(String.raw`(${NAME}\\{0,9}["']?[ \t]{0,9}[:=][ \t]{0,9})${VALUE}`, 'gi'),
  new RegExp(String.raw`(--[\w-]{0,40}${NAME}[ \t]{1,9})${VALUE}`, 'gi'),
];

/** In the same quotes, so that JSON stays JSON. */
function hiddenAs(value: string): string {
  const [quote] = /^(\\?["'])?/.exec(value)!;
  return `${quote}${HIDDEN}${quote}`;
}

const NAMED_VALUE = /((?:key|secret|passw(?:or)?d|token|psk)[^"]{0,40}"\s{0,9}:\s{0,9})("(?:[^"\\]|\\.)*"?|[^,}\s]+)/gi;
