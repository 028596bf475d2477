import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { logLines, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import type { Status } from '../../src/ops/status.js';
import { cli } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-another-config';

/** A cluster in which one node was restarted with a config that the other one does not run with yet. */
describeWith(['root', 'tun', 'etcd'], 'a node with another network config', () => {
  let lab: LabState;
  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2 });
  });
  afterAll(() => labDown(NAME));

  const statusOf = async (node: LabNode) => JSON.parse((await cli(lab, node, 'status', '--json')).stdout) as Status;

  async function restartWith(config: string): Promise<void> {
    await etcdctl(lab, 'put', '/coreos.com/network/config', config);
    await stopNode(lab, lab.nodes[1]);
    await startNode(lab, lab.nodes[1]);
  }

  /** Waits until that node warns so, and expects it to be ready. */
  async function warns(node: LabNode, text: RegExp): Promise<void> {
    let status = await statusOf(node);
    const isThere = async () => {
      status = await statusOf(node);
      return status.warnings.some((warning) => text.test(warning));
    };
    await waitFor(`a warning like ${text}`, isThere, 10_000);
    expect(status.problems).toEqual([]);
    expect((await cli(lab, node, 'status')).stdout).toMatch(/^warning +/m);
  }

  it('of a longer SubnetLen is named on both sides, and its way to the other is kept', async () => {
    await restartWith('{"Network":"10.240.0.0/16","SubnetLen":26}');
    const [old, next] = lab.nodes;
    const subnet = readSubnetEnv(lab, next).RUDDER_SUBNET;
    expect(subnet).toMatch(/\/26$/);
    await warns(old, /1 lease is ignored: .*-26 of .*: .* is smaller than SubnetLen 24 allows/);
    await warns(old, /the network config in etcd is changed: SubnetLen 24 becomes 26/);
    await warns(next, /1 peer has a larger subnet than this node's \/26/);
    // Each of the four entries of the other's /24 leads to it.
    expect((await statusOf(next)).peers).toMatchObject([{ problem: null, subnet: expect.stringMatching(/\/24$/) }]);
    expect(logLines(lab, old).filter(({ msg }) => msg === 'skipping a key that is no lease')).toHaveLength(1);
  });

  it('of a shorter SubnetLen too, the other way round', async () => {
    await restartWith('{"Network":"10.240.0.0/16","SubnetLen":22}');
    const [old, next] = lab.nodes;
    await warns(old, /1 peer has a larger subnet than this node's \/24/);
    await warns(next, /1 lease is ignored: .* is smaller than SubnetLen 22 allows/);
    // Of its subnet, an address outside the first /24: the old node's table has four entries for it.
    const [first] = readSubnetEnv(lab, next).RUDDER_SUBNET.split('/');
    const [a, b, c] = first.split('.').map(Number);
    const before = (await statusOf(old)).peers[0].outPackets!;
    await execIn(lab, 'n1', ['ping', '-c1', '-W1', `${a}.${b}.${c + 2}.9`]).catch(() => undefined);
    await waitFor('the packet to be sent', async () => (await statusOf(old)).peers[0].outPackets! > before, 5000);
  });

  it('of another Network or another port is named on both sides', async () => {
    const [old, next] = lab.nodes;
    await restartWith('{"Network":"10.99.0.0/16"}');
    await warns(old, /1 lease is ignored: 10\.99\..* is outside Network 10\.240\.0\.0\/16/);
    await warns(next, /1 lease is ignored: 10\.240\..* is outside Network 10\.99\.0\.0\/16/);
    await restartWith('{"Network":"10.240.0.0/16","Backend":{"Port":9000}}');
    await warns(old, /1 lease is ignored: .*: Backend\.Port 9000 is not 8285/);
    await warns(next, /1 lease is ignored: .*: Backend\.Port 8285 is not 9000/);
  });
});
