import { existsSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { FakeKubernetes } from '../../src/bench/fake-kubernetes.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, logText, nodePaths, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { createKubeLab, type KubeLab } from '../helpers/kube-lab.js';
import { expectPodsToReach } from '../helpers/kube-pods.js';
import { describeWith } from '../helpers/requires.js';

describeWith(['root', 'tun', 'etcd', 'vxlan'], 'what goes wrong with Kubernetes as the store', () => {
  let kube: KubeLab;
  let lab: LabState;
  let fake: FakeKubernetes;
  beforeEach(async () => {
    kube = await createKubeLab('test-faults-kube');
    ({ lab, fake } = kube);
  });
  afterEach(() => kube.down());

  it.each([
    'udp',
    'host-gw',
  ])('%s: subnets are the podCIDRs, the first one too, and containers reach each other', (type) =>
    expectPodsToReach(kube, type));

  it('starts with the API away from what it last knew, and says so; SIGTERM leaves everything', async () => {
    const [first, second] = lab.nodes;
    kube.giveSubnet(first, '10.244.0.0/24');
    kube.giveSubnet(second, '10.244.1.0/24');
    for (const node of lab.nodes) await startNode(lab, node);
    for (const node of lab.nodes) await addContainer(lab, node);
    await waitFor('a ping', () => kube.ping(first, '10.244.1.2'), 5000);
    await waitFor('the condition', () => kube.conditionOf(first)?.status === 'False', 10_000);
    await waitFor(
      'what is known to be saved',
      () => readFileSync(`${nodePaths(lab, first).stateDir}/last-known.json`, 'utf8').includes('10.244.1.0'),
      10_000,
    );
    await stopNode(lab, first);
    expect(kube.conditionOf(first)).toMatchObject({ status: 'False', reason: 'RudderIsUp' });
    expect(kube.annotation(first, 'public-ip')).toBe(nodeAddress(lab, first));
    await kube.ping(second, '10.244.0.2');
    await fake.stop();
    await startNode(lab, first);
    const { problems, registry } = await statusOf(lab, first);
    expect(problems.join()).toMatch(
      /^degraded: lease and peers are as last known, since the start kubernetes has told nothing: the Kubernetes API at https:\S+ cannot be reached/,
    );
    expect(registry.current).toBe(false);
    await kube.ping(first, '10.244.1.2');
    await fake.start();
    await waitFor('the node to be well again', async () => (await statusOf(lab, first)).problems.length === 0, 20_000);
  });

  it('a Node made anew with another podCIDR ends the run, and the next one takes it with nothing left of the old', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    fake.removeNode('n1');
    kube.giveSubnet(node, '10.244.9.0/24');
    await waitFor('the end', () => !isRunning(node.process!), 10_000);
    expect(logText(lab, node)).toMatch(/rudder: Node "n1" was made anew with podCIDR 10\.244\.9\.0\/24/);
    // Until the node is ready no container shall have an address of the old one.
    await launchNode(lab, node);
    await waitFor(
      'the old file to be gone, or the new one there',
      () => !existsSync(nodePaths(lab, node).subnetFile) || kube.subnetOf(node) === '10.244.9.1/24',
      10_000,
    );
    await kube.ready(node);
    expect(kube.subnetOf(node)).toBe('10.244.9.1/24');
    expect(await execIn(lab, 'n1', ['ip', '-4', 'address', 'show', 'dev', 'rudder.1'])).not.toContain('10.244.0.0/32');
    expect(logText(lab, node)).toContain('names another subnet: removed');
  });

  it('the config file is followed: status says what a restart would apply', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    kube.configure('host-gw');
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
    kube.giveSubnet(node, '10.244.0.0/24');
    fake.forbid('patch nodes/status');
    await launchNode(lab, node);
    await waitFor('the end', () => !isRunning(node.process!), 10_000);
    expect(logText(lab, node)).toMatch(
      /rudder: the Kubernetes API at \S+ forbids us to patch nodes\/status \(403\): .*add the verb "patch" for "nodes\/status" to the ClusterRole/,
    );
  });

  it('kill -9 of a node loses nothing, and a frozen API neither', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    await waitFor(
      'what is known to be saved',
      () => existsSync(`${nodePaths(lab, node).stateDir}/last-known.json`),
      10_000,
    );
    signalProcess(node.process!, 'SIGKILL');
    await waitFor('the end', () => !isRunning(node.process!), 5000);
    fake.freeze(true);
    await startNode(lab, node);
    expect((await statusOf(lab, node)).problems.join()).toMatch(/has told nothing: kubernetes has not answered within/);
    fake.freeze(false);
    await waitFor('the node to be well again', async () => (await statusOf(lab, node)).problems.length === 0, 20_000);
  });

  it('30 s without forwarding withdraw the Node, and it comes back with the packets', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node, '10.244.0.0/24');
    await startNode(lab, node);
    await waitFor('the condition', () => kube.conditionOf(node)?.status === 'False', 10_000);
    // As wide as the overlay: its routes are withdrawn while that is there.
    await execIn(lab, 'n1', ['ip', 'address', 'add', '10.244.200.1/16', 'dev', 'eth0']);
    const began = performance.now();
    await waitFor('the Node to be withdrawn', () => kube.conditionOf(node)?.status === 'True', 60_000);
    expect(performance.now() - began).toBeGreaterThan(25_000);
    expect(kube.conditionOf(node)).toMatchObject({
      reason: 'RudderDoesNotForward',
      message: expect.stringMatching(/^cut off: /),
    });
    await waitFor('the event', () => fake.events.some(({ reason }) => reason === 'RudderHostProblem'), 5000);
    await execIn(lab, 'n1', ['ip', 'address', 'del', '10.244.200.1/16', 'dev', 'eth0']);
    await waitFor('the Node to be back', () => kube.conditionOf(node)?.status === 'False', 90_000);
  });
});
