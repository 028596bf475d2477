import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FakeKubernetes, startFakeKubernetes } from '../../src/bench/fake-kubernetes.js';
import { openApi } from '../../src/control/kubernetes/api.js';
import { administerKubernetes } from '../../src/control/kubernetes/kube-administration.js';
import type { KubernetesOptions } from '../../src/control/kubernetes/options.js';
import { flannelNode, joinNode, membershipOf, PREFIX, type TestNode } from '../helpers/kubernetes.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { createRecordingLog } from '../helpers/recording-log.js';

/** What goes wrong with an API server, made by the fake. */
let pki: Pki;
let fake: FakeKubernetes;
let directory: string;
let options: KubernetesOptions;
const nodes: TestNode[] = [];
const WAIT = { timeout: 10_000, interval: 20 };
const GET = { method: 'GET', path: '/api/v1/nodes/n1', right: { verb: 'get', resource: 'nodes' } } as const;

beforeAll(() => {
  pki = createPki();
  for (const ca of ['ca', 'other-ca']) pki.authority(ca);
  pki.certificate('server', 'ca', 'IP:127.0.0.1');
  pki.certificate('stranger', 'other-ca', 'IP:127.0.0.1');
  pki.certificate('client', 'ca', 'DNS:client');
});
afterAll(() => pki.remove());

const tlsOf = (name: string) => ({
  key: readFileSync(pki.path(`${name}.key`)),
  cert: readFileSync(pki.path(`${name}.crt`)),
});

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kube-'));
  fake = await startFakeKubernetes({ tls: tlsOf('server') });
  fake.setTokens(['node']);
  writeFileSync(join(directory, 'token'), 'node\n');
  writeFileSync(join(directory, 'ca.crt'), readFileSync(pki.path('ca.crt')));
  writeFileSync(join(directory, 'net-conf.json'), '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}');
  options = {
    nodeName: 'n1',
    annotationPrefix: 'flannel.alpha.coreos.com',
    netConfigPath: join(directory, 'net-conf.json'),
    setNetworkUnavailable: true,
    version: '1.2.3',
    environment: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(fake.port) },
    serviceAccountDirectory: directory,
    timing: { deadlineMs: 2000, configMs: 50, graceMs: 200, silenceMs: 400 },
  };
  put('n1', '10.244.1.0/24');
});
afterEach(async () => {
  for (const { joined, membership } of nodes.splice(0)) {
    await joined.stop();
    membership.close();
  }
  await fake.stop();
  rmSync(directory, { recursive: true });
});

const put = (name: string, podCIDR: string, annotations: Record<string, string> = {}) =>
  fake.putNode({ metadata: { name, annotations }, spec: { podCIDR } });

async function joined(
  timing: KubernetesOptions['timing'] = { ...options.timing, silenceMs: 60_000 },
): Promise<TestNode> {
  const node = await joinNode({ ...options, timing });
  nodes.push(node);
  await node.joined.listed(new AbortController().signal);
  await vi.waitFor(() => expect(node.joined.state().isCurrent).toBe(true), WAIT);
  return node;
}

const lists = () => fake.requests.filter(({ path }) => path.startsWith('/api/v1/nodes?limit')).length;
const watches = () => fake.requests.filter(({ path }) => path.startsWith('/api/v1/nodes?watch')).length;

