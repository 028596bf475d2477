import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NO_TTL, type Registry } from '../../src/control/etcd/registry.js';
import { RudderError } from '../../src/core/errors.js';
import { freeze, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { describeWith } from '../helpers/requires.js';
import { createEtcdSubject, type EtcdSubject } from './etcd-subject.js';
import { eventually, NAME, OTHER, recordWatch } from './registry-suite.js';

/** Every request there is. `ttlId` and the entry may be of a lease that exists. */
function requests(registry: Registry, ttlId = '4711'): Record<string, () => Promise<unknown>> {
  const entry = { name: NAME, value: '', revision: 1, ttlId };
  return {
    getConfig: () => registry.getConfig(),
    readConfig: () => registry.readConfig(),
    createConfig: () => registry.createConfig('{}'),
    'createConfig with a note': () => registry.createConfig('{}', 'note'),
    replaceConfig: () => registry.replaceConfig(1, '{}', 'note'),
    configHistory: () => registry.configHistory(),
    listLeases: () => registry.listLeases(),
    createLease: () => registry.createLease(OTHER, 'x', 60),
    updateLease: () => registry.updateLease(entry, 'x', 60),
    'updateLease of a reservation': () => registry.updateLease({ ...entry, ttlId: NO_TTL }, 'x', undefined),
    deleteLease: () => registry.deleteLease(entry),
    keepAlive: () => registry.keepAlive(ttlId),
    timeToLive: () => registry.timeToLive(ttlId),
  };
}

interface Outcome {
  readonly request: string;
  readonly error: unknown;
  readonly ms: number;
}

async function outcomeOf(request: string, run: () => Promise<unknown>): Promise<Outcome> {
  const start = performance.now();
  const error = await run().then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );
  return { request, error, ms: performance.now() - start };
}

function expectUnavailable({ request, error, ms }: Outcome, withinMs: number, url: string): void {
  expect(error, request).toBeInstanceOf(RudderError);
  expect(error, request).toMatchObject({ code: 'registry-unavailable' });
  expect((error as RudderError).message, request).toContain(`etcd at ${url} cannot be reached: `);
  expect((error as RudderError).message, request).not.toMatch(/circuit breaker/);
  expect(ms, request).toBeLessThan(withinMs);
}

describeWith(['etcd'], 'etcd that does not answer', () => {
  let etcd: TestEtcd;
  let restarted: ChildProcess | undefined;
  let subject: EtcdSubject;
  let registry: Registry;

  beforeEach(async () => {
    restarted = undefined;
    etcd = await startTestEtcd();
    subject = createEtcdSubject(etcd, { deadlineMs: 1000 });
    registry = subject.registry;
  });
  afterEach(async () => {
    subject?.close();
    if (restarted !== undefined) {
      restarted.kill('SIGKILL');
      await once(restarted, 'exit');
    }
    await etcd?.stop();
  });

  it('because it is frozen: every request rejects in time, alone and together, and works again after', async () => {
    const { ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
    const all = Object.entries(requests(registry, ttlId));
    await freeze(etcd);
    const together = await Promise.all(all.map(([request, run]) => outcomeOf(request, run)));
    for (const outcome of together) expectUnavailable(outcome, 3000, etcd.url);
    for (const [request, run] of all) expectUnavailable(await outcomeOf(request, run), 3000, etcd.url);

    etcd.process.kill('SIGCONT');
    await eventually(() => registry.listLeases());
    for (const [request, run] of all) expect((await outcomeOf(request, run)).error, request).toBe('no error');
  });

  it('because it is frozen: a connection that was never used before rejects as well', async () => {
    await freeze(etcd);
    expectUnavailable(await outcomeOf('listLeases', () => registry.listLeases()), 3000, etcd.url);
    const watch = recordWatch(registry, 1);
    await eventually(() => expect(watch.ended).toHaveLength(1));
    expect(watch.ended[0]).toMatchObject({ code: 'registry-unavailable' });
    etcd.process.kill('SIGCONT');
    await eventually(() => registry.listLeases());
    expect(watch.ended).toHaveLength(1);
  });

  it('because it is frozen: 5 s are the default deadline, and an open watch ends within 5 s, once', async () => {
    const patient = createEtcdSubject(etcd);
    try {
      await patient.registry.listLeases();
      const watch = recordWatch(registry, (await registry.listLeases()).revision + 1);
      await subject.put(NAME, 'seen');
      await eventually(() => expect(watch.events).toHaveLength(1));
      await freeze(etcd);
      const outcome = await outcomeOf('listLeases', () => patient.registry.listLeases());
      expectUnavailable(outcome, 6000, etcd.url);
      expect(outcome.ms).toBeGreaterThan(4500);
      await expect.poll(() => watch.ended.length, { timeout: 5000 }).toBe(1);
      expect(watch.ended[0]).toMatchObject({ code: 'registry-unavailable' });
      etcd.process.kill('SIGCONT');
      await eventually(() => subject.put(NAME, 'not seen'));
      await eventually(() => registry.listLeases());
      expect(watch).toMatchObject({ events: [expect.anything()], ended: [expect.anything()] });
    } finally {
      await patient.close();
    }
  });

  it('because it is frozen: what is under way ends when the connection is given up', async () => {
    const patient = createEtcdSubject(etcd);
    try {
      await patient.registry.listLeases();
      await freeze(etcd);
      const outcome = outcomeOf('listLeases', () => patient.registry.listLeases());
      patient.registry.reconnect();
      expectUnavailable(await outcome, 1000, etcd.url);
      etcd.process.kill('SIGCONT');
      await eventually(() => patient.registry.listLeases());
    } finally {
      await patient.close();
    }
  });

  it('because the registry is closed: what is under way ends, and nothing is connected anew', async () => {
    const other = createEtcdSubject(etcd, { deadlineMs: 2000 }).registry;
    await other.listLeases();
    await freeze(etcd);
    const outcome = outcomeOf('listLeases', () => other.listLeases());
    other.close();
    expectUnavailable(await outcome, 4000, etcd.url);
    expectUnavailable(await outcomeOf('listLeases', () => other.listLeases()), 100, etcd.url);
  });

  it('because it was killed: the watch ends, requests reject quickly, and all is well after a restart', async () => {
    const { ttlId, revision } = (await registry.createLease(NAME, 'mine', 60))!;
    const watch = recordWatch(registry, revision);
    await eventually(() => expect(watch.events).toHaveLength(1));
    etcd.process.kill('SIGKILL');
    await once(etcd.process, 'exit');

    await eventually(() => expect(watch.ended).toHaveLength(1));
    expect(watch.ended[0]).toMatchObject({ code: 'registry-unavailable' });
    for (const [request, run] of Object.entries(requests(registry, ttlId))) {
      const outcome = await outcomeOf(request, run);
      expectUnavailable(outcome, 2500, etcd.url);
    }
    const refused = await outcomeOf('listLeases', () => registry.listLeases());
    expect((refused.error as Error).message).toMatch(/ECONNREFUSED/);

    restarted = spawn('etcd', etcd.process.spawnargs.slice(1), { stdio: 'ignore' });
    await eventually(() => registry.listLeases());
    const { entries } = await registry.listLeases();
    expect(entries).toEqual([{ name: NAME, value: 'mine', revision, ttlId }]);
    expect(await registry.keepAlive(ttlId)).toBe(true);
    const again = recordWatch(registry, revision + 1);
    await subject.delete(NAME);
    await eventually(() => expect(again.events).toEqual([{ type: 'delete', name: NAME, revision: revision + 1 }]));
    expect(watch.ended).toHaveLength(1);
  });
});
