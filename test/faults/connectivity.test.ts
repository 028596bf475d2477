import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { launchNode, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-connectivity';

/** docs/peers.md: from any node, which ways work. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], 'rudder connectivity test', () => {
  let lab: LabState;
  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 10, config: '{"Network":"10.240.0.0/16"}', daemon: { leaseTtl: '1h' } });
    for (const node of lab.nodes) await launchNode(lab, node);
    for (const node of lab.nodes) await waitUntilReady(lab, node);
  }, 180_000);
  afterAll(() => labDown(NAME));

  const from = async (node: LabNode) => (await cli(lab, node, 'connectivity', 'test')).stdout.trim();

  it('finds all ways of ten nodes', async () => {
    await waitFor('all ways', async () => (await from(lab.nodes[4])) === '90 ways: 90 ok', 20_000);
    const { code, stdout } = await cli(lab, lab.nodes[0], 'connectivity', 'test', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout).ways).toHaveLength(90);
  });

  it('names the one way that is blocked, from any node within ten seconds', async () => {
    const [, , third, , , , seventh] = lab.nodes;
    const rule = ['-o', 'eth0', '-d', nodeAddress(lab, seventh), '-p', 'udp', '--dport', '8285', '-j', 'DROP'];
    await execIn(lab, nodeName(third), ['iptables', '-I', 'OUTPUT', ...rule]);
    const expected = '90 ways: 89 ok, 1 failed: n3 -> n7 (leave n3, none arrive)';
    await waitFor('the way to be named', async () => (await from(lab.nodes[0])) === expected, 10_000);
    for (const node of [third, seventh, lab.nodes[9]]) expect(await from(node), nodeName(node)).toBe(expected);
    const { code } = await cli(lab, third, 'connectivity', 'test');
    expect(code).toBe(14);
    await execIn(lab, nodeName(third), ['iptables', '-D', 'OUTPUT', ...rule]);
    await waitFor('all ways', async () => (await from(seventh)) === '90 ways: 90 ok', 20_000);
  });

  it('says who could not be asked', async () => {
    await stopNode(lab, lab.nodes[9]);
    const isTold = async () => /^not asked: n10 \(/m.test(await from(lab.nodes[0]));
    await waitFor('n10 to be told of', isTold, 20_000);
    expect(await from(lab.nodes[0])).toMatch(/^n1 -> n10 \(.*not known which way\)$/m);
  });
});
