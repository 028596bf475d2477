import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { type Docker, startEngine } from '../e2e/docker.js';
import { renderChart } from '../helpers/chart.js';
import { describeWith } from '../helpers/requires.js';
import { buildImage, QUIET_NETWORK } from './image.js';
import { type Cluster, startCluster } from './kubernetes/cluster.js';
import { leaveAsFlannel } from './kubernetes/flannel.js';
import {
  askFrom,
  askFromNode,
  asText,
  HOST_PORT,
  MOVABLE,
  type Pod,
  podsOf,
  WEB,
  WEB_PORT,
  waitForPods,
} from './kubernetes/pods.js';
import { removeTree } from './machine.js';

const NAME = 'test-kubernetes';
const IMAGE = 'rudder:0.1.0';
const MANIFEST = new URL('../../kubernetes/rudder.yml', import.meta.url);
const BOOT_DEADLINE_MS = 40 * 60_000;
const ROLLOUT = '--timeout=180s';

describeWith(['root', 'tun', 'etcd', 'docker', 'machines', 'cni', 'vxlan', 'go'], 'a Kubernetes of three nodes', () => {
  let cluster: Cluster;
  let trees: string[] = [];

  beforeAll(async () => {
    cluster = await startCluster(NAME, 3);
    let builder: Docker | undefined;
    try {
      const directory = `${labDirectory(NAME)}/builder`;
      builder = await startEngine(directory, undefined, () => QUIET_NETWORK);
      trees = await buildImage(builder, IMAGE);
      await builder.docker('save', '-o', `${directory}.tar`, IMAGE);
      for (const node of cluster.nodes) await node.docker('load', '-i', `${directory}.tar`);
    } finally {
      await builder?.stop();
    }
  }, BOOT_DEADLINE_MS);
  afterAll(async () => {
    await cluster?.down();
    for (const tree of trees) removeTree(tree);
  }, 300_000);

  const kubectl = (...args: string[]) => cluster.kubectl(...args);
  const nodesReady = async () => {
    const path = '{.items[*].status.conditions[?(@.type=="Ready")].status}';
    return (await kubectl('get', 'nodes', '-o', `jsonpath=${path}`)).split(' ').filter((word) => word === 'True')
      .length;
  };
  const rolledOut = (name: string) => kubectl('-n', 'rudder', 'rollout', 'status', `daemonset/${name}`, ROLLOUT);

  /** The three rules of Kubernetes networking, services and ports of hosts. */
  async function expectNetwork(): Promise<void> {
    const pods = await waitForPods(cluster, 'web', 3);
    for (const from of pods) {
      for (const to of pods) {
        const place = `${from.node} to ${to.node}`;
        const isSelf = from === to;
        await reaches(place, () => askFrom(cluster, from, to.address, WEB_PORT), from.address);
        if (isSelf) continue;
        const node = cluster.nodes.find(({ name }) => name === to.node)!;
        await reaches(`host of ${place}`, () => askFrom(cluster, from, node.address, HOST_PORT));
        await reaches(`node ${place}`, () =>
          askFromNode(cluster.nodes.find(({ name }) => name === from.node)!, to.address, WEB_PORT),
        );
      }
    }
    await expectService(pods);
  }

  /** Each pod reaches all that are behind the service, itself too. */
  async function expectService(pods: readonly Pod[]): Promise<void> {
    const service = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    for (const node of cluster.nodes) await reaches(`service of ${node.name}`, () => askFromNode(node, service, 80));
    for (const pod of pods) {
      const seen = new Set<string>();
      await waitFor(
        `${pod.node} to be answered by all pods of the service`,
        async () => {
          seen.add(await askFrom(cluster, pod, service, 80));
          // By another pod it is seen as itself; by itself, as the bridge, since kube-proxy masquerades that.
          return seen.has(pod.address) && seen.size > 1;
        },
        30_000,
      );
    }
  }

  async function reaches(what: string, ask: () => Promise<string>, source?: string): Promise<void> {
    const answer = await waitFor(what, ask, 20_000);
    if (source !== undefined) expect(answer, what).toBe(source);
  }

  it('takes the manifest, and what the chart makes of other values', async () => {
    const text = readFileSync(MANIFEST, 'utf8');
    await cluster.apply(text.split('---\n')[0]); // what is in a namespace can only be tried where there is one
    for (const backend of ['vxlan', 'host-gw', 'udp']) {
      const answer = await cluster.apply(renderChart('rudder', { 'rudder.backend': backend }), '--dry-run=server');
      expect(
        answer
          .trim()
          .split('\n')
          .every((line) => line.endsWith('created (server dry run)')),
      ).toBe(true);
    }
  });

  it('has no node that is ready before, and all of them after "kubectl apply"', async () => {
    expect(await nodesReady()).toBe(0);
    await cluster.apply(readFileSync(MANIFEST, 'utf8'));
    await rolledOut('rudder');
    await waitFor('all nodes to be ready', async () => (await nodesReady()) === 3, 60_000);
    const path = '{.items[*].status.conditions[?(@.type=="NetworkUnavailable")].status}';
    const conditions = async () => kubectl('get', 'nodes', '-o', `jsonpath=${path}`);
    await waitFor('the condition', async () => (await conditions()) === 'False False False', 30_000);
  }, 240_000);

  it('runs the container with two capabilities', async () => {
    const [id] = (
      await cluster.nodes[0].docker('ps', '-q', '--filter', 'label=io.kubernetes.container.name=rudder')
    ).split('\n');
    const pid = await cluster.nodes[0].docker('inspect', '-f', '{{.State.Pid}}', id);
    const status = await cluster.nodes[0].read(`/proc/${pid.trim()}/status`);
    const [netAdmin, netRaw] = [12n, 13n];
    const expected = ((1n << netAdmin) | (1n << netRaw)).toString(16).padStart(16, '0');
    for (const set of ['CapEff', 'CapPrm', 'CapBnd'])
      expect(status).toMatch(new RegExp(`^${set}:\\s${expected}$`, 'm'));
    expect(status).toMatch(/^NoNewPrivs:\s1$/m);
  });

  it('connects pods, nodes, services and ports of hosts over vxlan', async () => {
    await cluster.apply(asText(WEB));
    await expectNetwork();
  }, 300_000);

  it('loses no packet while Rudder is replaced on all nodes', async () => {
    const [from, to] = await podsOf(cluster, 'web');
    const pings = kubectl('exec', from.name, '--', 'ping', '-i', '0.1', '-w', '40', '-q', to.address);
    await kubectl('-n', 'rudder', 'rollout', 'restart', 'daemonset/rudder');
    await rolledOut('rudder');
    const [sent, received] = /(\d+) packets transmitted, (\d+) packets received/
      .exec(await pings)!
      .slice(1)
      .map(Number);
    expect(sent).toBeGreaterThan(100);
    expect(received).toBe(sent);
  }, 240_000);

  it('lets a node be drained, and back', async () => {
    await cluster.apply(asText([MOVABLE]));
    await waitForPods(cluster, 'movable', 3);
    await kubectl('drain', 'n3', '--ignore-daemonsets', '--force', '--timeout=120s');
    const moved = await waitForPods(cluster, 'movable', 3);
    expect(moved.map(({ node }) => node)).not.toContain('n3');
    await kubectl('uncordon', 'n3');
    await kubectl('rollout', 'restart', 'deployment/movable');
    await kubectl('rollout', 'status', 'deployment/movable', ROLLOUT);
    const back = await waitFor(
      'a pod on the node that is back',
      async () => (await podsOf(cluster, 'movable')).find(({ node }) => node === 'n3'),
      60_000,
    );
    const [other] = (await podsOf(cluster, 'web')).filter(({ node }) => node !== 'n3');
    await reaches('the pod there', () => askFrom(cluster, other, back.address, WEB_PORT), other.address);
  }, 300_000);

  it('takes a node over from flannel under traffic, with its device and the addresses of its pods', async () => {
    const [n1, , n3] = cluster.nodes;
    const chosen = () => cluster.apply(renderChart('rudder', { 'rudder.nodeSelector': { rudder: 'yes' } }));
    await kubectl('label', 'node', 'n1', 'n2', 'rudder=yes');
    await chosen();
    const podsThere = () => kubectl('-n', 'rudder', 'get', 'pods', '-o', 'name', '--field-selector=spec.nodeName=n3');
    await waitFor('Rudder to leave n3', async () => (await podsThere()) === '', 60_000);
    const mac = await leaveAsFlannel(cluster, n3);
    const pods = await podsOf(cluster, 'web');
    const [from, to] = ['n1', 'n3'].map((name) => pods.find(({ node }) => node === name)!);
    await reaches('the node of flannel', () => askFrom(cluster, from, to.address, WEB_PORT), from.address);
    await reaches('from there', () => askFrom(cluster, to, from.address, WEB_PORT), to.address);

    const pings = kubectl('exec', from.name, '--', 'ping', '-i', '0.1', '-w', '30', '-q', to.address);
    await kubectl('label', 'node', 'n3', 'rudder=yes');
    const pod = await waitFor('a pod on n3', podsThere, 30_000);
    await rolledOut('rudder');
    expect(await pings).toMatch(/ 0% packet loss/);
    const [device] = JSON.parse(await n3.run('ip', '-json', 'link', 'show', 'type', 'vxlan'));
    expect(device).toMatchObject({ ifname: 'flannel.1', address: mac });
    expect(await n1.run('ip', 'neigh', 'show', 'dev', 'rudder.1')).toContain(mac);

    const doctor = () => kubectl('-n', 'rudder', 'exec', pod, '--', 'sh', '-c', 'rudder doctor || true');
    expect(await doctor()).toContain('10-flannel.conflist (flannel) is before 10-rudder.conflist');
    await n3.run('rm', '/etc/cni/net.d/10-flannel.conflist');
    expect(await doctor()).not.toContain('10-flannel.conflist');
    // host-local knows the addresses of pods that run by the network's name, which is the same.
    // Where its pods come to, the scheduler says.
    const fresh = await waitFor(
      'a pod that is made there anew',
      async () => {
        await kubectl('rollout', 'restart', 'deployment/movable');
        await kubectl('rollout', 'status', 'deployment/movable', ROLLOUT);
        const there = (await podsOf(cluster, 'movable')).filter(({ node }) => node === 'n3');
        return there.length > 0 && there;
      },
      150_000,
    );
    for (const { address } of fresh) expect(address).not.toBe(to.address);
    await reaches('the pod of before', () => askFrom(cluster, from, to.address, WEB_PORT), from.address);
  }, 400_000);

  it.each(['host-gw', 'udp', 'vxlan'])('changes to %s, and does the same', async (backend) => {
    await cluster.apply(renderChart('rudder', { 'rudder.backend': backend }));
    await kubectl('-n', 'rudder', 'rollout', 'restart', 'daemonset/rudder');
    await rolledOut('rudder');
    await expectNetwork();
  }, 400_000);
});
