import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { type FakeKubernetes, startFakeKubernetes } from '../../src/bench/fake-kubernetes.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, etcdNamespace, nodeAddress, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import {
  addContainer,
  launchNode,
  logLines,
  logText,
  nodePaths,
  readSubnetEnv,
  startNode,
  stopNode,
} from '../../src/lab/nodes.js';
import { endProcess, isRunning, type LabProcess, signalProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { PREFIX } from '../helpers/kubernetes.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';

/** The daemon with --kube-subnet-mgr on nodes of the lab, and the fake API server where the lab has its etcd. */
const NAME = 'test-kube';
const NETWORK = '10.244.0.0/16';
/** Leads what comes to an address of the lab to the fake, which listens on a socket of the file system. */
const FORWARDER = `require('node:net').createServer((c) => { const u = require('node:net').connect(process.argv[1]);
c.pipe(u).pipe(c); c.on('error', () => u.destroy()); u.on('error', () => c.destroy()); c.on('close', () => u.destroy()); u.on('close', () => c.destroy()); }).listen(6443)`;

describeWith(['root', 'tun', 'etcd', 'vxlan'], 'a node with Kubernetes as the store', () => {
  let pki: Pki;
  let lab: LabState;
  let fake: FakeKubernetes;
  let forwarder: LabProcess;
  let netConf: string;

  beforeAll(() => {
    pki = createPki();
    pki.authority('ca');
  });
  afterAll(() => pki.remove());
  beforeEach(async () => {
    const directory = labDirectory(NAME);
    netConf = `${directory}/net-conf.json`;
    const settings = [
      '--kube-subnet-mgr=true',
      `--kubeconfig-file=${directory}/kubeconfig`,
      `--net-config-path=${netConf}`,
      '--ip-masq=true',
    ];
    lab = await createLab({ name: NAME, nodes: 2, daemon: { arguments: settings } });
    pki.certificate('server', 'ca', `IP:${etcdAddress(lab)}`);
    const tls = { key: readFileSync(pki.path('server.key')), cert: readFileSync(pki.path('server.crt')) };
    fake = await startFakeKubernetes({ tls, at: `${directory}/api.sock` });
    fake.setTokens(['secret']);
    writeFileSync(`${directory}/token`, 'secret');
    writeFileSync(`${directory}/kubeconfig`, kubeconfig(`https://${etcdAddress(lab)}:6443`, pki.path('ca.crt')));
    const command = [process.execPath, '-e', FORWARDER, `${directory}/api.sock`];
    forwarder = await spawnInNamespace(etcdNamespace(lab), command, `${directory}/forwarder.log`);
    configure('vxlan');
  });
  afterEach(async () => {
    await endProcess(forwarder, 1000);
    await fake.stop();
    await labDown(NAME);
  });

  const configure = (type: string) =>
    writeFileSync(netConf, JSON.stringify({ Network: NETWORK, Backend: { Type: type } }));
  const giveSubnet = (node: LabNode, podCIDR?: string) =>
    fake.putNode({
      metadata: { name: nodeName(node) },
      spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
    });
  const conditionOf = (node: LabNode) => {
    const conditions = fake.nodes.get(nodeName(node))?.status?.conditions ?? [];
    return conditions.find(({ type }) => type === 'NetworkUnavailable');
  };
  const annotation = (node: LabNode, name: string) =>
    fake.nodes.get(nodeName(node))?.metadata.annotations?.[PREFIX + name];
  const ping = (from: LabNode, to: string) => execIn(lab, `c${from.number}`, ['ping', '-c1', '-W2', to]);
  const subnetOf = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET;

  it.each([
    'vxlan',
    'udp',
    'host-gw',
  ])('%s: subnets are the podCIDRs, the first one too, and containers reach each other', async (type) => {
    configure(type);
    const [first, second] = lab.nodes;
    giveSubnet(first, '10.244.0.0/24');
    giveSubnet(second, '10.244.1.0/24');
    for (const node of lab.nodes) {
      await startNode(lab, node);
      await addContainer(lab, node);
    }
    expect([subnetOf(first), subnetOf(second)]).toEqual(['10.244.0.1/24', '10.244.1.1/24']);
    expect(annotation(first, 'public-ip')).toBe(nodeAddress(lab, first));
    expect(annotation(first, 'backend-type')).toBe(type);
    await waitFor(
      'both to be peers',
      async () => (await statusOf(lab, first)).peers.length === 1 && (await statusOf(lab, second)).peers.length === 1,
      5000,
    );
    await waitFor('a ping', () => ping(first, '10.244.1.2'), 5000);
    await ping(second, '10.244.0.2');
    if (type !== 'host-gw') {
      // Its device has the lowest address of the Network: a host of an old kernel would take that for a broadcast.
      const device = type === 'udp' ? 'rudder0' : 'rudder.1';
      const [{ addr_info: addresses }] = JSON.parse(
        await execIn(lab, 'n1', ['ip', '-j', '-4', 'address', 'show', 'dev', device]),
      );
      expect(addresses.map((one: { local: string; prefixlen: number }) => `${one.local}/${one.prefixlen}`)).toEqual([
        '10.244.0.0/32',
      ]);
      expect(await execIn(lab, 'n1', ['ip', 'route', 'show', 'table', 'local'])).not.toContain('broadcast 10.244.0.0 ');
    }
    const status = await statusOf(lab, second);
    expect(status.peers[0]).toMatchObject({ host: 'n1', subnet: '10.244.0.0/24', nextHop: nodeAddress(lab, first) });
    expect(status.registry).toMatchObject({ kind: 'kubernetes', current: true });
    expect(status.problems).toEqual([]);
    expect(logText(lab, first)).not.toContain('secret');
    const peers = await cli(lab, second, 'peers');
    expect(peers.stdout).toMatch(/n1 .*10\.244\.0\.0\/24/);
  });

  it('a podCIDR that is late is waited for, and status says so with the remedy', async () => {
    const [node] = lab.nodes;
    giveSubnet(node);
    await launchNode(lab, node);
    await waitFor(
      'the reason',
      async () => {
        const { stderr, code } = await cli(lab, node, 'status');
        return code === 14 && /Node "n1" has no podCIDR yet: .*--allocate-node-cidrs=true/.test(stderr);
      },
      10_000,
    );
    giveSubnet(node, '10.244.5.0/24');
    await waitFor('READY', () => logLines(lab, node).some(({ msg }) => msg === 'ready'), 10_000);
    expect(subnetOf(node)).toBe('10.244.5.1/24');
    await waitFor('the condition', () => conditionOf(node)?.status === 'False', 10_000);
  });

  it('starts with the API away from what it last knew, and says so; SIGTERM leaves everything', async () => {
    const [first, second] = lab.nodes;
    giveSubnet(first, '10.244.0.0/24');
    giveSubnet(second, '10.244.1.0/24');
    for (const node of lab.nodes) await startNode(lab, node);
    for (const node of lab.nodes) await addContainer(lab, node);
    await waitFor('a ping', () => ping(first, '10.244.1.2'), 5000);
    await waitFor('the condition', () => conditionOf(first)?.status === 'False', 10_000);
    await waitFor(
      'what is known to be saved',
      () => readFileSync(`${nodePaths(lab, first).stateDir}/last-known.json`, 'utf8').includes('10.244.1.0'),
      10_000,
    );
    await stopNode(lab, first);
    expect(conditionOf(first)).toMatchObject({ status: 'False', reason: 'RudderIsUp' });
    expect(annotation(first, 'public-ip')).toBe(nodeAddress(lab, first));
    await ping(second, '10.244.0.2');
    await fake.stop();
    await startNode(lab, first);
    const { problems, registry } = await statusOf(lab, first);
    expect(problems.join()).toMatch(
      /^degraded: lease and peers are as last known, since the start kubernetes has told nothing: the Kubernetes API at https:\S+ cannot be reached/,
    );
    expect(registry.current).toBe(false);
    await ping(first, '10.244.1.2');
    await fake.start();
    await waitFor('the node to be well again', async () => (await statusOf(lab, first)).problems.length === 0, 20_000);
  });

  it('a Node made anew with another podCIDR ends the run, and the next one takes it with nothing left of the old', async () => {
    const [node] = lab.nodes;
    giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    fake.removeNode('n1');
    giveSubnet(node, '10.244.9.0/24');
    await waitFor('the end', () => !isRunning(node.process!), 10_000);
    expect(logText(lab, node)).toMatch(/rudder: Node "n1" was made anew with podCIDR 10\.244\.9\.0\/24/);
    // Until the node is ready no container shall have an address of the old one.
    await launchNode(lab, node);
    await waitFor(
      'the old file to be gone, or the new one there',
      () => !existsSync(nodePaths(lab, node).subnetFile) || subnetOf(node) === '10.244.9.1/24',
      10_000,
    );
    await waitFor('READY', () => logLines(lab, node).some(({ msg }) => msg === 'ready'), 10_000);
    expect(subnetOf(node)).toBe('10.244.9.1/24');
    expect(await execIn(lab, 'n1', ['ip', '-4', 'address', 'show', 'dev', 'rudder.1'])).not.toContain('10.244.0.0/32');
    expect(logText(lab, node)).toContain('names another subnet: removed');
  });

  it('the config file is followed: status says what a restart would apply', async () => {
    const [node] = lab.nodes;
    giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    configure('host-gw');
    await waitFor('the change to be told', async () => (await statusOf(lab, node)).config.state === 'changed', 10_000);
    expect((await statusOf(lab, node)).config.detail).toContain('Backend.Type vxlan becomes host-gw');
    const set = await cli(lab, node, 'config', 'set', 'Network', '10.0.0.0/8');
    expect(set).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/rudder config set makes no sense with --kube-subnet-mgr: .*ConfigMap/),
    });
    const doctor = await cli(lab, node, 'doctor');
    expect(doctor.stdout).toMatch(/ok +kubernetes: https:\S+ answers in \d+ ms, and all rights are there/);
    expect(doctor.stdout).toMatch(/ok +podCIDR: Node n1 has 10\.244\.0\.0\/24/);
  });

  it('a right that is missing is named', async () => {
    const [node] = lab.nodes;
    giveSubnet(node, '10.244.0.0/24');
    fake.forbid('patch nodes/status');
    await launchNode(lab, node);
    await waitFor('the end', () => !isRunning(node.process!), 10_000);
    expect(logText(lab, node)).toMatch(
      /rudder: the Kubernetes API at \S+ forbids us to patch nodes\/status \(403\): .*add the verb "patch" for "nodes\/status" to the ClusterRole/,
    );
  });

  it('kill -9 of a node loses nothing, and a frozen API neither', async () => {
    const [node] = lab.nodes;
    giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    signalProcess(node.process!, 'SIGKILL');
    await waitFor('the end', () => !isRunning(node.process!), 5000);
    fake.freeze(true);
    await startNode(lab, node);
    expect((await statusOf(lab, node)).problems.join()).toMatch(/has told nothing: kubernetes has not answered within/);
    fake.freeze(false);
    await waitFor('the node to be well again', async () => (await statusOf(lab, node)).problems.length === 0, 20_000);
  });
});

const kubeconfig = (server: string, ca: string) => `
apiVersion: v1
kind: Config
current-context: lab
clusters: [{ name: lab, cluster: { server: "${server}", certificate-authority: "${ca}" } }]
users: [{ name: node, user: { tokenFile: token } }]
contexts: [{ name: lab, context: { cluster: lab, user: node } }]
`;
