import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { reaches } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-backend-change';
const DEVICES = { udp: ['rudder0'], vxlan: ['rudder.1'], 'host-gw': [] };

describeWith(['root', 'tun', 'vxlan', 'etcd', 'iptables', 'nft'], 'a cluster that takes another backend', () => {
  let lab: LabState;
  let before: keyof typeof DEVICES = 'udp';

  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '60s' } });
  });
  afterAll(() => labDown(NAME));

  const overlayDevices = async () =>
    (await execIn(lab, 'n1', ['ip', '-br', 'link'])).match(/^(rudder|flannel)[.\d]+/gm) ?? [];
  const ourRoutes = async () =>
    (await execIn(lab, 'n1', ['ip', 'route', 'show', 'proto', '80'])).split('\n').filter(Boolean);

  it.each([
    'vxlan',
    'host-gw',
    'udp',
    'host-gw',
    'vxlan',
    'udp',
  ] as const)('has nothing of the one before when it is %s', async (type) => {
    const [first, second] = lab.nodes;
    const subnets = lab.nodes.map((node) => readSubnetEnv(lab, node).RUDDER_SUBNET);
    const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
    await etcdctl(lab, 'put', '/coreos.com/network/config', config);
    await stopNode(lab, first);
    await startNode(lab, first);
    // The other one is still of the former type.
    const { ignoredLeases, peers } = await statusOf(lab, first);
    expect([ignoredLeases.first[0]?.problem, peers]).toEqual([
      `backend "${before}" is not ${type}: the node cannot be reached from here`,
      [],
    ]);
    await stopNode(lab, second);
    await startNode(lab, second);
    const bridges = lab.nodes.map((node) => containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET));
    await waitFor('a way there and back', () => reaches(lab, 'c1', bridges[1]), 10_000);
    expect(lab.nodes.map((node) => readSubnetEnv(lab, node).RUDDER_SUBNET)).toEqual(subnets);
    expect(await overlayDevices()).toEqual(DEVICES[type]);
    expect(await ourRoutes()).toHaveLength(type === 'udp' ? 0 : 2);
    before = type;
  });
});
