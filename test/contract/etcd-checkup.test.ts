import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkEndpoint } from '../../src/control/etcd/checkup.js';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { describeWith } from '../helpers/requires.js';

const PREFIX = '/coreos.com/network';

describeWith(['etcd'], 'a look at one endpoint of etcd', () => {
  let etcd: TestEtcd;
  let small: TestEtcd;
  const servers: Server[] = [];

  beforeAll(async () => {
    [etcd, small] = await Promise.all([startTestEtcd(), startTestEtcd(['--quota-backend-bytes=100000'])]);
  });
  afterAll(async () => {
    for (const server of servers) server.close();
    await Promise.all([etcd?.stop(), small?.stop()]);
  });

  const probe = (endpoint: string, deadlineMs = 1500) =>
    checkEndpoint(endpoint, { endpoints: [endpoint, 'http://127.0.0.1:1'], prefix: PREFIX }, deadlineMs);

  it('finds that it reads and would write, and leaves no trace', async () => {
    const before = await etcd.ctl('get', '--prefix', '', '-w', 'json');
    const found = await probe(etcd.url);
    expect(found).toMatchObject({ failure: undefined, alarms: [], version: expect.stringMatching(/^3\./) });
    expect(found.readMs).toBeGreaterThan(0);
    expect(found.writeMs).toBeGreaterThan(0);
    const revision = (json: string) => (JSON.parse(json) as { header: { revision: number } }).header.revision;
    expect(revision(await etcd.ctl('get', '--prefix', '', '-w', 'json'))).toBe(revision(before));
  });

  it('tells the network config, or that there is none', async () => {
    expect((await probe(etcd.url)).config).toEqual({ json: undefined });
    await etcd.ctl('put', `${PREFIX}/config`, '{}');
    expect((await probe(etcd.url)).config).toEqual({ json: '{}' });
    await etcd.ctl('del', `${PREFIX}/config`);
    expect((await probe('http://127.0.0.1:1')).config).toBeUndefined();
  });

  it('finds that there is no room, at the write and not before', async () => {
    const fill = async () => {
      for (let i = 0; i < 50; i++) await small.ctl('put', `/fill/${i}`, 'x'.repeat(20_000));
    };
    await expect(fill()).rejects.toThrow(/database space exceeded/);
    const { failure } = await probe(small.url);
    expect(failure).toMatchObject({ step: 'write', reason: expect.stringMatching(/space/) });
  });

  it('finds that the user may read and not write, or not watch', async () => {
    await etcd.ctl('user', 'add', 'root:r');
    await etcd.ctl('user', 'grant-role', 'root', 'root');
    await etcd.ctl('role', 'add', 'reader');
    await etcd.ctl('role', 'grant-permission', '--prefix=true', 'reader', 'read', `${PREFIX}/`);
    await etcd.ctl('user', 'add', 'reader:p');
    await etcd.ctl('user', 'grant-role', 'reader', 'reader');
    await etcd.ctl('role', 'add', 'lister');
    await etcd.ctl('role', 'grant-permission', 'lister', 'readwrite', `${PREFIX}/config`);
    await etcd.ctl('role', 'grant-permission', '--prefix=true', 'lister', 'readwrite', `${PREFIX}/subnets/`);
    await etcd.ctl('user', 'add', 'lister:p');
    await etcd.ctl('user', 'grant-role', 'lister', 'lister');
    await etcd.ctl('auth', 'enable');
    try {
      const ask = (username: string, password: string) =>
        checkEndpoint(etcd.url, { endpoints: [etcd.url], prefix: PREFIX, auth: { username, password } }, 3000);
      expect((await ask('reader', 'p')).failure).toMatchObject({
        step: 'write',
        reason: expect.stringMatching(/denies/),
      });
      // As etcd refuses it to a role with a grant for each key that it reads.
      expect(await ask('lister', 'p')).toMatchObject({
        failure: { step: 'watch', reason: expect.stringMatching(/denies user "lister"/) },
        config: { json: undefined },
      });
      expect((await ask('reader', 'q')).failure).toMatchObject({
        step: 'read',
        reason: expect.stringMatching(/password/),
      });
      expect((await probe(etcd.url)).failure).toMatchObject({ step: 'read' });
      expect((await ask('root', 'r')).failure).toBeUndefined();
    } finally {
      await etcd.ctl('--user=root:r', 'auth', 'disable');
    }
  });

  it.each<[string, string, string, RegExp]>([
    [
      'a name that nobody knows',
      'http://etcd.invalid:2379',
      'resolve',
      /name of etcd at http:..etcd\.invalid:2379 cannot be resolved/,
    ],
    ['a port on which nobody listens', 'http://127.0.0.1:1', 'connect', /nobody listens on 127\.0\.0\.1:1$/],
  ])('finds %s', async (_, endpoint, step, reason) => {
    expect((await probe(endpoint)).failure).toEqual({ step, reason: expect.stringMatching(reason) });
  });

  it('finds that there is no TLS', async () => {
    const { failure } = await probe(etcd.url.replace('http:', 'https:'));
    expect(failure).toMatchObject({ step: 'TLS' });
  });

  it('does not wait for one that takes connections and says nothing', async () => {
    const server = createServer(() => undefined).listen(0, '127.0.0.1');
    servers.push(server);
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const began = performance.now();
    expect((await probe(`http://127.0.0.1:${port}`, 500)).failure).toMatchObject({ step: 'read' });
    expect((await probe(`https://127.0.0.1:${port}`, 500)).failure).toMatchObject({ step: 'TLS' });
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
