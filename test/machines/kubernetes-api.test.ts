import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeKubernetes } from '../contract/kubernetes-suite.js';
import { freePort, startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { type Administrator, administratorOf, joinNode, membershipOf } from '../helpers/kubernetes.js';
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
    pki.authority('ca');
    pki.certificate('server', 'ca', 'IP:127.0.0.1');
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

  async function startServer(port: number): Promise<void> {
    url = `https://127.0.0.1:${port}`;
    const key = join(directory, 'sa.key');
    const log = openSync(join(directory, 'log'), 'a');
    const flags = [
      ...['--bind-address=127.0.0.1', `--secure-port=${port}`, '--insecure-port=0', `--etcd-servers=${etcd.url}`],
      ...[`--tls-cert-file=${pki.path('server.crt')}`, `--tls-private-key-file=${pki.path('server.key')}`],
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
    const without = ALL.flatMap((rule) => {
      const verbs = rule.resources.includes(resource) ? rule.verbs.filter((one) => one !== verb) : rule.verbs;
      return verbs.length === 0 ? [] : [{ ...rule, verbs }];
    });
    await admin.deleteAll();
    await admin.createNode('n1', '10.244.1.0/24');
    writeFileSync(join(directory, 'net-conf.json'), '{"Network":"10.244.0.0/16"}');
    await setRights(without);
    const words = `forbids us to ${right} (403)`;
    try {
      // RBAC takes a moment to know.
      await waitFor('the refusal', () => said(words), 20_000);
    } finally {
      await setRights(ALL);
    }
  });

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

  it('an API server that is killed and comes back is watched on, and what has happened meanwhile is known', async () => {
    await admin.deleteAll();
    await admin.createNode('n1', '10.244.1.0/24');
    writeFileSync(join(directory, 'net-conf.json'), '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}');
    const node = await joinNode(optionsOf('n1'));
    await node.joined.listed(new AbortController().signal);
    await stopServer();
    await waitFor('the loss to be known', () => !node.joined.state().isCurrent, 10_000);
    await startServer(Number(new URL(url).port));
    await waitFor('the API server', () => admin.createNode('n2', '10.244.2.0/24', PEER), 60_000);
    await waitFor('the peer', () => node.peers()['10.244.2.0/24'] === 'n2 192.0.2.2', 20_000);
    expect(node.joined.state().isCurrent).toBe(true);
    await node.joined.stop();
    node.membership.close();
  }, 120_000);

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
