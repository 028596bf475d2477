import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Registry, WatchEvent } from '../../src/control/etcd/registry.js';
import { eventually, NAME, OTHER, recordWatch, type StartSubject, type Subject } from './registry-suite.js';

/** Events without revisions and TTL ids, which differ from store to store. */
function told(events: readonly WatchEvent[]): string[] {
  return events.map((event) => {
    if (event.type === 'config') return `config ${event.json}`;
    return event.type === 'put' ? `put ${event.entry.name} ${event.entry.value}` : `delete ${event.name}`;
  });
}

/** What every Registry must do in lists and watches. */
export function watchContract(start: StartSubject): void {
  let subject: Subject;
  let registry: Registry;

  beforeEach(async () => {
    subject = await start();
    registry = subject.registry;
  });
  afterEach(() => subject.close());

  const nextRevision = async () => (await registry.listLeases()).revision + 1;

  it('a watch is told that it stands, and one that is refused is not', async () => {
    const watch = recordWatch(registry, await nextRevision());
    await eventually(() => expect(watch.opened()).toBe(1));
    await subject.put(NAME, 'a');
    await eventually(() => expect(watch.events).toHaveLength(1));
    expect(watch.opened()).toBe(1);
    watch.close();
  });

  describe('listLeases', () => {
    it('is empty at first, and has a revision all the same', async () => {
      const { entries, revision } = await registry.listLeases();
      expect(entries).toEqual([]);
      expect(revision).toBeGreaterThan(0);
    });

    it('shows all leases, with and without a TTL, and never the config', async () => {
      await subject.put('config', '{}');
      await subject.put(NAME, 'a', 60);
      await subject.put(OTHER, 'b');
      await subject.put('not a subnet', '{ anything é\n}');
      const { entries } = await registry.listLeases();
      const byName = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
      expect(Object.keys(byName).sort()).toEqual([NAME, OTHER, 'not a subnet'].sort());
      expect(byName[NAME]).toMatchObject({ value: 'a', ttlId: expect.stringMatching(/^[1-9]\d*$/) });
      expect(byName[OTHER]).toMatchObject({ value: 'b', ttlId: '0' });
      expect(byName['not a subnet']).toMatchObject({ value: '{ anything é\n}', ttlId: '0' });
    });

    it('is of one revision, whatever is written meanwhile', async () => {
      const ROUNDS = 50;
      let [a, b] = [(await registry.createLease(NAME, '0', 60))!, (await registry.createLease(OTHER, '0', 60))!];
      let writing = true;
      async function write(): Promise<void> {
        for (let round = 1; round <= ROUNDS; round++) {
          a = (await registry.updateLease({ name: NAME, value: '', ...a }, String(round), 60))!;
          b = (await registry.updateLease({ name: OTHER, value: '', ...b }, String(round), 60))!;
        }
        writing = false;
      }
      const writer = write();
      const seen = new Set<number>();
      while (writing) {
        const { entries, revision } = await registry.listLeases();
        const [first, second] = [NAME, OTHER].map((name) => entries.find((entry) => entry.name === name)!);
        expect(Number(first.value) - Number(second.value)).toBeOneOf([0, 1]);
        expect(revision).toBeGreaterThanOrEqual(Math.max(first.revision, second.revision));
        seen.add(revision);
      }
      await writer;
      expect(seen.size).toBeGreaterThan(5);
    });
  });

  describe('watch', () => {
    it('tells of a change of the config, and not of what notes it', async () => {
      const watch = recordWatch(registry, await nextRevision());
      await registry.createConfig('{}', 'note 1');
      await registry.replaceConfig((await registry.readConfig())!.revision, '{"a":1}', 'note 2');
      await subject.put(NAME, 'last');
      await eventually(() => expect(told(watch.events)).toEqual(['config {}', 'config {"a":1}', `put ${NAME} last`]));
      expect((await registry.listLeases()).entries.map(({ name }) => name)).toEqual([NAME]);
      watch.close();
    });

    it('reports puts, deletes and the config in order', async () => {
      const watch = recordWatch(registry, await nextRevision());
      const created = (await registry.createLease(NAME, 'mine', 60))!;
      await registry.createConfig('{}');
      const updated = (await registry.updateLease({ name: NAME, value: 'mine', ...created }, 'new', 60))!;
      await subject.put(OTHER, 'theirs');
      await subject.put('config', '{"Network":"10.240.0.0/16"}');
      await subject.delete('config');
      await registry.deleteLease({ name: NAME, ...updated });
      await subject.put(OTHER, 'last');
      await eventually(() =>
        expect(told(watch.events)).toEqual([
          `put ${NAME} mine`,
          'config {}',
          `put ${NAME} new`,
          `put ${OTHER} theirs`,
          'config {"Network":"10.240.0.0/16"}',
          'config undefined',
          `delete ${NAME}`,
          `put ${OTHER} last`,
        ]),
      );
      expect(watch.events[0]).toEqual({ type: 'put', entry: { name: NAME, value: 'mine', ...created } });
      expect(watch.events[2]).toEqual({ type: 'put', entry: { name: NAME, value: 'new', ...updated } });
      expect(watch.ended).toEqual([]);
    });

    it('gives a delete the revision at which it happened', async () => {
      const created = (await registry.createLease(NAME, 'mine', 60))!;
      const { revision } = created;
      const watch = recordWatch(registry, revision + 1);
      await registry.deleteLease({ name: NAME, ...created });
      await eventually(() => expect(watch.events).toEqual([{ type: 'delete', name: NAME, revision: revision + 1 }]));
    });

    it('replays history from exactly its revision, and goes on without a gap', async () => {
      await subject.put(NAME, '1');
      const from = await nextRevision();
      for (const value of ['2', '3', '4']) await subject.put(NAME, value);
      await subject.delete(NAME);
      const watch = recordWatch(registry, from);
      await eventually(() => expect(watch.events).toHaveLength(4));
      await subject.put(NAME, '5');
      await eventually(() =>
        expect(told(watch.events)).toEqual([
          ...['2', '3', '4'].map((v) => `put ${NAME} ${v}`),
          `delete ${NAME}`,
          `put ${NAME} 5`,
        ]),
      );
    });

    it('that starts in the future stays silent until then', async () => {
      const from = (await nextRevision()) + 1;
      const [early, late] = [recordWatch(registry, from - 1), recordWatch(registry, from)];
      await subject.put(NAME, 'too early');
      await subject.put(NAME, 'in time');
      await eventually(() => {
        expect(early.events).toHaveLength(2);
        expect(late.events.length).toBeGreaterThan(0);
      });
      expect(told(late.events)).toEqual([`put ${NAME} in time`]);
    });

    it('is silent after close()', async () => {
      const from = await nextRevision();
      const [closed, open] = [recordWatch(registry, from), recordWatch(registry, from)];
      await subject.put(NAME, 'before');
      await eventually(() => expect(closed.events).toHaveLength(1));
      closed.close();
      await subject.put(NAME, 'after');
      await eventually(() => expect(told(open.events)).toEqual([`put ${NAME} before`, `put ${NAME} after`]));
      expect(told(closed.events)).toEqual([`put ${NAME} before`]);
      expect(closed.ended).toEqual([]);
    });

    it('that was closed at once never speaks', async () => {
      const from = await nextRevision();
      await subject.put(NAME, 'history');
      const [closed, open] = [recordWatch(registry, from), recordWatch(registry, from)];
      closed.close();
      closed.close();
      await eventually(() => expect(open.events).toHaveLength(1));
      await subject.put(NAME, 'news');
      await eventually(() => expect(open.events).toHaveLength(2));
      expect(closed).toMatchObject({ events: [], ended: [] });
    });

    it('sees a TTL that runs out, or is revoked, as a delete', async () => {
      const brief = (await registry.createLease(NAME, 'brief', 2))!;
      const long = (await registry.createLease(OTHER, 'long', 60))!;
      const watch = recordWatch(registry, long.revision + 1);
      await subject.revoke(long.ttlId);
      await eventually(() => expect(told(watch.events)).toEqual([`delete ${OTHER}`]));
      await subject.age(2);
      await eventually(async () => {
        expect((await registry.listLeases()).entries).toEqual([]);
        expect(told(watch.events)).toEqual([`delete ${OTHER}`, `delete ${NAME}`]);
      });
      expect(await registry.keepAlive(brief.ttlId)).toBe(false);
    });

    it('does not report a key that moved to a new TTL as deleted when the old one ends', async () => {
      const created = (await registry.createLease(NAME, 'old', 60))!;
      const watch = recordWatch(registry, created.revision + 1);
      await registry.updateLease({ name: NAME, value: 'old', ...created }, 'new', 60);
      await subject.put(OTHER, 'marker');
      await eventually(() => expect(told(watch.events)).toEqual([`put ${NAME} new`, `put ${OTHER} marker`]));
    });

    it('from a compacted revision ends once, with a reason that says so', async () => {
      const from = await nextRevision();
      for (const value of ['1', '2', '3']) await subject.put(NAME, value);
      await subject.compact();
      const watch = recordWatch(registry, from);
      await eventually(() => expect(watch.ended).toHaveLength(1));
      expect(watch.ended[0].message).toMatch(/compacted/);
      expect(watch.events).toEqual([]);
      await subject.put(NAME, '4');
      const fresh = recordWatch(registry, (await registry.listLeases()).revision);
      await eventually(() => expect(told(fresh.events)).toEqual([`put ${NAME} 4`]));
      expect(watch).toMatchObject({ events: [], ended: [expect.any(Error)] });
    });

    it('from the compacted revision itself is still served', async () => {
      await subject.put(NAME, '1');
      await subject.put(NAME, '2');
      const { revision } = await registry.listLeases();
      await subject.compact();
      const watch = recordWatch(registry, revision);
      await subject.put(NAME, '3');
      await eventually(() => expect(watch.events.length + watch.ended.length).toBeGreaterThan(0));
      expect(watch.ended).toEqual([]);
      await eventually(() => expect(told(watch.events)).toEqual([`put ${NAME} 2`, `put ${NAME} 3`]));
    });

    it('that is open lives through a compaction', async () => {
      const watch = recordWatch(registry, await nextRevision());
      await subject.put(NAME, '1');
      await eventually(() => expect(watch.events).toHaveLength(1));
      await subject.compact();
      await subject.put(NAME, '2');
      await eventually(() => expect(told(watch.events)).toEqual([`put ${NAME} 1`, `put ${NAME} 2`]));
      expect(watch.ended).toEqual([]);
    });
  });
}
