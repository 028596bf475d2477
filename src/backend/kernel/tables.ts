import { errnoOf } from '../../core/errors.js';
import { contains, type Subnet } from '../../core/subnet.js';
import type { Forwarding } from '../../system/netlink.js';
import { type Entry, ROUTE_PROTOCOL } from './wanted.js';

/** The kernel's tables as far as they are ours to write: see wanted.ts. */
export type Tables = Pick<
  Forwarding,
  | 'neighbours'
  | 'replaceNeighbour'
  | 'deleteNeighbour'
  | 'fdb'
  | 'replaceFdb'
  | 'deleteFdb'
  | 'routeEntries'
  | 'replaceRoute'
  | 'deleteRouteEntry'
>;

/** All of the tunnel device's, and all routes into the Network and of ours, whoever made them. */
export async function readTables(tables: Tables, network: Subnet, tunnel: number | undefined): Promise<Entry[]> {
  const routes = await tables.routeEntries({ network, index: tunnel, protocol: ROUTE_PROTOCOL });
  const found: Entry[] = routes.map((route) => ({ kind: 'route', ...route }));
  if (tunnel === undefined) return found;
  for (const neighbour of await tables.neighbours(tunnel)) found.push({ kind: 'neighbour', ...neighbour });
  for (const entry of await tables.fdb(tunnel)) found.push({ kind: 'fdb', ...entry });
  return found;
}

/** Whether an entry that nobody wants is ours to remove: what the tunnel device has inside the Network, and what we made. */
export function isOurs(entry: Entry, network: Subnet, tunnel: number | undefined): boolean {
  switch (entry.kind) {
    case 'neighbour':
      return contains(network, entry.address);
    case 'fdb':
      return true;
    case 'route': {
      const { protocol, index, destination } = entry;
      if (protocol === ROUTE_PROTOCOL) return true;
      const isInside = destination.prefixLength >= network.prefixLength && contains(network, destination.address);
      return isInside && index !== undefined && index === tunnel;
    }
  }
}

/** In the place of what is there. @throws NetlinkError */
export async function write(tables: Tables, tunnel: number | undefined, entry: Entry): Promise<void> {
  switch (entry.kind) {
    case 'neighbour':
      return tables.replaceNeighbour(tunnel!, entry);
    case 'fdb':
      return tables.replaceFdb(tunnel!, entry);
    case 'route':
      return tables.replaceRoute(entry);
  }
}

/** What is gone already is fine. @throws NetlinkError */
export async function erase(tables: Tables, tunnel: number | undefined, entry: Entry): Promise<void> {
  try {
    switch (entry.kind) {
      case 'neighbour':
        return await tables.deleteNeighbour(tunnel!, entry);
      case 'fdb':
        return await tables.deleteFdb(tunnel!, entry);
      case 'route':
        return await tables.deleteRouteEntry(entry);
    }
  } catch (error) {
    if (!GONE.has(errnoOf(error) ?? '')) throw error;
  }
}

/** The entry, the route, or the whole device. */
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV']);

/** Takes back all routes that we have made, wherever they lead. @returns how many */
export async function removeOurRoutes(tables: Tables): Promise<number> {
  const routes = await tables.routeEntries({ protocol: ROUTE_PROTOCOL });
  const ours = routes.filter(({ protocol }) => protocol === ROUTE_PROTOCOL);
  for (const route of ours) await erase(tables, undefined, { kind: 'route', ...route });
  return ours.length;
}
