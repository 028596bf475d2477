const KIND = 'kubernetes';

/** What a node remembers of its cluster: the kind, where it was asked, and which annotations count. */
export const sourceOf = (server: string, prefix: string) => `${KIND} ${server} ${prefix}`;

/** The annotations' prefix in it; undefined: it is of another kind. */
export function prefixIn(source: string): string | undefined {
  const [kind, , prefix] = source.split(' ');
  return kind === KIND ? prefix : undefined;
}