describe('a watch', () => {
  it('that has ended goes on from where it was, without a list', async () => {
    const node = await joined();
    const before = lists();
    fake.endWatches();
    put('n2', '10.244.2.0/24', flannelNode('192.0.2.2'));
    await vi.waitFor(() => expect(node.peers()).toEqual({ '10.244.2.0/24': 'n2 192.0.2.2' }), WAIT);
    expect(lists()).toBe(before);
  });

  it('asks for bookmarks, and goes on from the last one', async () => {
    const node = await joined();
    fake.removeNode('nobody');
    put('far', '10.244.3.0/24');
    fake.bookmark();
    await vi.waitFor(() => expect(node.joined.state().contactAgeSeconds).toBeLessThan(5), WAIT);
    fake.endWatches();
    await vi.waitFor(() => expect(watches()).toBeGreaterThan(1), WAIT);
    const paths = fake.requests.filter(({ path }) => path.includes('watch=1')).map(({ path }) => path);
    expect(paths[0]).toMatch(/allowWatchBookmarks=true/);
    const version = /resourceVersion=(\d+)/.exec(paths.at(-1)!)?.[1];
    expect(version).toBe(fake.nodes.get('far')?.metadata.resourceVersion);
  });

  it('whose version is forgotten (410) is a list again, by which nothing is missed', async () => {
    put('n2', '10.244.2.0/24', flannelNode('192.0.2.2'));
    const node = await joined();
    const before = lists();
    fake.freeze(true);
    fake.removeNode('n2');
    put('n3', '10.244.3.0/24', flannelNode('192.0.2.3'));
    fake.forget();
    fake.freeze(false);
    await vi.waitFor(() => expect(node.peers()).toEqual({ '10.244.3.0/24': 'n3 192.0.2.3' }), WAIT);
    expect(lists()).toBeGreaterThan(before);
  });

  it('that says nothing for too long is dead: told, and begun again', async () => {
    const node = await joined({ ...options.timing, silenceMs: 400 });
    fake.freeze(true);
    await vi.waitFor(() => expect(node.joined.state().problem).toMatch(/has been silent for 0\.4 s/), WAIT);
    expect(node.joined.state().isCurrent).toBe(false);
    fake.freeze(false);
    await vi.waitFor(() => expect(node.joined.state().isCurrent).toBe(true), WAIT);
  });

  it('is told to be lost once, and to be back once', async () => {
    const node = await joined();
    await fake.stop();
    await vi.waitFor(() => expect(node.joined.state().problem).toMatch(/cannot be reached: .*ECONNREFUSED/), WAIT);
    await fake.start();
    await vi.waitFor(() => expect(node.joined.state().isCurrent).toBe(true), WAIT);
    const told = node.log.lines.map(({ message }) => message).filter((message) => /watch of Nodes/.test(message));
    expect(told).toEqual(['the watch of Nodes is interrupted', 'the watch of Nodes is up again']);
  });
});

it('a list whose pages have expired (410) is begun anew', async () => {
  for (let i = 1; i <= 150; i++) put(`peer-${i}`, `10.244.${i + 1}.0/24`, flannelNode(`192.0.2.${i}`));
  const node = await joinNode(options, {});
  nodes.push(node);
  fake.forget();
  await node.joined.listed(new AbortController().signal);
  expect(Object.keys(node.peers())).toHaveLength(150);
});

describe('a token', () => {
  it('is read again for each request, so that a rotated one counts at once', async () => {
    const api = openApi(options);
    await api.ask(GET);
    fake.setTokens(['rotated']);
    writeFileSync(join(directory, 'token'), 'rotated');
    await api.ask(GET);
    expect(fake.requests.at(-1)?.headers).toMatchObject({
      authorization: 'Bearer rotated',
      'user-agent': 'rudder/1.2.3',
    });
    api.close();
  });

  it('that is replaced while it is used is tried once more', async () => {
    const api = openApi(options);
    fake.setTokens(['rotated']);
    fake.freeze(true);
    const asked = api.ask(GET);
    await vi.waitFor(() => expect(fake.requests).toHaveLength(1), WAIT);
    writeFileSync(join(directory, 'token'), 'rotated');
    fake.freeze(false);
    await expect(asked).resolves.toMatchObject({ metadata: { name: 'n1' } });
    api.close();
  });

  it('that is none is refused in our words, and is in no word of ours', async () => {
    writeFileSync(join(directory, 'token'), 'hunter2');
    const error: unknown = await openApi(options)
      .ask(GET)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'registry-refused',
      message: expect.stringMatching(/does not know us \(401\): expected a valid token/),
    });
    expect(String(error)).not.toContain('hunter2');
  });

  it('never goes over plain HTTP', async () => {
    const plain = await startFakeKubernetes();
    plain.putNode({ metadata: { name: 'n1' } });
    const api = openApi({ ...options, apiUrl: `http://127.0.0.1:${plain.port}` });
    await api.ask(GET);
    expect(plain.requests[0].headers.authorization).toBeUndefined();
    api.close();
    await plain.stop();
  });
});

