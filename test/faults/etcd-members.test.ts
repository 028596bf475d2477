import { mkdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, namespaceOf } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, logLines, readSubnetEnv, startNode } from '../../src/lab/nodes.js';
import { endProcess, isRunning, type LabProcess, signalProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { SHARED_CONFIG } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-members';
const KEYS = '/coreos.com/network/subnets/';
const RECOVERY_MS = 5000;
/** An election takes one to two seconds of these. */
const ELECTION_MS = 10_000;

describeWith(['root', 'tun', 'etcd'], 'one of three etcd members under running traffic', () => {
  let lab: LabState;
  let members: LabProcess[] = [];
  const client = (i: number) => `http://${etcdAddress(lab)}:${3379 + i}`;
  const peer = (i: number) => `http://${etcdAddress(lab)}:${3390 + i}`;
  const all = [0, 1, 2];

  async function startMember(i: number): Promise<LabProcess> {
    const directory = `${labDirectory(NAME)}/member${i}`;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const cluster = all.map((j) => `m${j}=${peer(j)}`).join(',');
    const urls = [`--listen-client-urls=${client(i)}`, `--advertise-client-urls=${client(i)}`];
    const peers = [`--listen-peer-urls=${peer(i)}`, `--initial-advertise-peer-urls=${peer(i)}`];
    const command = ['etcd', `--name=m${i}`, `--data-dir=${directory}`, ...urls, ...peers, '--log-level=error'];
    return spawnInNamespace(namespaceOf(lab, 'etcd'), [...command, `--initial-cluster=${cluster}`], `${directory}.log`);
  }
  const etcdctl = (endpoints: readonly number[], ...args: string[]) =>
    execIn(lab, 'etcd', ['etcdctl', `--endpoints=${endpoints.map(client).join(',')}`, '--command-timeout=5s', ...args]);

  /** Three members, and two nodes that know them all. */
  async function startCluster(): Promise<void> {
    lab = await createLab({ name: NAME, nodes: 2 });
    members = [];
    for (const i of all) members.push(await startMember(i));
    await waitFor(
      'the members to agree',
      () => etcdctl(all, 'put', '/coreos.com/network/config', SHARED_CONFIG),
      20_000,
    );
    const endpoints = [`--etcd-endpoints=${all.map(client).join(',')}`];
    for (const node of lab.nodes) {
      await startNode(lab, node, endpoints);
      await addContainer(lab, node);
    }
  }

  /** The one that the first node watches: of the fault's victims the worst. */
  async function memberInUse(): Promise<number> {
    const connections = await execIn(lab, 'n1', ['ss', '-Htn', 'state', 'established', 'dst', etcdAddress(lab)]);
    return all.find((i) => connections.includes(`:${3379 + i}`))!;
  }

  /** After an answer of etcdctl: `endpoint, id, version, size, is leader, ...`. */
  async function makeLeader(i: number): Promise<void> {
    const [, id, , , isLeader] = (await etcdctl([i], 'endpoint', 'status')).split(', ');
    if (isLeader === 'false') await etcdctl(all, 'move-leader', id);
  }

  afterEach(async () => {
    for (const member of members) await endProcess(member, 3000);
    members = [];
    await labDown(NAME);
  });

  it('a member that is left alone without a leader is no word on peers: the node says so, and forwards', async () => {
    await startCluster();
    const watch = async () => (await cli(lab, lab.nodes[0], 'status')).stdout;
    const stream = await startStream(lab, 'c1', containerAddress(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET));
    expect(await watch()).toMatch(/^etcd +watched/m);
    for (const i of [1, 2]) signalProcess(members[i], 'SIGKILL');
    await waitFor(
      'the node to say that it knows nothing new',
      async () => /^etcd +degraded/m.test(await watch()),
      30_000,
    );
    for (const i of [1, 2]) members[i] = await startMember(i);
    await waitFor('the node to watch again', async () => /^etcd +watched/m.test(await watch()), 30_000);
    expect(await stream.stop()).toSatisfy(({ sent, received }) => sent - received <= 1);
  });

  it.each<[string, NodeJS.Signals]>([
    ['killed', 'SIGKILL'],
    ['frozen', 'SIGSTOP'],
  ])('the leader, which a node watches, %s: no packet lost, and what changes is seen by all', async (_, signal) => {
    await startCluster();
    const stream = await startStream(lab, 'c1', containerAddress(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET));

    const lost = await memberInUse();
    await makeLeader(lost);
    signalProcess(members[lost], signal);
    const others = all.filter((i) => i !== lost);
    await waitFor(
      'the others to elect a leader',
      () => etcdctl(others, 'put', `${KEYS}10.240.255.0-24`, '{"PublicIP":"10.9.9.9"}'),
      ELECTION_MS,
    );
    await waitFor(
      'both nodes to see the new peer',
      () =>
        lab.nodes.every((node) =>
          logLines(lab, node).some(({ msg, subnet }) => msg === 'peer added' && subnet === '10.240.255.0/24'),
        ),
      RECOVERY_MS,
    );
    expect(await stream.stop()).toSatisfy(({ sent, received }) => sent - received <= 1);
    expect(lab.nodes.every((node) => isRunning(node.process!))).toBe(true);
  });
});
