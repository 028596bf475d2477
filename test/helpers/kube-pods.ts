import { expect } from 'vitest';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, logText, startNode } from '../../src/lab/nodes.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import type { KubeLab } from './kube-lab.js';

/** Two nodes with that backend: subnets are the podCIDRs, the first one too, and containers reach each other. */
export async function expectPodsToReach(kube: KubeLab, type: string): Promise<void> {
  const { lab } = kube;
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
}
