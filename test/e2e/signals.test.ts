import { existsSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { act, createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { launchNode, logLines, logText, nodePaths, startNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-signals';
const ONE_SECOND = 1000;

describeWith(['root', 'tun', 'etcd'], 'a signal', () => {
  let lab: LabState;
  let node: LabNode;

  beforeEach(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}' });
    node = lab.nodes[0];
  });
  afterEach(() => labDown(NAME));

  const ended = (deadlineMs: number) => waitFor('the daemon to end', () => !isRunning(node.process!), deadlineMs);
  const leases = async () =>
    (await etcdctl(lab, 'get', '--prefix', '--keys-only', '/coreos.com/network/subnets/')).trim();
  const devices = () => execIn(lab, 'n1', ['ip', '-o', 'link']);

  it('ends the start within a second also while etcd accepts and does not answer', async () => {
    await act(lab, 'etcd', 'pause');
    await launchNode(lab, node);
    // It has the device of its own by the time it has asked etcd; the connection is what tells that it asked.
    await waitFor(
      'the daemon to ask etcd',
      async () => (await execIn(lab, 'n1', ['ss', '-tnH'])).includes(':2379'),
      10_000,
    );
    signalProcess(node.process!, 'SIGTERM');
    await ended(ONE_SECOND);
    await act(lab, 'etcd', 'resume');
    expect(await devices()).not.toContain('rudder0');
  });

  it('while another node with our address is watched takes nothing and leaves nothing', async () => {
    const value = `{"PublicIP":"${nodeAddress(lab, node)}","PublicIPv6":null,"BackendData":{"NodeID":"another"}}`;
    const granted = (await etcdctl(lab, 'lease', 'grant', '600')).split(' ')[1];
    await etcdctl(lab, 'put', `--lease=${granted}`, '/coreos.com/network/subnets/10.240.9.0-24', value);
    const before = await leases();
    await launchNode(lab, node);
    await waitFor(
      'the daemon to watch that lease',
      () => logLines(lab, node).some((line) => String(line.msg).includes('unknown node id, waiting')),
      10_000,
    );
    // Device and socket are open by now, the lease is not ours yet.
    expect(await devices()).toContain('rudder0');
    signalProcess(node.process!, 'SIGTERM');
    await ended(ONE_SECOND);
    expect(await devices()).not.toContain('rudder0');
    expect(await leases()).toBe(before);
    expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(false);
  });

  it('that comes a second time ends the process at once', async () => {
    await startNode(lab, node, ['--cleanup-on-exit']);
    // The clean stop wants to release the lease, and etcd does not answer.
    await act(lab, 'etcd', 'pause');
    signalProcess(node.process!, 'SIGTERM');
    await waitFor(
      'the clean stop to begin',
      () => logLines(lab, node).some((line) => line.msg === 'stopping') || !isRunning(node.process!),
      5000,
    );
    const second = performance.now();
    signalProcess(node.process!, 'SIGTERM');
    await ended(ONE_SECOND);
    expect(performance.now() - second).toBeLessThan(ONE_SECOND);
    expect(logText(lab, node)).toMatch(/^rudder: ended at once by a second SIGTERM: .*"rudder cleanup"$/m);
    await act(lab, 'etcd', 'resume');
  });
});
