/** What a value is called whose text nobody is to see. */
const SECRET_NAME = /key|secret|passw(or)?d|token|psk/i;

export const HIDDEN = '(hidden)';

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** A value as JSON has it, without the secrets in it. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, isSecretName(name) ? HIDDEN : withoutSecrets(inner)]),
  );
}

/** The same of JSON text; of what is no JSON each value behind a name of a secret is hidden, as far as it can be told. */
export function redactJson(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    const redacted = withoutSecrets(value);
    // As it was written, if there is nothing to hide.
    return JSON.stringify(redacted) === JSON.stringify(value) ? text : JSON.stringify(redacted);
  } catch {
    return text.replace(NAMED_VALUE, `$1"${HIDDEN}"`);
  }
}

const NAMED_VALUE = /("[^"]*(?:key|secret|passw(?:or)?d|token|psk)[^"]*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^,}\s]+)/gi;
