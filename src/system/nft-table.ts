import { call, isNotInstalled } from './command.js';
import type { FirewallSettings } from './firewall-rules.js';
import { elementsChange, type Members, TABLE, TABLE_COUNTERS, type TableCounter, tableOf } from './nft-rules.js';

/** Our own nft table, and what is in it. */
export interface NftTable {
  /** Makes it if it is not there as it was made. @returns whether it had to be made */
  look(): Promise<boolean>;
  /** Makes it anew with other settings. */
  adapt(settings: FirewallSettings): Promise<void>;
  members(): Members;
  addMembers(members: Members): Promise<void>;
  removeMembers(members: Members): Promise<void>;
  /** Makes it anew with these members, and those alone; not if it has them. */
  replaceMembers(members: Members): Promise<void>;
  /** Since the table was last made; what was dropped, since the first time. @throws if it is not there */
  counters(): Promise<Record<TableCounter, number>>;
}

/** @param signal ends what is under way: the table is changed in one step, or not at all */
export function createNftTable(initial: FirewallSettings, members: Members, signal: AbortSignal): NftTable {
  let settings = initial;
  const all = { direct: new Set(members.direct), portMapped: new Set(members.portMapped) };
  /** The table without its elements and counts, as nft printed it when we had made it. */
  let made: string | undefined;

  const list = () => call('nft', ['--stateless', '--terse', 'list', 'table', 'ip', TABLE], { signal });

  /** What was dropped by the tables before this one. */
  let dropped: Partial<Record<TableCounter, number>> = {};

  async function carryDropped(): Promise<void> {
    const now = await counters().catch(() => undefined); // somebody may have deleted the table
    if (now === undefined) return;
    const { dropped_forged, dropped_stranger, dropped_foreign } = now;
    dropped = { dropped_forged, dropped_stranger, dropped_foreign };
  }

  async function make(): Promise<void> {
    if (made !== undefined) await carryDropped();
    made = undefined;
    await call('nft', ['-f', '-'], { input: tableOf(settings, all), signal });
    made = await list();
  }

  async function counters(): Promise<Record<TableCounter, number>> {
    const text = await call('nft', ['--json', 'list', 'counters', 'table', 'ip', TABLE], { signal });
    const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
    const packets = new Map(nftables.map(({ counter }) => [counter?.name, counter?.packets]));
    const entries = TABLE_COUNTERS.map((name) => [name, (packets.get(name) ?? 0) + (dropped[name] ?? 0)]);
    return Object.fromEntries(entries) as Record<TableCounter, number>;
  }

  async function change(verb: 'add' | 'delete', some: Members): Promise<void> {
    for (const kind of ['direct', 'portMapped'] as const) {
      for (const address of some[kind]) all[kind][verb](address);
    }
    // If the table is not as we think, it is made anew, with all members.
    if (made === undefined) return make();
    await call('nft', ['-f', '-'], { input: elementsChange(verb, some), signal }).catch(make);
  }

  return {
    async look() {
      if (made !== undefined && (await list().catch(whenMissing)) === made) return false;
      await make();
      return true;
    },
    adapt(next) {
      settings = next;
      return make();
    },
    async replaceMembers(members) {
      const isSame = (kind: keyof Members) =>
        members[kind].size === all[kind].size && [...members[kind]].every((address) => all[kind].has(address));
      if (made !== undefined && isSame('direct') && isSame('portMapped')) return;
      for (const kind of ['direct', 'portMapped'] as const) {
        all[kind].clear();
        for (const address of members[kind]) all[kind].add(address);
      }
      return make();
    },
    members: () => all,
    addMembers: (some) => change('add', some),
    removeMembers: (some) => change('delete', some),
    counters,
  };
}

function whenMissing(error: unknown): undefined {
  if (isNotInstalled(error)) throw error;
  return undefined;
}

/** @throws what nft says: that it cannot look is no answer */
export async function isNftTableThere(): Promise<boolean> {
  const tables = await call('nft', ['list', 'tables', 'ip']);
  return tables.split('\n').includes(`table ip ${TABLE}`);
}

/** @returns whether there was one. @throws what nft says */
export async function removeNftTable(): Promise<boolean> {
  if (!(await isNftTableThere())) return false;
  await call('nft', ['delete', 'table', 'ip', TABLE]);
  return true;
}
