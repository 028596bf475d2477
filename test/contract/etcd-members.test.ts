import { once } from 'node:events';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { Registry } from '../../src/control/etcd/registry.js';
import { freeze, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { describeWith } from '../helpers/requires.js';
import { eventually, NAME, recordWatch } from './registry-suite.js';

const DEADLINE_MS = 1000;
const PREFIX = '/several/network';
const ATTEMPTS = 20;

/** Two etcds that know nothing of each other, so each answer tells who gave it. */
describeWith(['etcd'], 'one of several etcd members', () => {
  let members: TestEtcd[] = [];
  let registry: Registry;

  beforeEach(async () => {
    members = await Promise.all([startTestEtcd(), startTestEtcd()]);
    for (const [i, member] of members.entries()) await member.ctl('put', `${PREFIX}/config`, String(i));
    const endpoints = members.map(({ url }) => url);
    registry = createEtcdRegistry({ endpoints, prefix: PREFIX, deadlineMs: DEADLINE_MS });
  });
  afterEach(async () => {
    registry?.close();
    for (const member of members) await member.stop();
  });

  const memberInUse = async () => Number(await registry.getConfig());

  it('is in use for everything while it answers', async () => {
    const inUse = await memberInUse();
    for (let i = 0; i < ATTEMPTS; i++) expect(await memberInUse()).toBe(inUse);
    const { revision, ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
    const watch = recordWatch(registry, revision);
    await eventually(() => expect(watch.events).toMatchObject([{ type: 'put', entry: { name: NAME, ttlId } }]));
    expect(await registry.keepAlive(ttlId)).toBe(true);
  });

  it('is another one for each client, so that all bear their part', async () => {
    const endpoints = members.map(({ url }) => url);
    const seen = new Set<string | undefined>();
    for (let i = 0; i < ATTEMPTS; i++) {
      const client = createEtcdRegistry({ endpoints, prefix: PREFIX });
      seen.add(await client.getConfig());
      client.close();
    }
    expect(seen).toEqual(new Set(['0', '1'])); // by chance not, once in half a million runs
  });

  it.each(['frozen', 'killed'])('is left when it is %s: one request is late, none after it', async (how) => {
    const inUse = await memberInUse();
    const lost = members[inUse];
    if (how === 'frozen') await freeze(lost);
    else {
      lost.process.kill('SIGKILL');
      await once(lost.process, 'exit');
    }
    expect(await memberInUse()).toBe(1 - inUse);
    const start = performance.now();
    const { ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
    for (let i = 0; i < ATTEMPTS; i++) expect(await registry.keepAlive(ttlId)).toBe(true);
    expect(performance.now() - start).toBeLessThan(DEADLINE_MS);
  });

  it('is left when a keep-alive gets no answer', async () => {
    const inUse = await memberInUse();
    await freeze(members[inUse]);
    expect(await registry.keepAlive('4711')).toBe(false);
    expect(await memberInUse()).toBe(1 - inUse);
  });

  it('is left when its watch falls silent: what is asked next meets one that answers', async () => {
    const inUse = await memberInUse();
    const watch = recordWatch(registry, 1);
    await eventually(() => expect(watch.events).toHaveLength(1));
    await freeze(members[inUse]);
    await eventually(() => expect(watch.ended).toHaveLength(1));
    const start = performance.now();
    expect(await memberInUse()).toBe(1 - inUse);
    expect(performance.now() - start).toBeLessThan(DEADLINE_MS);
    const next = recordWatch(registry, 1);
    await eventually(() => expect(next.events).toEqual([{ type: 'config', json: String(1 - inUse) }]));
  });

  it('is used again once the other one is gone', async () => {
    const inUse = await memberInUse();
    await freeze(members[inUse]);
    expect(await memberInUse()).toBe(1 - inUse);
    members[inUse].process.kill('SIGCONT');
    await freeze(members[1 - inUse]);
    expect(await memberInUse()).toBe(inUse);
  });
});
