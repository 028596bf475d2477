import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { checkEndpoint } from '../../src/control/etcd/checkup.js';
import { dateOf } from '../../src/control/etcd/date.js';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { EtcdOptions } from '../../src/control/etcd/options.js';
import type { Registry } from '../../src/control/etcd/registry.js';
import { RudderError } from '../../src/core/errors.js';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { createPki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';
import { eventually, NAME, recordWatch } from './registry-suite.js';

const PREFIX = '/coreos.com/network';

describeWith(['etcd'], 'etcd over TLS', () => {
  const pki = createPki();
  const running: TestEtcd[] = [];
  const opened: Registry[] = [];
  let ca: string;
  let tlsEtcd: TestEtcd;
  let strictEtcd: TestEtcd;
  let misnamedEtcd: TestEtcd;
  let plainEtcd: TestEtcd;

  function connect(url: string, tls?: EtcdOptions['tls']): Registry {
    const registry = createEtcdRegistry({ endpoints: [url], prefix: PREFIX, tls, deadlineMs: 2000 });
    opened.push(registry);
    return registry;
  }

  async function start(certificate: string, ...extra: string[]): Promise<TestEtcd> {
    const files = [`--cert-file=${pki.path(`${certificate}.crt`)}`, `--key-file=${pki.path(`${certificate}.key`)}`];
    const etcd = await startTestEtcd([...files, ...extra], 'https');
    running.push(etcd);
    return etcd;
  }

  beforeAll(async () => {
    pki.authority('ca');
    pki.authority('stranger');
    pki.certificate('server', 'ca', 'IP:127.0.0.1');
    pki.certificate('misnamed', 'ca', 'IP:127.0.0.99');
    pki.certificate('client', 'ca', 'DNS:client');
    ca = pki.path('ca.crt');
    plainEtcd = await startTestEtcd();
    running.push(plainEtcd);
    tlsEtcd = await start('server');
    strictEtcd = await start('server', '--client-cert-auth', `--trusted-ca-file=${pki.path('ca.crt')}`);
    misnamedEtcd = await start('misnamed');
    const client = { ca, cert: pki.path('client.crt'), key: pki.path('client.key') };
    const [first, second] = [connect(tlsEtcd.url, { ca }), connect(strictEtcd.url, client)];
    await eventually(() => Promise.all([first.listLeases(), second.listLeases()]));
  }, 30_000);
  afterEach(() => {
    for (const registry of opened.splice(0)) registry.close();
  });
  afterAll(async () => {
    await Promise.all(running.map((etcd) => etcd.stop()));
    pki.remove();
  });

  async function refusalOf(registry: Registry, url: string): Promise<string> {
    const error = await registry.listLeases().then(
      () => 'no error',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(RudderError);
    expect(error).toMatchObject({ code: 'registry-refused' });
    expect((error as RudderError).message).toContain(url);
    return (error as RudderError).message;
  }

  it('needs no more than the CA', async () => {
    const registry = connect(tlsEtcd.url, { ca });
    const holding = (await registry.createLease(NAME, 'mine', 60))!;
    const watch = recordWatch(registry, holding.revision);
    await eventually(() => expect(watch.events).toHaveLength(1));
    expect(await registry.keepAlive(holding.ttlId)).toBe(true);
    expect((await registry.listLeases()).entries).toEqual([{ name: NAME, value: 'mine', ...holding }]);
  });

  it('takes a client certificate where etcd asks for one', async () => {
    const client = { ca, cert: pki.path('client.crt'), key: pki.path('client.key') };
    expect((await connect(strictEtcd.url, client).listLeases()).entries).toEqual([]);
  });

  it("stands the doctor's look, step by step: the watch that it closes takes no other request with it", async () => {
    const client = { ca, cert: pki.path('client.crt'), key: pki.path('client.key') };
    const look = ({ url }: TestEtcd, tls: EtcdOptions['tls']) =>
      checkEndpoint(url, { endpoints: [url], prefix: PREFIX, tls }, 3000);
    expect(await look(tlsEtcd, { ca })).toMatchObject({ failure: undefined });
    expect(await look(strictEtcd, client)).toMatchObject({ failure: undefined });
  });

  it('tells the doctor the time, if it is asked with the same certificates', async () => {
    const client = { ca, cert: pki.path('client.crt'), key: pki.path('client.key') };
    const ask = ({ url }: TestEtcd, tls?: EtcdOptions['tls']) => dateOf(url, tls);
    expect(await ask(strictEtcd, client)).toBeInstanceOf(Date);
    expect(await ask(plainEtcd)).toBeInstanceOf(Date);
    expect(await ask(strictEtcd)).toBeUndefined();
  });

  it('without the client certificate that etcd asks for is refused', async () => {
    expect(await refusalOf(connect(strictEtcd.url, { ca }), strictEtcd.url)).toMatch(/client certificate/);
  });

  it.each(['another CA', 'no CA'])('with %s is refused, in requests and watches', async (given) => {
    const tls = given === 'no CA' ? undefined : { ca: pki.path('stranger.crt') };
    const registry = connect(tlsEtcd.url, tls);
    expect(await refusalOf(registry, tlsEtcd.url)).toMatch(/no trusted TLS connection .*certificate.*--etcd-cafile/);
    const watch = recordWatch(registry, 1);
    await eventually(() => expect(watch.ended).toHaveLength(1));
    expect(watch.ended[0]).toMatchObject({ code: 'registry-refused' });
  });

  it('with a certificate for another address is refused', async () => {
    const registry = connect(misnamedEtcd.url, { ca });
    const message = await eventually(() => refusalOf(registry, misnamedEtcd.url));
    expect(message).toMatch(/127\.0\.0\.99|altnames/);
  });

  it('to a port without TLS is refused, and says so', async () => {
    const url = plainEtcd.url.replace('http:', 'https:');
    const registry = connect(url, { ca });
    for (let i = 0; i < 5; i++) {
      // etcd may close the connection before its answer is read: that attempt only says "unavailable".
      const message = await eventually(() => refusalOf(registry, url));
      expect(message).toMatch(/does not speak TLS; use http:\/\/ in --etcd-endpoints/);
    }
  });

  it('without TLS to a port with TLS fails in time', async () => {
    const start = performance.now();
    const url = tlsEtcd.url.replace('https:', 'http:');
    await expect(connect(url).listLeases()).rejects.toMatchObject({ message: expect.stringContaining(url) });
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
