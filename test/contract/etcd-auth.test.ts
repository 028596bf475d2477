import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { Registry } from '../../src/control/etcd/registry.js';
import { RudderError } from '../../src/core/errors.js';
import { freeze, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { describeWith } from '../helpers/requires.js';
import { eventually, NAME, recordWatch } from './registry-suite.js';

const PREFIX = '/coreos.com/network';
const PASSWORD = 'right-horse-battery';
const WRONG_PASSWORD = 'wrong-horse-battery';

describeWith(['etcd'], 'etcd with users', () => {
  let etcd: TestEtcd;
  const opened: Registry[] = [];

  function connect(auth?: { username: string; password: string }, prefix = PREFIX): Registry {
    const registry = createEtcdRegistry({ endpoints: [etcd.url], prefix, auth, deadlineMs: 1000 });
    opened.push(registry);
    return registry;
  }
  const rudder = (prefix?: string) => connect({ username: 'rudder', password: PASSWORD }, prefix);

  async function refusalOf(request: Promise<unknown>): Promise<string> {
    const error = await request.then(
      () => 'no error',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(RudderError);
    expect(error).toMatchObject({ code: 'registry-refused' });
    const { message } = error as RudderError;
    expect(message).toContain(etcd.url);
    expect(message).not.toContain('\n');
    expect(message).not.toContain(PASSWORD);
    expect(message).not.toContain(WRONG_PASSWORD);
    return message;
  }

  async function watchRefusalOf(registry: Registry): Promise<string> {
    const watch = recordWatch(registry, 1);
    await eventually(() => expect(watch.ended).toHaveLength(1));
    return refusalOf(Promise.reject(watch.ended[0]));
  }

  afterEach(() => {
    for (const registry of opened.splice(0)) registry.close();
  });

  describe('enabled', () => {
    beforeAll(async () => {
      etcd = await startTestEtcd();
      await etcd.ctl('user', 'add', `root:${PASSWORD}`);
      await etcd.ctl('user', 'grant-role', 'root', 'root');
      await etcd.ctl('user', 'add', `rudder:${PASSWORD}`);
      await etcd.ctl('role', 'add', 'network');
      await etcd.ctl('role', 'grant-permission', 'network', '--prefix=true', 'readwrite', `${PREFIX}/`);
      await etcd.ctl('user', 'grant-role', 'rudder', 'network');
      await etcd.ctl('auth', 'enable');
    });
    afterAll(() => etcd?.stop());

    it('lets in who has the password, to everything there is', async () => {
      const registry = rudder();
      const holding = (await registry.createLease(NAME, 'mine', 60))!;
      const watch = recordWatch(registry, holding.revision);
      await eventually(() => expect(watch.events).toHaveLength(1));
      expect(await registry.keepAlive(holding.ttlId)).toBe(true);
      expect((await registry.timeToLive(holding.ttlId))?.grantedSeconds).toBe(60);
      const entry = (await registry.listLeases()).entries[0];
      const updated = (await registry.updateLease(entry, 'new', 60))!;
      expect(await registry.deleteLease({ name: NAME, ...updated })).toBe(true);
      await eventually(() => expect(watch.events.map((event) => event.type)).toEqual(['put', 'put', 'delete']));
    });

    it('refuses a wrong password, in requests and watches, with the user and never the password', async () => {
      const registry = connect({ username: 'rudder', password: WRONG_PASSWORD });
      expect(await refusalOf(registry.getConfig())).toMatch(/user "rudder"/);
      expect(await refusalOf(registry.listLeases())).toMatch(/does not accept the password of user "rudder"/);
      expect(await refusalOf(registry.createLease(NAME, 'mine', 60))).toMatch(/user "rudder"/);
      expect(await refusalOf(registry.keepAlive('4711'))).toMatch(/user "rudder"/);
      expect(await watchRefusalOf(registry)).toMatch(/user "rudder"/);
    });

    it('refuses a user it does not know', async () => {
      const registry = connect({ username: 'nobody', password: PASSWORD });
      expect(await refusalOf(registry.listLeases())).toMatch(/user "nobody"/);
    });

    it('refuses another prefix than the role has, in requests and watches', async () => {
      const registry = rudder('/elsewhere');
      const denial = /denies user "rudder" access to \/elsewhere\//;
      expect(await refusalOf(registry.getConfig())).toMatch(denial);
      expect(await refusalOf(registry.createConfig('{}'))).toMatch(denial);
      expect(await refusalOf(registry.replaceConfig(1, '{}', 'note'))).toMatch(denial);
      expect(await refusalOf(registry.configHistory())).toMatch(denial);
      expect(await refusalOf(registry.listLeases())).toMatch(denial);
      expect(await refusalOf(registry.createLease(NAME, 'mine', 60))).toMatch(denial);
      expect(await watchRefusalOf(registry)).toMatch(denial);
    });

    it('who may list and not watch is told so, and never that the watch stands', async () => {
      await etcd.ctl(`--user=root:${PASSWORD}`, 'user', 'add', `lister:${PASSWORD}`);
      await etcd.ctl(`--user=root:${PASSWORD}`, 'role', 'add', 'list');
      const grant = ['role', 'grant-permission', 'list', '--prefix=true', 'readwrite', `${PREFIX}/subnets/`];
      await etcd.ctl(`--user=root:${PASSWORD}`, ...grant);
      await etcd.ctl(`--user=root:${PASSWORD}`, 'user', 'grant-role', 'lister', 'list');
      const registry = connect({ username: 'lister', password: PASSWORD });
      const { revision } = await registry.listLeases();
      const watch = recordWatch(registry, revision + 1);
      await eventually(() => expect(watch.ended).toHaveLength(1));
      expect(watch.opened()).toBe(0);
      expect(await refusalOf(Promise.reject(watch.ended[0]))).toMatch(/denies user "lister" access/);
    });

    it('refuses who gives no user', async () => {
      const registry = connect();
      expect(await refusalOf(registry.listLeases())).toMatch(/wants a user; give --etcd-username and --etcd-password/);
      expect(await watchRefusalOf(registry)).toMatch(/--etcd-username|anonymous user/);
    });

    it('but frozen, is unavailable and not refused: also the login has a deadline', async () => {
      const [fresh, used] = [rudder(), rudder()];
      await used.listLeases();
      await freeze(etcd);
      try {
        const start = performance.now();
        await Promise.all([
          expect(fresh.listLeases()).rejects.toMatchObject({ code: 'registry-unavailable' }),
          expect(used.listLeases()).rejects.toMatchObject({ code: 'registry-unavailable' }),
        ]);
        expect(performance.now() - start).toBeLessThan(3000);
      } finally {
        etcd.process.kill('SIGCONT');
      }
      await eventually(() => Promise.all([fresh.listLeases(), used.listLeases()]));
    });
  });

  describe('not enabled', () => {
    beforeEach(async () => {
      etcd = await startTestEtcd();
      return () => etcd.stop();
    });

    it('refuses who gives a user', async () => {
      const registry = rudder();
      const wanted = /has no users enabled; leave out --etcd-username and --etcd-password/;
      expect(await refusalOf(registry.listLeases())).toMatch(wanted);
      expect(await watchRefusalOf(registry)).toMatch(wanted);
    });
  });
});
