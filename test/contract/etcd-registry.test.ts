import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { freePort, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { describeWith } from '../helpers/requires.js';
import { createEtcdSubject, type EtcdSubject } from './etcd-subject.js';
import { eventually, NAME, OTHER, recordWatch } from './registry-suite.js';

describeWith(['etcd'], 'etcd as a registry', () => {
  let etcd: TestEtcd;
  let subject: EtcdSubject;

  beforeAll(async () => {
    etcd = await startTestEtcd();
  });
  afterAll(() => etcd?.stop());
  beforeEach(() => {
    subject = createEtcdSubject(etcd);
    return () => subject.close();
  });

  /** How often etcd has answered a method, from its own metrics. */
  async function handled(method: string): Promise<number> {
    const text = await (await fetch(`${etcd.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith('grpc_server_handled_total{'));
    const counts = lines.filter((line) => line.includes(`grpc_method="${method}"`));
    return counts.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  }

  it('takes many requests at once, of which Node.js has no leak to warn', async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    process.on('warning', warned);
    await Promise.all(Array.from({ length: 40 }, () => subject.registry.listLeases()));
    process.off('warning', warned);
    expect(warnings).toEqual([]);
  });

  it('writes the keys that flannel reads', async () => {
    await subject.registry.createConfig('{}');
    await subject.registry.createLease(NAME, 'mine', 60);
    const keys = (await etcd.ctl('get', '--prefix', '--keys-only', subject.prefix)).split('\n').filter(Boolean);
    expect(keys).toEqual([`${subject.prefix}/config`, `${subject.prefix}/subnets/${NAME}`]);
    expect(await etcd.ctl('get', '--print-value-only', `${subject.prefix}/subnets/${NAME}`)).toBe('mine\n');
  });

  it('keeps 20 versions of the config in keys of their own, and removes no others', async () => {
    const { registry, prefix } = subject;
    const history = `${prefix}/rudder/config-history/`;
    await etcd.ctl('put', `${history}note`, 'of somebody');
    await registry.createConfig('{}', 'first');
    for (let i = 0; i < 22; i++) {
      await registry.replaceConfig((await registry.readConfig())!.revision, `{"i":${i}}`, `note ${i}`);
    }
    const keys = (await etcd.ctl('get', '--prefix', '--keys-only', history)).split('\n').filter(Boolean);
    expect(keys).toEqual([
      ...Array.from({ length: 20 }, (_, i) => `${history}00000000${String(i + 4).padStart(2, '0')}`),
      `${history}note`,
    ]);
    expect(await registry.configHistory()).toHaveLength(20);
  });

  it('does not show keys beside the prefix, neither in a list nor in a watch', async () => {
    const { registry, prefix } = subject;
    const from = (await registry.listLeases()).revision + 1;
    const watch = recordWatch(registry, from);
    const beside = ['-x/config', '/config-x', '/config/x', '/subnets', '/subnets-x', '/subnets-x/y', '/nodes/n1', '0'];
    beside.push('/rudder/config-history/0000000001');
    for (const key of beside) await etcd.ctl('put', prefix + key, 'beside');
    for (const key of beside) await etcd.ctl('del', prefix + key);
    await subject.put(NAME, 'marker');
    await eventually(() => expect(watch.events).toHaveLength(1));
    expect(watch.events[0]).toMatchObject({ type: 'put', entry: { name: NAME, value: 'marker' } });
    for (const key of beside) await etcd.ctl('put', prefix + key, 'beside');
    expect((await registry.listLeases()).entries.map((entry) => entry.name)).toEqual([NAME]);
    expect(await registry.getConfig()).toBeUndefined();
  });

  it('lists in one request', async () => {
    for (let i = 0; i < 30; i++) await subject.registry.createLease(`10.240.${i}.0-24`, 'x', 60);
    const before = await handled('Range');
    expect((await subject.registry.listLeases()).entries).toHaveLength(30);
    expect(await handled('Range')).toBe(before + 1);
  });

  it('gives back the TTL of a lost race', async () => {
    const { registry } = subject;
    await registry.createLease(NAME, 'winner', 60);
    const entry = (await registry.listLeases()).entries[0];
    const before = await etcd.ctl('lease', 'list');
    expect(await registry.createLease(NAME, 'loser', 60)).toBeUndefined();
    expect(await registry.updateLease({ ...entry, revision: 1 }, 'loser', 60)).toBeUndefined();
    expect(await etcd.ctl('lease', 'list')).toBe(before);
  });

  it('reports all events of one revision in one call', async () => {
    const { registry } = subject;
    const { ttlId, revision } = (await registry.createLease(NAME, 'first', 60))!;
    const key = `${subject.prefix}/subnets/${OTHER}`;
    await etcd.ctl('put', `--lease=${BigInt(ttlId).toString(16)}`, key, 'second');
    const watch = recordWatch(registry, revision + 2);
    await subject.revoke(ttlId);
    await eventually(() => expect(watch.events).toHaveLength(2));
    expect(watch.batches).toEqual([2]);
    const names = watch.events.map((event) => (event.type === 'delete' ? event.name : event.type));
    expect(names.sort()).toEqual([NAME, OTHER]);
  });

  it('lists and watches ten values of 1 MB', async () => {
    const { registry } = subject;
    const from = (await registry.listLeases()).revision + 1;
    const names = Array.from({ length: 10 }, (_, i) => `10.240.${i}.0-24`);
    const value = (i: number) => String(i).repeat(1024 * 1024);
    for (const [i, name] of names.entries()) {
      await registry.createLease(name, value(i), 60);
      if (i === 0) expect((await registry.listLeases()).entries[0].value === value(0)).toBe(true);
    }
    const { entries } = await registry.listLeases();
    expect(entries.map((entry) => entry.name)).toEqual(names);
    expect(entries.every((entry, i) => entry.value === value(i))).toBe(true);
    const watch = recordWatch(registry, from);
    await eventually(() => expect(watch.events).toHaveLength(10));
    expect(watch.events.every((event, i) => event.type === 'put' && event.entry.value === value(i))).toBe(true);
    expect(watch.ended).toEqual([]);
  });

  it('answers every request although the first of two endpoints refuses connections', async () => {
    const endpoints = [`http://127.0.0.1:${await freePort()}`, etcd.url];
    const { registry, close } = createEtcdSubject(etcd, { endpoints });
    try {
      for (let i = 0; i < 20; i++) {
        const holding = (await registry.createLease(`10.240.${i}.0-24`, 'mine', 60))!;
        expect((await registry.timeToLive(holding.ttlId))?.grantedSeconds).toBe(60);
        expect((await registry.listLeases()).entries).toHaveLength(i + 1);
      }
    } finally {
      await close();
    }
  });

  it('keeps alive although the first of two endpoints refuses connections', async () => {
    const endpoints = [`http://127.0.0.1:${await freePort()}`, etcd.url];
    const { registry, close } = createEtcdSubject(etcd, { endpoints });
    try {
      const { ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
      const failures: unknown[] = [];
      for (let i = 0; i < 30; i++) {
        await registry.keepAlive(ttlId).catch((error: unknown) => failures.push(error));
      }
      expect(failures).toEqual([]);
    } finally {
      await close();
    }
  });

  it('watches, after some attempts, although the first of two endpoints refuses connections', async () => {
    const endpoints = [`http://127.0.0.1:${await freePort()}`, etcd.url];
    const { registry, close } = createEtcdSubject(etcd, { endpoints });
    try {
      const { revision } = (await registry.createLease(NAME, 'mine', 60))!;
      await eventually(async () => {
        const watch = recordWatch(registry, revision);
        await eventually(() => expect(watch.events.length + watch.ended.length).toBe(1));
        watch.close();
        expect(watch.ended).toEqual([]);
        expect(watch.events).toMatchObject([{ type: 'put', entry: { name: NAME, value: 'mine' } }]);
      });
    } finally {
      await close();
    }
  });
});
