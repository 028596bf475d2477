/**
 * A rudder command as a remedy names it, for a shell. What it needs to reach the same etcd is repeated: without
 * --etcd-prefix, say, the command would work on another cluster's keys.
 */
export function rudderCommand(
  words: readonly string[],
  { flags = [] }: { flags?: readonly string[] | undefined },
): string {
  return ['rudder', ...words, ...flags].map(shellWord).join(' ');
}

/** What creates the network config that is missing. */
export const initCommand = (etcd: { flags?: readonly string[] | undefined }) =>
  rudderCommand(['init', '{"Network":"10.240.0.0/16"}'], etcd);

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
