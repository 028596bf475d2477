import type { Subnet } from '../../core/subnet.js';
import { MAIN_TABLE } from '../../system/netlink.js';
import { erase, isOurs, readTables, type Tables, withoutImplied, write } from './tables.js';
import { type Entry, type Ground, isSame, KINDS, placeOf } from './wanted.js';
import { createWritten, type Written } from './written.js';

export interface PresentOptions {
  readonly netlink: Tables;
  readonly network: Subnet;
  /** What shall be there; undefined: nothing. */
  readonly wantedAt: (place: string) => Entry | undefined;
}

/** What is in the kernel's tables as far as we know, by place, and what this run has changed there. */
export interface Present {
  /** Lists all there is. @returns how many of the entries that we had written are gone, and those that nobody wants */
  read(on: Ground): Promise<{ lost: number; others: Entry[] }>;
  /** Nothing is known any more. */
  clear(): void;
  /** Unless it is there. */
  write(entry: Entry, on: Ground): Promise<void>;
  /** The last kinds first. */
  remove(entries: readonly Entry[], on: Ground): Promise<void>;
  /** How many that are wanted are there, and how many of them are routes by the underlay. */
  count(on: Ground | undefined): { wanted: number; direct: number };
  /** From now on what was written stays. */
  persist(): void;
  /** All as it was found, unless it stays. */
  takeBack(on: Ground | undefined): Promise<void>;
}

export function createPresent({ netlink, network, wantedAt }: PresentOptions): Present {
  let present = new Map<string, Entry>();
  /** Undefined: it stays. */
  let written: Written | undefined = createWritten(netlink);

  const isWanted = (entry: Entry) => isSame(wantedAt(placeOf(entry)), entry);

  const isPlain = (entry: Entry, on: Ground | undefined) =>
    entry.kind === 'route' &&
    entry.table === MAIN_TABLE &&
    entry.index === on?.underlay.index &&
    entry.index !== undefined;

  /** The kernel's entry of each place, and those that are to be removed. */
  function compare(found: readonly Entry[], { tunnel }: Ground) {
    const byPlace = new Map<string, Entry>();
    for (const entry of found) {
      // Of several routes the wanted one, else the first, whose place it will take.
      const place = placeOf(entry);
      if (!byPlace.has(place) || isWanted(entry)) byPlace.set(place, entry);
    }
    const others = found.filter((entry) =>
      wantedAt(placeOf(entry)) === undefined ? isOurs(entry, network, tunnel) : byPlace.get(placeOf(entry)) !== entry,
    );
    return { byPlace, others };
  }

  return {
    async read(on) {
      const { byPlace, others } = compare(await readTables(netlink, network, on.tunnel), on);
      const lost = [...present].filter(([place, entry]) => isWanted(entry) && !isSame(byPlace.get(place), entry));
      present = byPlace;
      return { lost: lost.length, others };
    },
    clear() {
      present = new Map();
    },
    async write(entry, on) {
      const place = placeOf(entry);
      const before = present.get(place);
      if (isSame(before, entry)) return;
      await write(netlink, on.tunnel, entry);
      written?.add(entry, before);
      present.set(place, entry);
    },
    async remove(entries, on) {
      const toErase = new Set(withoutImplied(entries));
      for (const kind of [...KINDS].reverse()) {
        for (const entry of entries.filter((candidate) => candidate.kind === kind)) {
          if (toErase.has(entry)) await erase(netlink, on.tunnel, entry);
          const place = placeOf(entry);
          if (!isSame(present.get(place), entry)) continue;
          present.delete(place);
          written?.drop(entry);
        }
      }
    },
    count(on) {
      const there = [...present.values()].filter(isWanted);
      return { wanted: there.length, direct: there.filter((entry) => isPlain(entry, on)).length };
    },
    persist() {
      written = undefined;
    },
    takeBack: async (on) => written?.takeBack(on?.tunnel),
  };
}
