/** What a node remembers of its cluster: where it was asked, and below which prefix. */
export const sourceOf = (endpoints: readonly string[], prefix: string) => `${endpoints.join(',')}${prefix}`;

const SOURCE = /^(https?:\/\/[^/,]+(?:,https?:\/\/[^/,]+)*)(\/.+)$/;

/** Undefined: it is none of etcd. */
export function readSource(source: string): { endpoints: readonly string[]; prefix: string } | undefined {
  const [, endpoints, prefix] = SOURCE.exec(source) ?? [];
  return prefix === undefined ? undefined : { endpoints: endpoints.split(','), prefix };
}
