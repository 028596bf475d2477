const KIND = 'kubernetes';

/** What a node remembers of its cluster: the kind, where it was asked, and which annotations count. */
export const sourceOf = (server: string, prefix: string) => `${KIND} ${server} ${prefix}`;

/** Undefined: it is of another kind. */
export function readSource(source: string): { server: string; prefix: string } | undefined {
  const [kind, server, prefix] = source.split(' ');
  return kind === KIND && prefix !== undefined ? { server, prefix } : undefined;
}