describe('an API server', () => {
  it('that is busy (429) is asked again when it says', async () => {
    fake.beBusy(2, 0);
    const api = openApi(options);
    await expect(api.ask(GET)).resolves.toMatchObject({ metadata: { name: 'n1' } });
    expect(fake.requests).toHaveLength(3);
    fake.beBusy(99, 0);
    await expect(api.ask(GET)).rejects.toMatchObject({ code: 'registry-unavailable', status: 429 });
    expect(fake.requests).toHaveLength(7);
    api.close();
  });

  it('that is busy for longer than one answer may take is waited for, and called busy in the end', async () => {
    const api = openApi({ ...options, timing: { deadlineMs: 500 } });
    fake.beBusy(1, 1);
    await expect(api.ask(GET)).resolves.toMatchObject({ metadata: { name: 'n1' } });
    fake.beBusy(99, 1);
    await expect(api.ask(GET)).rejects.toMatchObject({
      code: 'registry-unavailable',
      status: 429,
      message: expect.stringMatching(/answers 429 to get nodes/),
    });
    api.close();
  });

  it('that is frozen is not waited for beyond the deadline', async () => {
    fake.freeze(true);
    const api = openApi({ ...options, timing: { deadlineMs: 200 } });
    await expect(api.ask(GET)).rejects.toThrow(
      /cannot be reached: no answer within 0\.2 s; that is its service address, which works once kube-proxy does/,
    );
    api.close();
  });

  it('with a certificate of another CA is not believed, until the CA is replaced', async () => {
    await fake.stop();
    await fake.start(tlsOf('stranger'));
    const api = openApi(options);
    await expect(api.ask(GET)).rejects.toMatchObject({
      code: 'registry-refused',
      message: expect.stringMatching(/not signed by the CA that we know/),
    });
    writeFileSync(join(directory, 'ca.crt'), readFileSync(pki.path('other-ca.crt')));
    await expect(api.ask(GET)).resolves.toBeDefined();
    expect(api.certificates()[0]).toMatchObject({ file: join(directory, 'ca.crt'), subject: 'CN=other-ca' });
    api.close();
  });

  it('that speaks no TLS, or no JSON, is told apart', async () => {
    const other = await listening(createServer((_, response) => response.end('<html>hello</html>')));
    const at = (scheme: string) => openApi({ ...options, apiUrl: `${scheme}://127.0.0.1:${portOf(other)}` });
    await expect(at('https').ask(GET)).rejects.toThrow(/does not speak TLS/);
    await expect(at('http').ask(GET)).rejects.toThrow(/an answer 200 that is no JSON/);
    other.close();
  });

  it('is asked through a proxy, and through none where NO_PROXY says so', async () => {
    const { proxy, through } = await startProxy();
    pki.certificate('server', 'ca', 'DNS:api.example,IP:127.0.0.1');
    await fake.stop();
    await fake.start(tlsOf('server'));
    const url = `http://u:p%20w@127.0.0.1:${portOf(proxy)}`;
    const asking = (environment: Record<string, string>) =>
      openApi({ ...options, apiUrl: 'https://api.example:6443', environment }).ask(GET);
    await expect(asking({ HTTPS_PROXY: url })).resolves.toBeDefined();
    expect(through).toEqual([`api.example:6443 Basic ${Buffer.from('u:p w').toString('base64')}`]);
    for (const exempt of ['api.example', '.example', '*', 'other, api.example:6443']) {
      await expect(asking({ HTTPS_PROXY: url, NO_PROXY: exempt })).rejects.toThrow(/ENOTFOUND|EAI_AGAIN/);
    }
    await expect(asking({ HTTPS_PROXY: url, NO_PROXY: 'api.example:1' })).resolves.toBeDefined();
    expect(through).toHaveLength(2);
    await expect(asking({ HTTPS_PROXY: 'socks5://u:hunter2@h:1' })).rejects.toThrow(
      /^proxy "socks5:\/\/h:1" for the Kubernetes API: expected http/,
    );
    proxy.closeAllConnections();
    proxy.close();
  });

  it('whose URL has an address is believed by that address through a proxy too', async () => {
    const { proxy } = await startProxy();
    const environment = { HTTPS_PROXY: `http://127.0.0.1:${portOf(proxy)}` };
    const api = openApi({ ...options, apiUrl: 'https://192.0.2.1:6443', environment });
    const answering = async (names: string) => {
      pki.certificate('server', 'ca', names);
      await fake.stop();
      await fake.start(tlsOf('server'));
      return api.ask(GET);
    };
    await expect(answering('IP:192.0.2.1')).resolves.toMatchObject({ metadata: { name: 'n1' } });
    for (const other of ['DNS:localhost', 'IP:127.0.0.1']) {
      await expect(answering(other)).rejects.toThrow(/its certificate is of another name/);
    }
    api.close();
    proxy.closeAllConnections();
    proxy.close();
  });
});

