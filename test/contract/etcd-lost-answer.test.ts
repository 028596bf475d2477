import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import { NO_TTL, type Registry } from '../../src/control/etcd/registry.js';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { type ForgetfulEtcd, startForgetfulEtcd } from '../helpers/forgetful-etcd.js';
import { describeWith } from '../helpers/requires.js';
import { NAME, OTHER } from './registry-suite.js';

/** A member that carries a change out and loses the answer: the same change is then asked of the next member. */
describeWith(['etcd'], 'a change whose answer is lost', () => {
  let etcd: TestEtcd;
  let member: ForgetfulEtcd;
  let registry: Registry;

  beforeAll(async () => {
    etcd = await startTestEtcd();
  });
  afterAll(() => etcd?.stop());
  beforeEach(async () => {
    member = await startForgetfulEtcd(etcd.url);
    // Both of its members are this one.
    registry = createEtcdRegistry({ endpoints: [member.url, member.url], prefix: '/lost/network' });
  });
  afterEach(async () => {
    registry.close();
    member.close();
    await etcd.ctl('del', '--prefix', '/lost/network');
  });

  const entry = async () => (await registry.listLeases()).entries.find(({ name }) => name === NAME);
  const ttls = async () => (await etcd.ctl('lease', 'list')).split('\n').filter((line) => /^[0-9a-f]+$/.test(line));

  it('leaves us with the lease that was created, and its TTL', async () => {
    member.forget('KV/Txn');
    const holding = await registry.createLease(NAME, 'mine', 60);
    expect(await entry()).toMatchObject({ value: 'mine', ...holding });
    expect(await registry.keepAlive(holding!.ttlId)).toBe(true);
  });

  it('leaves us with the lease that was changed, and not the old TTL', async () => {
    await registry.createLease(NAME, 'mine', 60);
    const before = (await entry())!;
    const count = (await ttls()).length;
    member.forget('KV/Txn');
    const holding = await registry.updateLease(before, 'moved', 60);
    expect(await entry()).toMatchObject({ value: 'moved', ...holding });
    expect(await registry.keepAlive(before.ttlId)).toBe(false);
    expect(await ttls()).toHaveLength(count);
  });

  it('is a reservation made, a config created, a lease deleted', async () => {
    member.forget('KV/Txn');
    const reserved = await registry.createLease(NAME, 'kept', undefined);
    expect(await entry()).toMatchObject({ value: 'kept', ttlId: NO_TTL, revision: reserved!.revision });
    member.forget('KV/Txn');
    expect(await registry.createConfig('{}', 'created')).toBe(true);
    member.forget('KV/Txn');
    expect(await registry.replaceConfig((await registry.readConfig())!.revision, '{"a":1}', 'replaced')).toBe(true);
    expect((await registry.configHistory()).map(({ note }) => note)).toEqual(['replaced', 'created']);
    member.forget('KV/Txn');
    expect(await registry.deleteLease((await entry())!)).toBe(true);
    expect(await entry()).toBeUndefined();
  });

  it('is none of ours if another client was faster', async () => {
    const theirs = await registry.createLease(NAME, 'theirs', 60);
    await registry.createConfig('{"theirs":1}');
    const other = (await registry.createLease(OTHER, 'old', 60))!;
    for (const attempt of [
      () => registry.createLease(NAME, 'mine', 60),
      // What we would have written is there, but on a TTL of somebody else's.
      () => registry.createLease(NAME, 'theirs', 60),
      () => registry.createLease(NAME, 'theirs', undefined),
      () => registry.updateLease({ name: NAME, value: '', revision: 1, ttlId: NO_TTL }, 'mine', 60),
    ]) {
      member.forget('KV/Txn');
      expect(await attempt()).toBeUndefined();
    }
    member.forget('KV/Txn');
    expect(await registry.createConfig('{}')).toBe(false);
    member.forget('KV/Txn');
    expect(await registry.deleteLease({ ...other, name: OTHER, revision: other.revision - 1 })).toBe(false);
    expect(await entry()).toMatchObject({ value: 'theirs', ...theirs });
  });

  it('without a doubt stays a failure: the same reservation made before was not made now', async () => {
    await registry.createLease(NAME, 'kept', undefined);
    expect(await registry.createLease(NAME, 'kept', undefined)).toBeUndefined();
  });
});
