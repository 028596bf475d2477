import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Registry, WatchEvent } from '../../src/control/etcd/registry.js';

/** One registry, and what other clients of the same store do to it. Keys are relative to the prefix. */
export interface Subject {
  readonly registry: Registry;
  /** @param ttlSeconds undefined: a key without a TTL */
  put(key: string, value: string, ttlSeconds?: number): Promise<void>;
  delete(key: string): Promise<void>;
  revoke(ttlId: string): Promise<void>;
  /** Forgets all history before the current revision. */
  compact(): Promise<void>;
  /** Lets that much time pass for TTLs, without waiting for what it does. */
  age(seconds: number): Promise<void>;
  close(): Promise<void> | void;
}

export type StartSubject = () => Promise<Subject>;

/** A watch that keeps what it is told. */
export interface RecordedWatch {
  readonly events: WatchEvent[];
  /** Sizes of the calls in which the events came. */
  readonly batches: number[];
  readonly ended: Error[];
  /** How often the store has agreed to it. */
  opened(): number;
  close(): void;
}

export function recordWatch(registry: Registry, fromRevision: number): RecordedWatch {
  const events: WatchEvent[] = [];
  const batches: number[] = [];
  const ended: Error[] = [];
  let opened = 0;
  const watch = registry.watch(fromRevision, {
    opened: () => void opened++,
    events(batch) {
      batches.push(batch.length);
      events.push(...batch);
    },
    ended: (reason) => ended.push(reason),
  });
  return { events, batches, ended, opened: () => opened, close: () => watch.close() };
}

/** Waits for a condition of a test; well below the test's own deadline, so that the reason is told. */
export const eventually = <T>(assertion: () => T | Promise<T>) =>
  vi.waitFor(assertion, { timeout: 10_000, interval: 10 });

export const NAME = '10.240.26.0-24';
export const OTHER = '10.240.77.0-24';

