import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createWebServer } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTlsWebServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { EtcdOptions } from '../../src/control/etcd/options.js';
import { RudderError } from '../../src/core/errors.js';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { loopbackUrl, startTestCluster, type TestCluster } from '../helpers/members.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';
import { eventually, NAME } from './registry-suite.js';

const PREFIX = '/words/network';

/** What goes wrong with etcd is told in words of ours, with one endpoint, and with a dead one beside it. */
describeWith(['etcd'], 'the words for', () => {
  let pki: Pki;
  const etcds: TestEtcd[] = [];
  const servers: { close(): unknown }[] = [];
  let cluster: TestCluster | undefined;

  async function etcd(scheme: string, certificate?: string, ...extra: string[]): Promise<TestEtcd> {
    const files =
      certificate === undefined
        ? []
        : [`--cert-file=${pki.path(`${certificate}.crt`)}`, `--key-file=${pki.path(`${certificate}.key`)}`];
    const started = await startTestEtcd([...files, ...extra], scheme);
    etcds.push(started);
    return started;
  }
  const strict = () => etcd('https', 'server', '--client-cert-auth', `--trusted-ca-file=${pki.path('ca.crt')}`);

  async function serve(server: Server | ReturnType<typeof createHttp2Server>, scheme = 'http'): Promise<string> {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    servers.push(server);
    return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** An etcd that answers each request with one gRPC error. */
  function answering(code: number, message: string): Promise<string> {
    const server = createHttp2Server();
    server.on('stream', (stream: ServerHttp2Stream) => {
      stream.on('error', () => undefined);
      const headers = { 'content-type': 'application/grpc', 'grpc-status': String(code), 'grpc-message': message };
      stream.respond(headers, { endStream: true });
    });
    return serve(server);
  }

  beforeAll(() => {
    pki = createPki();
    for (const name of ['ca', 'stranger']) pki.authority(name);
    pki.certificate('server', 'ca', 'IP:127.0.0.1');
    pki.certificate('server-expired', 'ca', 'IP:127.0.0.1', -1);
    pki.certificate('client', 'ca', 'DNS:client');
    pki.certificate('client-expired', 'ca', 'DNS:client', -1);
    pki.certificate('client-stranger', 'stranger', 'DNS:client');
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) server.close();
    for (const started of etcds.splice(0)) await started.stop();
    await cluster?.stop();
    cluster = undefined;
  });
  afterAll(() => pki.remove());

  const client = (name: string) => ({
    ca: pki.path('ca.crt'),
    cert: pki.path(`${name}.crt`),
    key: pki.path(`${name}.key`),
  });
  const trusting = () => ({ ca: pki.path('ca.crt') });

  /** The line, with one endpoint, and with another one before and behind it where nobody listens. */
  async function expectWords(
    url: string,
    tls: EtcdOptions['tls'],
    code: string,
    words: RegExp,
    request: 'read' | 'write' = 'read',
  ): Promise<void> {
    const dead = `${url.split(':')[0]}://127.0.0.1:1`;
    for (const endpoints of [[url], [url, dead], [dead, url]]) {
      await eventually(async () => {
        const registry = createEtcdRegistry({ endpoints, prefix: PREFIX, tls, deadlineMs: 2000 });
        const asked = request === 'read' ? registry.getConfig() : registry.createLease(NAME, 'x', 60);
        const error = await asked.then(
          () => 'no error',
          (thrown: unknown) => thrown,
        );
        registry.close();
        expect(error).toBeInstanceOf(RudderError);
        const { message } = error as RudderError;
        expect(message).toMatch(words);
        expect(error).toMatchObject({ code });
        expect(message).toContain(url);
        expect(message).not.toMatch(new RegExp(`${dead}(?!\\d)`));
        expect(message).not.toMatch(/undefined|SSL routines|error:0|Last error|UNAVAILABLE|RESOURCE_EXHAUSTED|\n/);
      });
    }
  }

  it('out of space', async () => {
    const { url, ctl } = await etcd('http', undefined, '--quota-backend-bytes=20000');
    for (let i = 0; i < 50; i++) await ctl('put', `/fill/${i}`, 'x'.repeat(5000)).catch(() => undefined);
    expect(await ctl('alarm', 'list')).toContain('NOSPACE');
    await expectWords(
      url,
      undefined,
      'registry-unavailable',
      /takes no writes, since its space is used up .*defrag, then alarm disarm$/,
      'write',
    );
  });

  it('no quorum', async () => {
    cluster = await startTestCluster(3);
    const [url] = cluster.urls;
    await eventually(() => createEtcdRegistry({ endpoints: [url], prefix: PREFIX }).getConfig());
    for (const other of cluster.processes.slice(1)) other.kill('SIGKILL');
    await expectWords(url, undefined, 'registry-unavailable', /has no leader, as when fewer than half of its members/);
  });

  it('a learner', async () => {
    cluster = await startTestCluster(1);
    const registry = createEtcdRegistry({ endpoints: cluster.urls, prefix: PREFIX });
    await eventually(() => registry.getConfig());
    registry.close();
    const peer = await loopbackUrl();
    await addLearner(cluster.urls[0], peer);
    const url = await cluster.join('learner', peer);
    await expectWords(
      url,
      undefined,
      'registry-unavailable',
      /is a learner, which does not serve clients: etcdctl member promote/,
    );
  });

  it.each([
    [15, 'etcdserver: corrupt cluster', /has found members with different data \(alarm CORRUPT\)/],
    [8, 'etcdserver: too many requests', /is overloaded and has put our request off/],
    [2, 'etcdserver: something new', /cannot do what it is asked: "something new"; see its log/],
  ])('an answer %i %s', async (code, message, words) => {
    await expectWords(await answering(code, message), undefined, 'registry-unavailable', words);
  });

  it('TLS on a plain port, and the reverse', async () => {
    const plain = (await etcd('http')).url.replace('http:', 'https:');
    await expectWords(plain, trusting(), 'registry-refused', /does not speak TLS; use http:/);
    const { url } = await etcd('https', 'server');
    await expectWords(url.replace('https:', 'http:'), undefined, 'registry-refused', /speaks TLS; use https:/);
  });

  it('a client certificate that is missing, expired, or from another CA', async () => {
    const { url } = await strict();
    await expectWords(url, trusting(), 'registry-refused', /wants a client certificate; give --etcd-certfile/);
    const expired =
      /does not take our certificate: "CN=client-expired" in \S+ has expired, on 20\d\d-.*Z; put a new one/;
    await expectWords(url, client('client-expired'), 'registry-refused', expired);
    const stranger = /does not take our client certificate "CN=client-stranger" in \S+: give one/;
    await expectWords(url, client('client-stranger'), 'registry-refused', stranger);
  });

  it("a certificate of etcd's that has expired, or from another CA", async () => {
    const { url } = await etcd('https', 'server-expired');
    const expired = /the certificate "CN=server-expired" of etcd has expired, on 20\d\d-.*Z; renew it$/;
    await expectWords(url, trusting(), 'registry-refused', expired);
    const other = await etcd('https', 'server');
    const stranger = { ca: pki.path('stranger.crt') };
    await expectWords(
      other.url,
      stranger,
      'registry-refused',
      /its certificate "CN=server" is not signed by a CA we were given/,
    );
  });

  it('a key that does not fit, and a file that is no certificate', async () => {
    const { url } = await strict();
    const ask = (tls: EtcdOptions['tls']) =>
      createEtcdRegistry({ endpoints: [url, url], prefix: PREFIX, tls }).getConfig();
    const misfit = { ...client('client'), key: pki.path('server.key') };
    const line = /^--etcd-keyfile \S+server\.key does not fit \S+client\.crt: expected the key of that certificate$/;
    await expect(ask(misfit)).rejects.toMatchObject({ code: 'file', message: expect.stringMatching(line) });
    await expect(ask({ ca: pki.path('ca.key') })).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(/no certificate/),
    });
  });

  it('a web server, with and without TLS, and what is neither', async () => {
    const web = await serve(createWebServer((_, response) => void response.writeHead(404).end()));
    await expectWords(
      web,
      undefined,
      'registry-refused',
      /what answers at \S+ is a web server \(HTTP status 404\), not etcd/,
    );
    const files = { cert: readFileSync(pki.path('server.crt')), key: readFileSync(pki.path('server.key')) };
    const tlsWeb = await serve(
      createTlsWebServer(files, (_, response) => void response.end('hello')),
      'https',
    );
    await expectWords(tlsWeb, trusting(), 'registry-refused', /is a web server \(HTTP status 200\)/);
    const ssh = await serve(createServer((socket) => void socket.on('error', () => undefined).end('SSH-2.0-x\r\n')));
    await expectWords(ssh, undefined, 'registry-refused', /is not etcd, it does not speak HTTP\/2/);
    const closing = await serve(createServer((socket) => void socket.destroy()));
    await expectWords(
      closing,
      undefined,
      'registry-unavailable',
      /cannot be reached: the connection was closed from there/,
    );
  });

  it('a name that does not resolve, soon', async () => {
    const start = performance.now();
    const registry = createEtcdRegistry({ endpoints: ['http://no.such.invalid:2379'], prefix: PREFIX });
    const line =
      /^the name of etcd at http:\/\/no\.such\.invalid:2379 cannot be resolved \((ENOTFOUND|EAI_AGAIN|DNS does not answer)\): correct/;
    await expect(registry.getConfig()).rejects.toMatchObject({
      code: 'registry-unavailable',
      message: expect.stringMatching(line),
    });
    registry.close();
    expect(performance.now() - start).toBeLessThan(2500);
  });

  async function addLearner(url: string, peer: string): Promise<void> {
    const { execFileSync } = await import('node:child_process');
    const env = { ...process.env, ETCDCTL_API: '3' };
    execFileSync('etcdctl', [`--endpoints=${url}`, 'member', 'add', 'learner', '--learner', `--peer-urls=${peer}`], {
      env,
    });
  }
});
