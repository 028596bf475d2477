/**
 * A rudder command as a remedy names it, for a shell. What it needs to reach the same etcd is repeated: without
 * --etcd-prefix, say, the command would work on another cluster's keys.
 */
export function rudderCommand(words: readonly string[], { flags = [] }: { flags?: readonly string[] }): string {
  return ['rudder', ...words, ...flags].map(shellWord).join(' ');
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
