import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { SHARED_NETWORK } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { transfer } from './traffic.js';

const NAME = 'test-alloc';

/** Somebody else moves the packets, as a cloud's routers do: here routes that the test makes. */
describeWith(['root', 'etcd', 'iptables', 'nft'], 'nodes of the backend alloc', () => {
  let lab: LabState;
  const subnet = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET;
  const others = ([one, other]: readonly LabNode[]) => [[one, other] as const, [other, one] as const];

  beforeAll(async () => {
    const config = JSON.stringify({ ...SHARED_NETWORK, Backend: { Type: 'alloc' } });
    lab = await createLab({ name: NAME, nodes: 2, config });
    for (const node of lab.nodes) await launchNode(lab, node);
    for (const node of lab.nodes) await waitUntilReady(lab, node);
    for (const node of lab.nodes) await addContainer(lab, node);
  });
  afterAll(() => labDown(NAME));

  it('lease subnets as flannel does, with the MTU of the underlay', async () => {
    for (const node of lab.nodes) {
      expect(readSubnetEnv(lab, node)).toMatchObject({ RUDDER_MTU: '1500', RUDDER_IPMASQ: 'false' });
      const key = `/coreos.com/network/subnets/${subnet(node).replace('.1/24', '.0-24')}`;
      const lease = JSON.parse(await etcdctl(lab, 'get', '--print-value-only', key));
      expect(lease).toMatchObject({ PublicIP: nodeAddress(lab, node), BackendType: 'alloc' });
    }
  });

  it('make no device and no route to peers, and say that they are well', async () => {
    for (const [node, peer] of others(lab.nodes)) {
      const member = `n${node.number}`;
      expect(await execIn(lab, member, ['ip', '-br', 'link'])).not.toMatch(/rudder|flannel/);
      expect(await execIn(lab, member, ['ip', 'route', 'show', subnet(peer).replace('.1/', '.0/')])).toBe('');
      const status = await statusOf(lab, node);
      expect(status.backend.type).toBe('alloc');
      expect(status.problems).toEqual([]);
    }
  });

  it('let pass what others route for them, from container to container, untranslated', async () => {
    for (const [node, peer] of others(lab.nodes)) {
      const to = [subnet(peer).replace('.1/', '.0/'), 'via', nodeAddress(lab, peer)];
      await execIn(lab, `n${node.number}`, ['ip', 'route', 'add', ...to]);
    }
    const [one, two] = lab.nodes;
    await execIn(lab, 'n2', ['iptables', '-P', 'FORWARD', 'DROP']); // as Docker does
    const target = containerAddress(subnet(two));
    const { received } = await transfer(lab, 'tcp', 'c1', 'c2', target, 20_000);
    expect(received).toMatchObject({ bytes: 20_000, from: containerAddress(subnet(one)) });
  });

  it('leave nothing behind once they are cleaned up', async () => {
    const [one] = lab.nodes;
    await stopNode(lab, one);
    expect((await cli(lab, one, 'cleanup')).stdout).toContain('removed the firewall rules');
    expect(await execIn(lab, 'n1', ['nft', 'list', 'ruleset'])).not.toMatch(/rudder/i);
    // The routes are not ours.
    expect(await execIn(lab, 'n1', ['ip', 'route'])).toContain(`via ${nodeAddress(lab, lab.nodes[1])}`);
  });
});