/** What every Registry must do with keys and TTLs. */
export function keyContract(start: StartSubject): void {
  let subject: Subject;
  let registry: Registry;

  beforeEach(async () => {
    subject = await start();
    registry = subject.registry;
  });
  afterEach(() => subject.close());

  const entryOf = async (name: string) => (await registry.listLeases()).entries.find((entry) => entry.name === name);

  describe('config', () => {
    it('is undefined while nobody has created it', async () => {
      expect(await registry.getConfig()).toBeUndefined();
    });

    it('is created once and stays as it is', async () => {
      expect(await registry.createConfig('{"Network":"10.240.0.0/16"}')).toBe(true);
      expect(await registry.createConfig('{"Network":"10.1.0.0/16"}')).toBe(false);
      expect(await registry.getConfig()).toBe('{"Network":"10.240.0.0/16"}');
    });

    it('is created by exactly one of 20 that race', async () => {
      const won = await Promise.all(Array.from({ length: 20 }, (_, i) => registry.createConfig(`config ${i}`)));
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await registry.getConfig()).toBe(`config ${won.indexOf(true)}`);
    });

    it('is what another client wrote last, and is gone when that client deletes it', async () => {
      await subject.put('config', 'é ✓ "1"');
      expect(await registry.getConfig()).toBe('é ✓ "1"');
      await subject.delete('config');
      expect(await registry.getConfig()).toBeUndefined();
    });
  });

  describe('a change of the config', () => {
    it('is made by who has read what is there, and is noted', async () => {
      expect(await registry.readConfig()).toBeUndefined();
      await registry.createConfig('first', 'note 1');
      const read = (await registry.readConfig())!;
      expect(read).toEqual({ json: 'first', revision: expect.any(Number) });
      expect(await registry.replaceConfig(read.revision, 'second', 'note 2')).toBe(true);
      expect(await registry.getConfig()).toBe('second');
      expect(await registry.configHistory()).toEqual([
        { number: 2, note: 'note 2' },
        { number: 1, note: 'note 1' },
      ]);
    });

    it('is none, and not noted, if another client was faster, even with the same text', async () => {
      await registry.createConfig('first', 'note 1');
      const { revision } = (await registry.readConfig())!;
      for (const json of ['theirs', 'first']) await subject.put('config', json);
      expect(await registry.replaceConfig(revision, 'mine', 'note 2')).toBe(false);
      await subject.delete('config');
      expect(await registry.replaceConfig(revision, 'mine', 'note 2')).toBe(false);
      expect(await registry.getConfig()).toBeUndefined();
      await subject.put('config', 'theirs');
      expect(await registry.createConfig('mine', 'note 2')).toBe(false);
      expect(await registry.configHistory()).toEqual([{ number: 1, note: 'note 1' }]);
    });

    it('is made by exactly one of 20 that race, and noted once', async () => {
      await registry.createConfig('first', 'note of the first');
      const { revision } = (await registry.readConfig())!;
      const race = Array.from({ length: 20 }, (_, i) => registry.replaceConfig(revision, `config ${i}`, `note ${i}`));
      const won = await Promise.all(race);
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await registry.getConfig()).toBe(`config ${won.indexOf(true)}`);
      expect((await registry.configHistory()).map(({ note }) => note)).toEqual([
        `note ${won.indexOf(true)}`,
        'note of the first',
      ]);
    });

    it('is remembered with the 19 before it', async () => {
      await registry.createConfig('config 1', 'note 1');
      for (let i = 2; i <= 23; i++) {
        expect(await registry.replaceConfig((await registry.readConfig())!.revision, `config ${i}`, `note ${i}`)).toBe(
          true,
        );
      }
      const versions = Array.from({ length: 20 }, (_, i) => ({ number: 23 - i, note: `note ${23 - i}` }));
      expect(await registry.configHistory()).toEqual(versions);
      // A config that is deleted has its history all the same.
      await subject.delete('config');
      expect(await registry.createConfig('config 24', 'note 24')).toBe(true);
      expect((await registry.configHistory()).map(({ number }) => number)).toEqual(
        Array.from({ length: 20 }, (_, i) => 24 - i),
      );
    });
  });

  describe('createLease', () => {
    it('answers the holding that a list shows', async () => {
      const holding = (await registry.createLease(NAME, 'mine', 60))!;
      expect(await registry.listLeases()).toEqual({
        revision: holding.revision,
        entries: [{ name: NAME, value: 'mine', revision: holding.revision, ttlId: holding.ttlId }],
      });
      expect(holding.ttlId).toMatch(/^[1-9]\d*$/);
    });

    it('succeeds for exactly one of 20 that race', async () => {
      const race = Array.from({ length: 20 }, (_, i) => registry.createLease(NAME, `node ${i}`, 60));
      const holdings = await Promise.all(race);
      const winners = holdings.flatMap((holding, i) => (holding === undefined ? [] : [{ ...holding, i }]));
      expect(winners).toHaveLength(1);
      const [{ i, revision, ttlId }] = winners;
      expect((await registry.listLeases()).entries).toEqual([{ name: NAME, value: `node ${i}`, revision, ttlId }]);
    });

    it("leaves another's key alone, with and without a TTL", async () => {
      await subject.put(NAME, 'permanent');
      await subject.put(OTHER, 'leased', 60);
      const before = await registry.listLeases();
      expect(await registry.createLease(NAME, 'mine', 60)).toBeUndefined();
      expect(await registry.createLease(OTHER, 'mine', 60)).toBeUndefined();
      expect((await registry.listLeases()).entries).toEqual(before.entries);
    });

    it('works again after a delete', async () => {
      const first = (await registry.createLease(NAME, 'first', 60))!;
      await registry.deleteLease({ name: NAME, ...first });
      const second = (await registry.createLease(NAME, 'second', 60))!;
      expect(second.revision).toBeGreaterThan(first.revision);
      expect(await entryOf(NAME)).toEqual({ name: NAME, value: 'second', ...second });
    });
  });

  describe('updateLease', () => {
    it('moves the key to a new TTL, and the old TTL is gone', async () => {
      const created = (await registry.createLease(NAME, 'old', 60))!;
      const updated = (await registry.updateLease({ name: NAME, value: 'old', ...created }, 'new', 90))!;
      expect(updated.ttlId).not.toBe(created.ttlId);
      expect(updated.revision).toBeGreaterThan(created.revision);
      expect(await entryOf(NAME)).toEqual({ name: NAME, value: 'new', ...updated });
      expect(await registry.timeToLive(created.ttlId)).toBeUndefined();
      expect((await registry.timeToLive(updated.ttlId))?.grantedSeconds).toBe(90);
    });

    it('does nothing at another revision', async () => {
      const created = (await registry.createLease(NAME, 'old', 60))!;
      await subject.put(NAME, 'changed', 60);
      const before = await entryOf(NAME);
      expect(await registry.updateLease({ name: NAME, value: 'old', ...created }, 'new', 60)).toBeUndefined();
      expect(await registry.updateLease({ name: NAME, value: 'old', ...created }, 'new', undefined)).toBeUndefined();
      expect(await entryOf(NAME)).toEqual(before);
    });

    it('does not create a key that is gone', async () => {
      const created = (await registry.createLease(NAME, 'old', 60))!;
      await subject.delete(NAME);
      expect(await registry.updateLease({ name: NAME, value: 'old', ...created }, 'new', 60)).toBeUndefined();
      expect(await entryOf(NAME)).toBeUndefined();
    });

    it('succeeds for exactly one of 20 that race at one revision', async () => {
      const entry = { name: NAME, value: 'old', ...(await registry.createLease(NAME, 'old', 60))! };
      const race = Array.from({ length: 20 }, (_, i) => registry.updateLease(entry, `node ${i}`, 60));
      const holdings = await Promise.all(race);
      const winner = holdings.findIndex((holding) => holding !== undefined);
      expect(holdings.filter((holding) => holding !== undefined)).toHaveLength(1);
      expect(await entryOf(NAME)).toEqual({ name: NAME, value: `node ${winner}`, ...holdings[winner] });
    });

    it('keeps a reservation permanent', async () => {
      await subject.put(NAME, 'reserved');
      const entry = (await entryOf(NAME))!;
      expect(entry.ttlId).toBe('0');
      const updated = (await registry.updateLease(entry, 'mine', undefined))!;
      expect(updated.ttlId).toBe('0');
      expect(await entryOf(NAME)).toEqual({ name: NAME, value: 'mine', revision: updated.revision, ttlId: '0' });
    });
  });

  describe('deleteLease', () => {
    it('deletes at the revision, and leaves no TTL behind', async () => {
      const mine = (await registry.createLease(NAME, 'mine', 60))!;
      await registry.createLease(OTHER, 'other', 60);
      expect(await registry.deleteLease({ name: NAME, ...mine })).toBe(true);
      expect((await registry.listLeases()).entries.map((entry) => entry.name)).toEqual([OTHER]);
      expect(await registry.timeToLive(mine.ttlId)).toBeUndefined();
    });

    it('leaves a key that has another revision, and is false for one that is gone', async () => {
      const mine = (await registry.createLease(NAME, 'mine', 60))!;
      await subject.put(NAME, 'theirs');
      expect(await registry.deleteLease({ name: NAME, ...mine })).toBe(false);
      expect((await entryOf(NAME))?.value).toBe('theirs');
      expect(await registry.timeToLive(mine.ttlId)).toBeDefined();
      await subject.delete(NAME);
      expect(await registry.deleteLease({ name: NAME, ...mine })).toBe(false);
    });
  });

  describe('a write that looks at all leases', () => {
    const entry = async () => (await entryOf(NAME))!;
    const writes: [string, (listedAt: number) => Promise<unknown>][] = [
      ['createLease', (listedAt) => registry.createLease(OTHER, 'mine', undefined, listedAt)],
      ['updateLease', async (listedAt) => registry.updateLease(await entry(), 'mine', undefined, listedAt)],
    ];

    it.each(writes)('%s is done if none was written since', async (_, write) => {
      await subject.put(NAME, 'there', 60);
      const { revision } = await registry.listLeases();
      // Neither is a lease written by that: the config, the end of one.
      await subject.put('config', '{}');
      expect(await write(revision)).toBeDefined();
    });

    it.each(writes)('%s is not done if any was written since', async (_, write) => {
      await subject.put(NAME, 'there', 60);
      const { revision } = await registry.listLeases();
      await subject.put('10.240.99.0-24', 'faster', 60);
      const before = await registry.listLeases();
      expect(await write(revision)).toBeUndefined();
      expect((await registry.listLeases()).entries).toEqual(before.entries);
      expect(await write(before.revision)).toBeDefined();
    });

    it('is done by exactly one of 20 that race for keys of their own', async () => {
      const { revision } = await registry.listLeases();
      const race = Array.from({ length: 20 }, (_, i) =>
        registry.createLease(`10.240.${i}.0-24`, 'mine', undefined, revision),
      );
      expect((await Promise.all(race)).filter((holding) => holding !== undefined)).toHaveLength(1);
      expect((await registry.listLeases()).entries).toHaveLength(1);
    });
  });

  describe('TTL', () => {
    it('is kept alive, until it is revoked and the key with it', async () => {
      const { ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
      expect(await registry.keepAlive(ttlId)).toBe(true);
      await subject.revoke(ttlId);
      expect(await registry.keepAlive(ttlId)).toBe(false);
      expect(await registry.timeToLive(ttlId)).toBeUndefined();
      expect(await entryOf(NAME)).toBeUndefined();
    });

    it('that never was is neither kept alive nor measured', async () => {
      expect(await registry.keepAlive('4711')).toBe(false);
      expect(await registry.timeToLive('4711')).toBeUndefined();
    });

    it('tells what was granted and what remains', async () => {
      const { ttlId } = (await registry.createLease(NAME, 'mine', 1000))!;
      const { grantedSeconds, remainingSeconds } = (await registry.timeToLive(ttlId))!;
      expect(grantedSeconds).toBe(1000);
      expect(Number.isInteger(remainingSeconds)).toBe(true);
      expect(remainingSeconds).toBeLessThanOrEqual(1000);
      expect(remainingSeconds).toBeGreaterThan(985);
    });

    it('falls with time, and a keep-alive brings it back to its full length', async () => {
      const { ttlId } = (await registry.createLease(NAME, 'mine', 6))!;
      await subject.age(2);
      const fallen = await eventually(async () => {
        const { remainingSeconds } = (await registry.timeToLive(ttlId))!;
        expect(remainingSeconds).toBeLessThanOrEqual(4);
        return remainingSeconds;
      });
      expect(await registry.keepAlive(ttlId)).toBe(true);
      expect((await registry.timeToLive(ttlId))!.remainingSeconds).toBeGreaterThan(fallen);
    });
  });
}
