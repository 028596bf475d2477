import { afterEach, beforeEach, expect, it } from 'vitest';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, logText, startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { createKubeLab, type KubeLab } from '../helpers/kube-lab.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';

/** The daemon with Kubernetes as its store. What takes longer is in test/faults. */
describeWith(['root', 'tun', 'etcd', 'vxlan'], 'a node with Kubernetes as the store', () => {
  let kube: KubeLab;
  let lab: LabState;
  beforeEach(async () => {
    kube = await createKubeLab('test-kube');
    ({ lab } = kube);
  });
  afterEach(() => kube.down());

  it.each([
    'vxlan',
  ])('%s: subnets are the podCIDRs, the first one too, and containers reach each other', async (type) => {
    kube.configure(type);
    const [first, second] = lab.nodes;
    kube.giveSubnet(first, '10.244.0.0/24');
    kube.giveSubnet(second, '10.244.1.0/24');
    for (const node of lab.nodes) {
      await startNode(lab, node);
      await addContainer(lab, node);
    }
    expect([kube.subnetOf(first), kube.subnetOf(second)]).toEqual(['10.244.0.1/24', '10.244.1.1/24']);
    expect(kube.annotation(first, 'public-ip')).toBe(nodeAddress(lab, first));
    expect(kube.annotation(first, 'backend-type')).toBe(type);
    await waitFor(
      'both to be peers',
      async () => (await statusOf(lab, first)).peers.length === 1 && (await statusOf(lab, second)).peers.length === 1,
      5000,
    );
    await waitFor('a ping', () => kube.ping(first, '10.244.1.2'), 5000);
    await kube.ping(second, '10.244.0.2');
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
    kube.giveSubnet(node);
    await launchNode(lab, node);
    await waitFor(
      'the reason',
      async () => {
        const { stderr, code } = await cli(lab, node, 'status');
        return code === 14 && /Node "n1" has no podCIDR yet: .*--allocate-node-cidrs=true/.test(stderr);
      },
      10_000,
    );
    kube.giveSubnet(node, '10.244.5.0/24');
    await kube.ready(node);
    expect(kube.subnetOf(node)).toBe('10.244.5.1/24');
    await waitFor('the condition', () => kube.conditionOf(node)?.status === 'False', 10_000);
  });
});
