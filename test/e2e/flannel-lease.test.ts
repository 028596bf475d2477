import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress, nodeName } from '../../src/lab/names.js';
import { createContainer, execIn } from '../../src/lab/network.js';
import { readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { ping, reaches } from './traffic.js';

const NAME = 'test-flannel-lease';
const KEY = '/coreos.com/network/subnets/10.240.150.0-24';

/** Keys and values are flannel's to the byte; there is no flanneld here. */
describeWith(['root', 'tun', 'etcd', 'iptables'], "a node with flannel's lease", () => {
  let lab: LabState;
  const textOf = (key: string) => etcdctl(lab, 'get', '--print-value-only', key).then((text) => text.trim());
  const ttlOf = async (key: string) => {
    const id = /"lease":(\d+)/.exec(await etcdctl(lab, 'get', key, '-w', 'json'))![1]; // beyond a JSON number's precision
    return Number(
      /granted with TTL\((\d+)s\)/.exec(await etcdctl(lab, 'lease', 'timetolive', BigInt(id).toString(16)))![1],
    );
  };

  async function flannelLeases(): Promise<string> {
    const value = `{"PublicIP":"${nodeAddress(lab, lab.nodes[1])}","PublicIPv6":null}`;
    const id = (await etcdctl(lab, 'lease', 'grant', '86400')).split(' ')[1];
    await etcdctl(lab, 'put', `--lease=${id}`, KEY, value);
    return value;
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
    await flannelLeases();
    await createContainer(lab, lab.nodes[1], '10.240.150.1/24', 1472); // runs already, on flannel's subnet
    await startNode(lab, lab.nodes[0]);
  });
  afterAll(() => labDown(NAME));

  it('keeps the subnet, the container its address, and signs the key', async () => {
    await startNode(lab, lab.nodes[1]);
    expect(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET).toBe('10.240.150.1/24');
    expect(await textOf(KEY)).toMatch(/^\{"PublicIP":"172\.30\.\d+\.12",.*"BackendType":"udp".*"NodeID"/);
    expect(await ttlOf(KEY), 'the TTL is ours').toBe(10);
    await waitFor('the container to be reached', () => reaches(lab, 'n1', '10.240.150.2'), 5000);
    await ping(lab, 'c2', readSubnetEnv(lab, lab.nodes[0]).RUDDER_SUBNET.replace('.1/24', '.0'));
  });

  it('is left to flannel again, and taken back again', async () => {
    await stopNode(lab, lab.nodes[1]);
    await execIn(lab, nodeName(lab.nodes[1]), ['ip', 'link', 'delete', 'rudder0']); // as "rudder cleanup" does
    const value = await flannelLeases(); // it overwrites the key of its PublicIP without asking
    expect(await textOf(KEY)).toBe(value);
    await startNode(lab, lab.nodes[1]);
    expect(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET).toBe('10.240.150.1/24');
    const keys = await etcdctl(lab, 'get', '--prefix', '--keys-only', '/coreos.com/network/subnets/');
    expect(keys.split('\n').filter(Boolean), 'one for each node').toHaveLength(2);
    await waitFor('the container to be reached', () => reaches(lab, 'n1', '10.240.150.2'), 5000);
  });
});
