import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpuSeconds } from '../../src/bench/measure.js';
import { etcdctl, startEtcd, stopEtcd } from '../../src/lab/etcd.js';
import { addNode, labDown, labUp } from '../../src/lab/lab.js';
import { containerAddress, setConnected } from '../../src/lab/network.js';
import { addContainer, logLines, readSubnetEnv, startNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { type Stream, startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { SHARED_CONFIG } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-etcd';
const OUTAGE_MS = 60_000;
/** From etcd's return. */
const RECOVERY_MS = 5000;
/** Of a core, by the daemon while etcd is away. */
const MOST_CPU_SHARE = 0.05;
/** A line every few seconds is news; more is a flood. */
const MOST_LOG_LINES = 30;
const KEYS = '/coreos.com/network/subnets/';

const cpuOf = (node: LabNode) => cpuSeconds([node.process!.pid]);

describeWith(['root', 'tun', 'etcd'], 'etcd under running traffic', () => {
  let lab: LabState;
  let stream: Stream;
  const watched = (node: LabNode) => async () => /^etcd +watched/m.test((await cli(lab, node, 'status')).stdout);
  const logged = (node: LabNode, text: RegExp) => logLines(lab, node).filter((line) => text.test(String(line.msg)));

  async function up(leaseTtl: string): Promise<void> {
    lab = await labUp({ name: NAME, nodes: 2, config: SHARED_CONFIG, daemon: { leaseTtl } });
    stream = await startStream(lab, 'c1', containerAddress(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET));
  }
  afterEach(() => labDown(NAME));

  describe('away for a minute, shorter than the lease', () => {
    beforeEach(() => up('300s'));

    it.each<[string, () => unknown, () => unknown]>([
      ['stopped', () => stopEtcd(lab), () => startEtcd(lab)],
      ['frozen', () => signalProcess(lab.etcd!, 'SIGSTOP'), () => signalProcess(lab.etcd!, 'SIGCONT')],
      ['unreachable', () => setConnected(lab, 'etcd', false), () => setConnected(lab, 'etcd', true)],
    ])('%s: no packet lost, hardly any CPU, few words, back within 5 s', async (_, takeAway, giveBack) => {
      const before = lab.nodes.map(cpuOf);
      const lines = lab.nodes.map((node) => logLines(lab, node).length);
      await takeAway();
      // The fault itself lasts this long; nothing is waited for.
      await delay(OUTAGE_MS);
      lab.nodes.forEach((node, i) => {
        expect(((cpuOf(node) - before[i]) * 1000) / OUTAGE_MS).toBeLessThan(MOST_CPU_SHARE);
        expect(logLines(lab, node).length - lines[i]).toBeLessThan(MOST_LOG_LINES);
      });
      expect((await cli(lab, lab.nodes[0], 'status')).stdout).toMatch(/^etcd +degraded/m);

      await giveBack();
      // What happens from now on is seen: a key that appears becomes a route.
      await etcdctl(lab, 'put', `${KEYS}10.240.255.0-24`, '{"PublicIP":"10.9.9.9"}');
      await waitFor(
        'both nodes to see the new peer',
        () => lab.nodes.every((node) => logged(node, /^peer added/).some(({ subnet }) => subnet === '10.240.255.0/24')),
        RECOVERY_MS,
      );
      expect(await stream.stop()).toSatisfy(({ sent, received }) => sent - received <= 1);
      expect(lab.nodes.every((node) => isRunning(node.process!))).toBe(true);
    });
  });

  it('history compacted while disconnected: the complete list is compared by value', async () => {
    await up('300s');
    const [node] = lab.nodes;
    await etcdctl(lab, 'put', `${KEYS}10.240.200.0-24`, '{"PublicIP":"10.9.9.1"}');
    await etcdctl(lab, 'put', `${KEYS}10.240.201.0-24`, '{"PublicIP":"10.9.9.2"}');
    await waitFor('both to be known', () => logged(node, /^peer added/).length >= 3, RECOVERY_MS);
    await setConnected(lab, 'etcd', false);
    await waitFor('the loss to be noticed', () => logged(node, /^lease watch interrupted/).length > 0, 40_000);
    await setConnected(lab, 'etcd', true);
    signalProcess(node.process!, 'SIGSTOP');
    await etcdctl(lab, 'del', `${KEYS}10.240.200.0-24`);
    const put = await etcdctl(lab, 'put', `${KEYS}10.240.201.0-24`, '{"PublicIP":"10.9.9.3"}', '-w', 'json');
    await etcdctl(lab, 'compact', String(JSON.parse(put).header.revision));
    signalProcess(node.process!, 'SIGCONT');
    await waitFor(
      'the routes to be right',
      () =>
        logged(node, /^peer removed/).some(({ subnet }) => subnet === '10.240.200.0/24') &&
        logged(node, /^peer changed/).some(({ nextHop }) => nextHop === '10.9.9.3'),
      2 * RECOVERY_MS,
    );
    await stream.stop();
  });

  it('a node cut off for longer than its lease: peers drop it, and it takes its subnet back', async () => {
    await up('10s');
    const [peer, node] = lab.nodes;
    const before = readSubnetEnv(lab, node);
    await setConnected(lab, 'n2', false);
    await waitFor('the peer to drop it', () => logged(peer, /^peer removed/).length === 1, 30_000);
    await setConnected(lab, 'n2', true);
    await waitFor('it to be back', () => logged(peer, /^peer added/).length === 2, 30_000);
    await stream.flows(RECOVERY_MS);
    expect(readSubnetEnv(lab, node)).toEqual(before);
    expect(isRunning(node.process!)).toBe(true);
    await waitFor('its watch to be up', watched(node), RECOVERY_MS);
    await stream.stop();
  });

  it('a node cut off while another takes its subnet: it ends loudly, and never are there two owners', async () => {
    await up('10s');
    const [peer, node] = lab.nodes;
    const own = readSubnetEnv(lab, node).RUDDER_SUBNET.replace('.1/24', '.0');
    await setConnected(lab, 'n2', false);
    await waitFor('the peer to drop it', () => logged(peer, /^peer removed/).length === 1, 30_000);
    const third = await addNode(lab);
    await etcdctl(lab, 'put', `${KEYS}${own}-24`, '{"PublicIP":"10.9.9.9"}');
    await setConnected(lab, 'n2', true);
    await waitFor('it to end', () => !isRunning(node.process!), 30_000);
    await startNode(lab, node);
    expect(readSubnetEnv(lab, node).RUDDER_SUBNET).not.toContain(own);
    await startNode(lab, third);
    await addContainer(lab, third);
    await stream.stop();
  });
});
