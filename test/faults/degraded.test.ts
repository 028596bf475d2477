import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdctl, startEtcd, stopEtcd } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { containerAddress } from '../../src/lab/network.js';
import { launchNode, logLines, logText, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-degraded';
const KEYS = '/coreos.com/network/subnets/';

describeWith(['root', 'tun', 'etcd'], 'a start while etcd does not answer', () => {
  let lab: LabState;
  let node: LabNode;
  const file = () => `${nodePaths(lab, node).stateDir}/last-known.json`;
  const status = () => cli(lab, node, 'status');
  const said = (text: RegExp) => logLines(lab, node).some((line) => text.test(String(line.msg)));

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '60s' } });
    node = lab.nodes[1];
    await waitFor(
      'the peer to be remembered',
      () => JSON.parse(readFileSync(file(), 'utf8')).peers.length === 1,
      10_000,
    );
  });
  afterEach(() => labDown(NAME));

  it('forwards with the last known lease and peers, says so, and reconciles when etcd is back', async () => {
    const before = readSubnetEnv(lab, node);
    await stopEtcd(lab);
    signalProcess(node.process!, 'SIGKILL');
    await waitFor('the daemon to end', () => !isRunning(node.process!), 5000);
    rmSync(nodePaths(lab, node).subnetFile);
    await startNode(lab, node);
    expect(readSubnetEnv(lab, node)).toEqual(before);
    expect(said(/^degraded: etcd does not answer/)).toBe(true);
    expect((await status()).stdout).toMatch(/^etcd +degraded/m);
    const stream = await startStream(lab, 'c1', containerAddress(before.RUDDER_SUBNET));

    await startEtcd(lab);
    await waitFor('etcd to be watched', async () => /^etcd +watched/m.test((await status()).stdout), 10_000);
    expect(await stream.stop()).toSatisfy(({ sent, received }) => sent - received <= 1);
    expect(await etcdctl(lab, 'get', '--prefix', '--keys-only', KEYS)).toContain(
      `${KEYS}${before.RUDDER_SUBNET.replace('.1/24', '.0-24')}`,
    );
  });

  it("ends with exit code 10 when the subnet turns out to be another node's, and forgets it", async () => {
    const key = `${KEYS}${readSubnetEnv(lab, node).RUDDER_SUBNET.replace('.1/24', '.0-24')}`;
    await stopNode(lab, node);
    await etcdctl(lab, 'put', key, '{"PublicIP":"10.9.9.9"}');
    await stopEtcd(lab);
    expect(existsSync(file())).toBe(true);
    await startNode(lab, node);
    await startEtcd(lab);
    await waitFor('the daemon to end', () => !isRunning(node.process!), 20_000);
    expect(logText(lab, node)).toContain('now belongs to the node at 10.9.9.9');
    expect(existsSync(file())).toBe(false);
  });

  it.each([
    ['has run out by the clock', (text: string) => JSON.stringify({ ...JSON.parse(text), validUntil: Date.now() - 1 })],
    [
      'is of another etcd',
      (text: string) => JSON.stringify({ ...JSON.parse(text), source: 'http://10.1.1.1:2379/other' }),
    ],
    ['is of another node id', (text: string) => JSON.stringify({ ...JSON.parse(text), nodeId: 'another' })],
    ['is of another address', (text: string) => JSON.stringify({ ...JSON.parse(text), publicIp: '10.1.1.1' })],
    ['cannot be read', (text: string) => text.slice(0, -20)],
  ])('waits for etcd if what was last known %s', async (_, spoil) => {
    await stopNode(lab, node);
    writeFileSync(file(), spoil(readFileSync(file(), 'utf8')));
    await stopEtcd(lab);
    await launchNode(lab, node);
    await waitFor('it to say what it waits for', () => said(/^waiting for etcd/), 15_000);
    expect(said(/^ready/)).toBe(false);
    await startEtcd(lab);
    await waitFor('it to be ready', () => said(/^ready/), 15_000);
  });
});
