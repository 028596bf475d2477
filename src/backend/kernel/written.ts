import { erase, type Tables, withoutImplied, write } from './tables.js';
import { type Entry, placeOf } from './wanted.js';

/** What a start has written, so that one that is given up can take it back. */
export interface Written {
  /** @param before what was in its place; undefined: nothing */
  add(entry: Entry, before: Entry | undefined): void;
  /** It is gone again, because nobody wants it: what was in its place is not wanted either. */
  drop(entry: Entry): void;
  /**
   * What was made goes, and what was in the place of an entry, of an earlier run or of somebody else, is there again.
   * @param tunnel undefined: the device is gone, and its neighbours and FDB entries with it
   */
  takeBack(tunnel: number | undefined): Promise<void>;
}

export function createWritten(tables: Tables): Written {
  const written = new Map<string, { readonly entry: Entry; readonly before: Entry | undefined }>();

  return {
    add(entry, before) {
      const place = placeOf(entry);
      const first = written.get(place);
      written.set(place, { entry, before: first === undefined ? before : first.before });
    },
    drop: (entry) => void written.delete(placeOf(entry)),
    async takeBack(tunnel) {
      const reachable = [...written.values()].filter(
        ({ entry: { kind } }) => tunnel !== undefined || kind === 'route' || kind === 'rule',
      );
      written.clear();
      // Routes before what they lead through. What is put back comes last, since a link that is gone refuses it.
      const made = reachable.flatMap(({ entry, before }) => (before === undefined ? [entry] : []));
      for (const entry of withoutImplied(made.reverse())) await erase(tables, tunnel, entry);
      for (const { before } of reachable) if (before !== undefined) await write(tables, tunnel, before);
    },
  };
}
