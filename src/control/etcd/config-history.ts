/**
 * The versions of the network config, one key each: `<prefix>/rudder/config-history/0000000007`. Numbered, so that the keys
 * are in the order in which they were written, whatever the clocks of those who wrote them say.
 */
export const historyPrefixOf = (prefix: string) => `${prefix}/rudder/config-history/`;

/** How many are kept. */
export const KEPT_VERSIONS = 20;

const DIGITS = 10;

/** A version of the network config: what `note` says is the affair of who writes and reads it. */
export interface ConfigVersion {
  readonly number: number;
  readonly note: string;
}

/** The number in a key's last part; undefined: it is no version's. */
export function versionNumber(name: string): number | undefined {
  return /^\d{10}$/.test(name) ? Number(name) : undefined;
}

/**
 * Where the next version goes, and up to which name the older ones go.
 * @param names of those that there are
 */
export function nextVersion(names: readonly string[]): { readonly name: string; readonly firstKept: string } {
  const numbers = names.flatMap((name) => versionNumber(name) ?? []).sort((a, b) => a - b);
  const next = (numbers.at(-1) ?? 0) + 1;
  return { name: nameOf(next), firstKept: nameOf(numbers.at(1 - KEPT_VERSIONS) ?? numbers[0] ?? next) };
}

const nameOf = (number: number) => String(number).padStart(DIGITS, '0');
