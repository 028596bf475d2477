import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeKubernetes } from '../contract/kubernetes-suite.js';
import { freePort, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { type Administrator, administratorOf, joinNode, membershipOf, type TestNode } from '../helpers/kubernetes.js';
import { createPki, type Pki } from '../helpers/pki.js';

/** The contract over a real API server, as test/machines/kubernetes/build makes it of Debian's source package. */
const PROGRAM = join(
  process.env.RUDDER_KUBERNETES ?? join(homedir(), '.cache/rudder/kubernetes'),
  'bin/kube-apiserver',
);

const REMEDY = existsSync(PROGRAM) ? '' : ' (skipped: run test/machines/kubernetes/build)';

describe.skipIf(REMEDY !== '' && process.env.CI !== 'true')(`a real API server${REMEDY}`, () => {
  let pki: Pki;
  let etcd: TestEtcd;
  let directory: string;
  let url: string;
  let admin: Administrator;
  let server: ChildProcess;
  const ca = () => readFileSync(pki.path('ca.crt'));

  beforeAll(async () => {
    pki = createPki();
    for (const authority of ['ca', 'other-ca']) pki.authority(authority);
    for (const name of ['server', 'renewed']) pki.certificate(name, 'ca', 'IP:127.0.0.1');
    pki.certificate('moved', 'other-ca', 'IP:127.0.0.1');
    directory = mkdtempSync(join(tmpdir(), 'kube-api-'));
    execFileSync('openssl', ['genrsa', '-out', join(directory, 'sa.key'), '2048'], { stdio: 'ignore' });
    writeFileSync(join(directory, 'tokens.csv'), 'admin,admin,1,"system:masters"\nnode,rudder,2,"nodes"\n');
    etcd = await startTestEtcd();
    await startServer(await freePort());
    admin = administratorOf({ url, adminToken: 'admin', ca: ca() });
    await waitFor('the API server', () => admin.ask('GET', '/api/v1/namespaces/default'), 60_000);
    await admin.ask('POST', `${RBAC}/clusterroles`, { metadata: { name: 'rudder' }, rules: ALL });
    await admin.ask('POST', `${RBAC}/clusterrolebindings`, {
      metadata: { name: 'rudder' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'rudder' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'rudder' }],
    });
  }, 120_000);
  afterAll(async () => {
    await stopServer();
    await etcd.stop();
    pki.remove();
    rmSync(directory, { recursive: true });
  });

  async function startServer(port: number, certificate = 'server'): Promise<void> {
    url = `https://127.0.0.1:${port}`;
    const key = join(directory, 'sa.key');
    const log = openSync(join(directory, 'log'), 'a');
    const flags = [
      ...['--bind-address=127.0.0.1', `--secure-port=${port}`, '--insecure-port=0', `--etcd-servers=${etcd.url}`],
      `--tls-cert-file=${pki.path(`${certificate}.crt`)}`,
      `--tls-private-key-file=${pki.path(`${certificate}.key`)}`,
      ...['--service-cluster-ip-range=10.101.0.0/16', '--service-account-issuer=https://kubernetes.default.svc'],
      ...[`--service-account-key-file=${key}`, `--service-account-signing-key-file=${key}`],
      ...['--authorization-mode=RBAC', `--token-auth-file=${join(directory, 'tokens.csv')}`],
      ...['--disable-admission-plugins=ServiceAccount', `--cert-dir=${directory}`],
    ];
    server = spawn(PROGRAM, flags, { stdio: ['ignore', log, log] });
    await once(server, 'spawn');
  }

  async function stopServer(): Promise<void> {
    server.kill('SIGKILL');
    await once(server, 'exit');
  }

  const setRights = (rules: readonly Rule[]) =>
    admin.ask('PUT', `${RBAC}/clusterroles/rudder`, { metadata: { name: 'rudder' }, rules });

  const optionsOf = (nodeName: string) => ({
    nodeName,
    annotationPrefix: 'flannel.alpha.coreos.com',
    netConfigPath: join(directory, 'net-conf.json'),
    setNetworkUnavailable: true,
    version: '1.2.3',
    environment: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: new URL(url).port },
    serviceAccountDirectory: directory,
    timing: { configMs: 50, graceMs: 200 },
  });

  describeKubernetes('a real API server', async () => {
    writeFileSync(join(directory, 'token'), 'node\n');
    writeFileSync(join(directory, 'ca.crt'), ca());
    return { directory, admin, optionsOf, close: async () => undefined };
  });

  it.each([
    ['get nodes', 'get', 'nodes'],
    ['list nodes', 'list', 'nodes'],
    ['watch nodes', 'watch', 'nodes'],
    ['patch nodes/status', 'patch', 'nodes/status'],
  ])('without the right to %s that is named', async (right, verb, resource) => {
    await startAfresh();
    await setRights(allBut(verb, resource));
    const words = `forbids us to ${right} (403)`;
    try {
      // RBAC takes a moment to know.
      await waitFor('the refusal', () => said(words), 20_000);
    } finally {
      await setRights(ALL);
    }
  });

  it.each([
    ['watch', 'nodes', (node: TestNode) => node.membership.reconnect()],
    ['patch', 'nodes/status', (node: TestNode) => node.joined.publish({ publicIp: 0x0a010101 })],
  ])('the right to %s %s that is taken from a running node is named, and counts when it is back', async (verb, resource, use) => {
    await startAfresh();
    const node = await joinListed('n1');
    const isWell = async () => {
      const { isCurrent, lease } = node.joined.state();
      return isCurrent && lease.problem === undefined && lease.ownKey === 'written';
    };
    await waitFor('the node to be well', isWell, 10_000);
    const words = `forbids us to ${verb} ${resource} (403): expected that right; add the verb "${verb}" for "${resource}"`;
    try {
      await setRights(allBut(verb, resource));
      await waitFor('the refusal', () => isForbidden(verb, resource), 20_000);
      use(node);
      await waitFor(
        'the reason',
        () => {
          const { problem, lease } = node.joined.state();
          return `${problem} ${lease.problem}`.includes(words);
        },
        20_000,
      );
    } finally {
      await setRights(ALL);
    }
    await waitFor('the node to be well again', isWell, 20_000);
    await leave(node);
  });

  it('without the right to create events nothing but these is missing, and without NODE_NAME pods are asked', async () => {
    await startAfresh();
    const events = async () => {
      const { items } = (await admin.ask('GET', EVENTS)) as unknown as { items: { reason: string }[] };
      return items.map(({ reason }) => reason);
    };
    const node = await joinListed('n1');
    node.membership.note?.('host.problem', 'cut off');
    await waitFor('the event', async () => (await events()).includes('RudderHostProblem'), 10_000);
    await setRights(allBut('create', 'events'));
    try {
      await waitFor('the refusal', () => isForbidden('create', 'events'), 20_000);
      node.membership.note?.('config.invalid', 'no JSON');
      const refused = () =>
        node.log.lines.find(({ message }) => message === 'an event of the Node could not be written');
      await waitFor('the refusal of the event', refused, 10_000);
      expect(refused()?.fields).toMatchObject({ reason: expect.stringMatching(/forbids us to create events \(403\)/) });
      await admin.createNode('n2', '10.244.2.0/24', PEER);
      await waitFor('the peer', () => node.peers()['10.244.2.0/24'] === 'n2 192.0.2.2', 10_000);
      expect(node.joined.state()).toMatchObject({ isCurrent: true, problem: undefined });
      expect(await events()).not.toContain('RudderConfigInvalid');
    } finally {
      await setRights(ALL);
      await leave(node);
    }
    const { environment, ...options } = optionsOf('n1');
    const nameless = {
      ...options,
      nodeName: undefined,
      environment: { ...environment, POD_NAME: 'p', POD_NAMESPACE: 'x' },
    };
    const membership = membershipOf(nameless);
    await expect(membership.getConfig()).rejects.toThrow(/forbids us to get pods \(403\)/);
    membership.close();
  });

  /** Of whoever has the token of a node. */
  async function isForbidden(verb: string, resource: string): Promise<boolean> {
    const [kind, subresource] = resource.split('/');
    const spec = { resourceAttributes: { verb, resource: kind, subresource, namespace: 'default' } };
    const body = { kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', spec };
    const node = administratorOf({ url, adminToken: 'node', ca: ca() });
    const review = await node.ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', body);
    return review.status?.allowed === false;
  }

  /** Nothing but the Node n1. */
  async function startAfresh(): Promise<void> {
    await admin.deleteAll();
    await admin.createNode('n1', '10.244.1.0/24');
    writeFileSync(join(directory, 'net-conf.json'), NET_CONF);
  }

  async function joinListed(name: string): Promise<TestNode> {
    const node = await joinNode(optionsOf(name));
    await node.joined.listed(new AbortController().signal);
    return node;
  }

  async function leave({ joined, membership }: TestNode): Promise<void> {
    await joined.stop();
    membership.close();
  }

  /** Whether a node meets that, at its start or in its watch. */
  async function said(words: string): Promise<boolean> {
    try {
      const { joined, membership } = await joinNode(optionsOf('n1'));
      try {
        await waitFor('the reason', () => joined.state().problem?.includes(words), 2000);
        return true;
      } finally {
        await joined.stop();
        membership.close();
      }
    } catch (error) {
      return String(error).includes(words);
    }
  }

  /** A list shows peers before the watch stands: an API server that has just started forbids it for a moment, until it knows its roles. */
  const isWell = (node: Awaited<ReturnType<typeof joinListed>>) =>
    waitFor(
      'the node to be well',
      () => node.joined.state().isCurrent && node.joined.state().problem === undefined,
      20_000,
    );

  it('an API server that is killed and comes back is watched on, and what has happened meanwhile is known', async () => {
    await startAfresh();
    const node = await joinListed('n1');
    await stopServer();
    await waitFor('the loss to be known', () => !node.joined.state().isCurrent, 10_000);
    await startServer(Number(new URL(url).port));
    await waitFor('the API server', () => admin.createNode('n2', '10.244.2.0/24', PEER), 60_000);
    await waitFor('the peer', () => node.peers()['10.244.2.0/24'] === 'n2 192.0.2.2', 20_000);
    await isWell(node);
    await leave(node);
  }, 120_000);

  it('another certificate of the same CA is nothing to a node, and one of another CA is, until it is told that CA', async () => {
    await startAfresh();
    const node = await joinListed('n1');
    const restart = async (certificate: string, authority: string) => {
      await stopServer();
      await startServer(Number(new URL(url).port), certificate);
      admin = administratorOf({ url, adminToken: 'admin', ca: readFileSync(pki.path(authority)) });
      await waitFor('the API server', () => admin.ask('GET', '/api/v1/namespaces/default'), 60_000);
    };
    const seesPeer = async (number: number) => {
      const subnet = `10.244.${number}.0/24`;
      await admin.createNode(`n${number}`, subnet, PEER);
      await waitFor('the peer', () => node.peers()[subnet] === `n${number} 192.0.2.2`, 20_000);
      await isWell(node);
    };
    try {
      await restart('renewed', 'ca.crt');
      await seesPeer(2);
      await restart('moved', 'other-ca.crt');
      const reason = `the Kubernetes API at ${url}: its certificate is not signed by the CA that we know; expected the one of this cluster; put its CA into the kubeconfig, or into the service account's ca.crt`;
      await waitFor('the reason', () => node.joined.state().problem === reason, 20_000);
      expect(node.joined.state().isCurrent).toBe(false);
      expect(Object.keys(node.peers())).toEqual(['10.244.2.0/24']);
      writeFileSync(join(directory, 'ca.crt'), readFileSync(pki.path('other-ca.crt')));
      await seesPeer(3);
      const told = node.log.lines.map(({ message }) => message).filter((message) => /watch of Nodes/.test(message));
      expect(told.at(-1)).toBe('the watch of Nodes is up again');
    } finally {
      await leave(node);
      writeFileSync(join(directory, 'ca.crt'), ca());
      await restart('server', 'ca.crt');
    }
  }, 240_000);

  it('a token that is not known is refused', async () => {
    writeFileSync(join(directory, 'token'), 'stranger');
    const membership = membershipOf(optionsOf('n1'));
    await expect(membership.getConfig()).rejects.toThrow(/does not know us \(401\)/);
    membership.close();
  });
});

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** All rights but that one. */
function allBut(verb: string, resource: string): Rule[] {
  return ALL.flatMap((rule) => {
    const verbs = rule.resources.includes(resource) ? rule.verbs.filter((one) => one !== verb) : rule.verbs;
    return verbs.length === 0 ? [] : [{ ...rule, verbs }];
  });
}

const NET_CONF = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';
const EVENTS = '/api/v1/namespaces/default/events';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const ALL: readonly Rule[] = [
  { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
];
const PEER = {
  'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
  'flannel.alpha.coreos.com/backend-type': 'vxlan',
  'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"0e:00:00:00:00:02"}',
  'flannel.alpha.coreos.com/public-ip': '192.0.2.2',
};