describe('the own Node', () => {
  it('is written at the version that was seen: a change in between is looked at first', async () => {
    const patches = () => fake.requests.filter(({ method }) => method === 'PATCH').length;
    const node = await joined();
    const before = patches();
    fake.freeze(true);
    node.joined.publish({ publicIp: 0x0a010101 });
    await vi.waitFor(() => expect(patches()).toBe(before + 1), WAIT);
    fake.putNode({ ...fake.nodes.get('n1')!, status: { images: [] } });
    fake.freeze(false);
    await vi.waitFor(
      () => expect(fake.nodes.get('n1')?.metadata.annotations?.[`${PREFIX}public-ip`]).toBe('10.1.1.1'),
      WAIT,
    );
    expect(fake.nodes.get('n1')?.status).toHaveProperty('images');
    expect(patches()).toBe(before + 2);
  });

  it('that somebody else writes too is written ever more rarely, and that is told', async () => {
    const node = await joined();
    const key = `${PREFIX}public-ip`;
    const annotations = () => fake.nodes.get('n1')?.metadata.annotations;
    let undone = 0;
    const end = performance.now() + 3000;
    await vi.waitFor(() => {
      if (annotations()?.[key] === '192.0.2.7') {
        const before = fake.nodes.get('n1')!;
        fake.putNode({
          ...before,
          metadata: { ...before.metadata, annotations: { ...annotations(), [key]: '192.0.2.99' } },
        });
        undone++;
      }
      expect(performance.now()).toBeGreaterThan(end);
    }, WAIT);
    expect(undone).toBeGreaterThanOrEqual(2);
    expect(undone).toBeLessThan(8);
    expect(
      node.log.lines.filter(({ message }) => /somebody has changed what the own Node says/.test(message)),
    ).toHaveLength(1);
  });

  it('of a node that leaves says that no packets flow, if it has said anything of that', async () => {
    const conditions = () => fake.nodes.get('n1')?.status?.conditions;
    const silent = await joined();
    await silent.joined.leave();
    expect(conditions() ?? []).toEqual([]);
    const node = await joined();
    node.joined.carries?.(undefined);
    await vi.waitFor(() => expect(conditions()).toMatchObject([{ status: 'False', reason: 'RudderIsUp' }]), WAIT);
    await node.joined.leave();
    expect(conditions()).toMatchObject([{ type: 'NetworkUnavailable', status: 'True', reason: 'RudderIsGone' }]);
    expect(fake.nodes.get('n1')?.metadata.annotations).not.toHaveProperty(`${PREFIX}public-ip`);
  });

  it('of a node that is cleaned up is looked at again where somebody has changed it meanwhile', async () => {
    const node = await joined();
    await node.joined.stop();
    const administration = administerKubernetes(options);
    const patches = () => fake.requests.filter(({ method }) => method === 'PATCH').length;
    const before = patches();
    fake.freeze(true);
    const giving = administration.giveBack(node.own.subnet, 'me');
    const gets = fake.requests.length;
    await vi.waitFor(() => expect(fake.requests.length).toBeGreaterThan(gets), WAIT);
    fake.freeze(false);
    fake.freeze(true);
    await vi.waitFor(() => expect(patches()).toBe(before + 1), WAIT);
    fake.putNode({ ...fake.nodes.get('n1')!, status: { images: [] } });
    fake.freeze(false);
    await expect(giving).resolves.toBe(true);
    expect(patches()).toBe(before + 2);
    expect(fake.nodes.get('n1')?.metadata.annotations).toEqual({});
    administration.close();
  });

  it('is found by the pod where there is no NODE_NAME, as flannel does it', async () => {
    const membership = membershipOf({
      ...options,
      nodeName: undefined,
      environment: { ...options.environment, POD_NAME: 'pod-of-n1', POD_NAMESPACE: 'x' },
    });
    await expect(membership.getConfig()).resolves.toContain('10.244.0.0/16');
    membership.close();
    expect(() => membershipOf({ ...options, nodeName: undefined })).toThrow(
      /without the name of the Node: expected NODE_NAME/,
    );
  });

  it('of an earlier run that is another Node by now is nothing to go on with', async () => {
    const membership = membershipOf(options);
    const { uid } = fake.nodes.get('n1')!.metadata;
    const known = (holding: Record<string, string>) =>
      membership.flawOf({ subnet: { address: 0x0af40100, prefixLength: 24 }, publicIp: 1, holding }, 2);
    expect(known({ node: 'n1', uid: 'earlier' })).toBeUndefined();
    await membership.getConfig();
    expect(known({ node: 'n1', uid: uid! })).toBeUndefined();
    // Made anew, with the same podCIDR.
    expect(known({ node: 'n1', uid: 'earlier' })).toBeUndefined();
    fake.removeNode('n1');
    put('n1', '10.244.9.0/24');
    await membership.getConfig();
    expect(known({ node: 'n1', uid: uid! })).toMatch(/was made anew, and its podCIDR may be another node's now/);
    fake.removeNode('n1');
    await membership.getConfig().catch(() => undefined);
    expect(known({ node: 'n1', uid: uid! })).toMatch(/is gone from Kubernetes/);
    expect(known({ node: 'n2', uid: 'x' })).toMatch(/of another Node/);
    expect(known({ revision: '5' })).toMatch(/not of Kubernetes/);
    membership.close();
  });
});

it('no annotation, no token and no condition is in the log', async () => {
  put('n2', '10.244.2.0/24', { ...flannelNode('192.0.2.2'), 'their/secret': 'hunter2', [`${PREFIX}public-ip`]: 'bad' });
  const node = await joined();
  node.joined.carries?.(undefined);
  await vi.waitFor(() => expect(fake.nodes.get('n1')?.status?.conditions).toHaveLength(1), WAIT);
  const text = JSON.stringify(node.log.lines);
  for (const secret of ['hunter2', 'Bearer', 'VtepMAC']) expect(text).not.toContain(secret);
});

it('insecure-skip-tls-verify is taken, and warned of', async () => {
  await fake.stop();
  await fake.start(tlsOf('stranger'));
  const kubeconfigFile = join(directory, 'kubeconfig');
  writeFileSync(
    kubeconfigFile,
    `current-context: c\nclusters: [{name: c, cluster: {server: "https://127.0.0.1:${fake.port}", insecure-skip-tls-verify: true}}]\nusers: [{name: u, user: {token: node}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n`,
  );
  const log = createRecordingLog();
  const api = openApi({ ...options, kubeconfigFile }, log);
  await api.ask(GET);
  await api.ask(GET);
  expect(log.lines.map(({ message }) => message)).toEqual([
    expect.stringMatching(/^the kubeconfig has insecure-skip-tls-verify: whoever answers there is believed/),
  ]);
  api.close();
});

/** A proxy behind which every address is the fake's. @returns also what it was asked for */
async function startProxy(): Promise<{ proxy: Server; through: string[] }> {
  const through: string[] = [];
  const proxy = await listening(createServer());
  proxy.on('connect', (request, socket) => {
    through.push(`${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
    const upstream = connect(fake.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  return { proxy, through };
}

async function listening(server: Server): Promise<Server> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

const portOf = (server: Server) => (server.address() as AddressInfo).port;
