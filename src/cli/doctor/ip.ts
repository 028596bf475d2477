import type { Host } from './host.js';

/** What `ip` prints as JSON; undefined: it is not there, or refuses. */
export async function askIp<T>(host: Host, ...args: string[]): Promise<T[] | undefined> {
  const text = await host.run('ip', ['-4', '-j', ...args]);
  if (text === undefined) return undefined;
  // Old versions print nothing at all for an empty list.
  return text.trim() === '' ? [] : (JSON.parse(text) as T[]);
}

/** A route that the kernel follows, or has. */
export interface Route {
  readonly dst: string;
  readonly type?: string;
  readonly dev?: string;
  readonly gateway?: string;
  /** Who has made it. */
  readonly protocol?: string;
  /** Undefined: the main one. */
  readonly table?: string;
}

/** The route that a packet takes, policy rules included; undefined: none. @param asContainer by whom it is sent, and from where it comes in */
export async function wayTo(
  host: Host,
  address: string,
  asContainer?: { readonly from: string; readonly bridge: string },
): Promise<Route | undefined> {
  const source = asContainer === undefined ? [] : ['from', asContainer.from, 'iif', asContainer.bridge];
  return (await askIp<Route>(host, 'route', 'get', 'fibmatch', address, ...source))?.at(0);
}

/** A route's way in words: not each has a device. */
export function nameOf(route: Omit<Route, 'dst'> | undefined): string {
  if (route === undefined) return 'nowhere';
  const { type, dev, table } = route;
  const way = dev ?? (type === undefined || type === 'unicast' ? 'no device' : `${type} (no device)`);
  return table === undefined ? way : `${way} (table ${table})`;
}
