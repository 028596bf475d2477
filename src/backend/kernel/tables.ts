import { counted } from '../../core/counted.js';
import { errnoOf } from '../../core/errors.js';
import { contains, isWithin, type Subnet } from '../../core/subnet.js';
import { type Forwarding, MAIN_TABLE } from '../../system/netlink.js';
import { type AllowedEntry, type Entry, type PeerEntry, PROBE_TABLE, ROUTE_PROTOCOL } from './wanted.js';

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
  | 'rules'
  | 'addRule'
  | 'deleteRule'
> & {
  /** Of a tunnel that knows peers, and has neither neighbours nor an FDB; undefined: it is none. */
  readonly peers?: PeerTable | undefined;
};

export interface PeerTable {
  read(tunnel: number): Promise<Entry[]>;
  write(tunnel: number, entry: PeerEntry | AllowedEntry): Promise<void>;
  /** What is gone already is fine. */
  erase(tunnel: number, entry: PeerEntry | AllowedEntry): Promise<void>;
}

/** Where ours may be. */
const TABLES = [MAIN_TABLE, PROBE_TABLE];

/** All of the tunnel device's, all routes into the Network whoever made them, and all routes and rules of ours. */
export async function readTables(tables: Tables, network: Subnet, tunnel: number | undefined): Promise<Entry[]> {
  const routes = await tables.routeEntries({ network, index: tunnel, protocol: ROUTE_PROTOCOL, tables: TABLES });
  const found: Entry[] = routes.map((route) => ({ kind: 'route', ...route }));
  for (const rule of await tables.rules(ROUTE_PROTOCOL)) found.push({ kind: 'rule', ...rule });
  if (tunnel === undefined) return found;
  if (tables.peers !== undefined) return [...found, ...(await tables.peers.read(tunnel))];
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
    case 'rule':
    case 'peer':
    case 'allowed':
      return true;
    case 'route': {
      const { protocol, index, destination } = entry;
      if (protocol === ROUTE_PROTOCOL) return true;
      return isWithin(destination, network) && index !== undefined && index === tunnel;
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
    case 'peer':
    case 'allowed':
      return tables.peers!.write(tunnel!, entry);
    case 'rule':
      return tables.addRule(entry);
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
      case 'peer':
      case 'allowed':
        return await tables.peers!.erase(tunnel!, entry);
      case 'rule':
        return await tables.deleteRule(entry);
      case 'route':
        return await tables.deleteRouteEntry(entry);
    }
  } catch (error) {
    if (!GONE.has(errnoOf(error) ?? '')) throw error;
  }
}

/** Without the subnets that go by themselves, with their peer. */
export function withoutImplied(entries: readonly Entry[]): Entry[] {
  const leaving = new Set(entries.flatMap((entry) => (entry.kind === 'peer' ? [entry.publicKey] : [])));
  return entries.filter((entry) => entry.kind !== 'allowed' || !leaving.has(entry.publicKey));
}

/** The entry, the route, or the whole device. */
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV']);

/** All routes and rules that a node has made on this host, wherever they lead. */
export async function ourRoutes(tables: Tables): Promise<Entry[]> {
  const routes = await tables.routeEntries({ protocol: ROUTE_PROTOCOL, tables: TABLES });
  const rules = await tables.rules(ROUTE_PROTOCOL);
  return [
    ...routes.map((route): Entry => ({ kind: 'route', ...route })),
    ...rules.map((rule): Entry => ({ kind: 'rule', ...rule })),
  ];
}

/** Takes them back. @returns how many of them, in words */
export async function removeOurRoutes(tables: Tables): Promise<string[]> {
  const ours = await ourRoutes(tables);
  for (const entry of ours) await erase(tables, undefined, entry);
  return (['route', 'rule'] as const).flatMap((kind) => {
    const count = ours.filter((entry) => entry.kind === kind).length;
    return count > 0 ? [counted(count, kind)] : [];
  });
}
