import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, startNode, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { ping, reaches } from '../e2e/traffic.js';
import { SHARED_CONFIG, SHARED_NETWORK } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-vxlan-change';

/** What docs/backends.md and docs/migrating-from-flannel.md say of it, followed; every direction: backend-change.test.ts. */
describeWith(['root', 'tun', 'vxlan', 'etcd', 'iptables', 'nft'], 'a cluster that becomes one of vxlan', () => {
  let lab: LabState;
  let first: LabNode;
  let second: LabNode;
  const container = (node: LabNode) => containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET);
  const inside = (script: string, member: 'n1' | 'n2' = 'n1') => execIn(lab, member, ['sh', '-c', script]);
  const links = (member: 'n1' | 'n2') => inside('ip -o link show | cut -d: -f2', member);
  const ourRoutes = () => inside('ip -4 route show proto 80');
  const configure = (backend: object) =>
    etcdctl(lab, 'put', '/coreos.com/network/config', JSON.stringify({ ...SHARED_NETWORK, Backend: backend }));

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: SHARED_CONFIG, daemon: { leaseTtl: '1h' } });
    [first, second] = lab.nodes;
    for (const node of lab.nodes) await launchNode(lab, node);
    for (const node of lab.nodes) await waitUntilReady(lab, node);
    for (const node of lab.nodes) await addContainer(lab, node);
    await flows();
  });
  afterAll(() => labDown(NAME));

  async function flows(): Promise<void> {
    await waitFor('traffic between containers', () => reaches(lab, 'c1', container(second)), 15_000);
    await ping(lab, 'c2', container(first));
  }

  async function restart(node: LabNode): Promise<void> {
    await stopNode(lab, node);
    await startNode(lab, node);
  }

  /** Waits until that node names the other's lease with that reason. */
  async function ignores(node: LabNode, other: LabNode, reason: string): Promise<void> {
    const told = async () => (await statusOf(lab, node)).ignoredLeases.first;
    await waitFor(`a lease ignored: ${reason}`, async () => (await told())[0]?.problem.includes(reason), 10_000);
    expect(await told()).toMatchObject([{ nextHop: nodeAddress(lab, other) }]);
    expect((await statusOf(lab, node)).problems).toEqual([]);
  }

  it('from udp to vxlan: node by node, each names the other until it is one of them, and nothing is cut by the config', async () => {
    await configure({ Type: 'vxlan' });
    const isTold = async () => (await statusOf(lab, second)).config.detail?.includes('Backend.Type udp becomes vxlan');
    await waitFor('the change to be told', isTold, 10_000);
    await flows();

    await restart(first);
    await ignores(first, second, 'backend "udp" is not vxlan');
    await ignores(second, first, 'backend "vxlan" is not udp');
    const { stdout } = await cli(lab, first, 'leases');
    expect(stdout).toContain('unreachable: backend "udp" is not vxlan');
    const rows = JSON.parse((await cli(lab, first, 'leases', '--json')).stdout);
    expect(rows).toContainEqual(
      expect.objectContaining({ publicIp: nodeAddress(lab, second), backend: 'udp', problem: expect.any(String) }),
    );
    expect(await reaches(lab, 'c1', container(second))).toBe(false);

    await restart(second);
    await flows();
    for (const node of lab.nodes) {
      const { problems, warnings } = await statusOf(lab, node);
      expect({ problems, warnings }).toEqual({ problems: [], warnings: [] });
    }
  });

  it('takes over the device that flannel has left, and cleanup gives the host back to flannel', async () => {
    await stopNode(lab, first);
    await cli(lab, first, 'cleanup', '--keep-lease');
    const MAC = '0e:00:00:00:00:01';
    const [local, other] = lab.nodes.map((node) => nodeAddress(lab, node));
    await inside(
      `ip link add flannel.1 address ${MAC} mtu 1450 type vxlan id 1 local ${local} dev eth0 dstport 8472 nolearning &&
       ip link set flannel.1 up && ip route add 10.240.250.0/24 via ${other} dev eth0`,
    );
    // Its index and MAC.
    const device = () =>
      inside("ip -o link show flannel.1 | sed -E 's/^([0-9]+):.*link.ether ([0-9a-f:]+) .*/\\1 \\2/'");
    const left = await device();
    expect(left).toMatch(new RegExp(`^\\d+ ${MAC}$`));
    await configure({ Type: 'vxlan' });
    await restart(first);
    await restart(second);
    await flows();
    expect(await device()).toBe(left);
    expect(await links('n1')).not.toContain('rudder.1');

    const lease = container(first).replace(/\.2$/, '.0-24');
    await stopNode(lab, first);
    const { code, stdout } = await cli(lab, first, 'cleanup', '--keep-lease');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^removed flannel\.1 and 1 route$/m);
    expect(await links('n1')).not.toMatch(/flannel|rudder/);
    // A route that flannel has made with DirectRouting bears no mark of ours.
    expect(await inside('ip -4 route show root 10.240.0.0/16')).toMatch(/10\.240\.250\.0\/24 via/);
    expect(await ourRoutes()).toBe('');
    expect(await etcdctl(lab, 'get', '--prefix', '--keys-only', '/coreos.com/network/subnets/')).toContain(lease);
  });
});
