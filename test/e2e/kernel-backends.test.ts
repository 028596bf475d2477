import { mkdirSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import {
  addContainer,
  launchNode,
  logText,
  nodePaths,
  readSubnetEnv,
  startNode,
  stopNode,
  waitUntilReady,
} from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { SHARED_NETWORK } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';
import { statusOf } from './cli.js';
import { ping, reaches, transfer } from './traffic.js';

const SUBNETS = '/coreos.com/network/subnets';
const HAND_MAC = '0e:00:00:00:00:99';

/** The last node is never started: it is a host that is set up by hand, as flannel would. */
const CASES = [
  { type: 'vxlan', options: {}, overhead: 50 },
  { type: 'vxlan', options: { DirectRouting: true }, overhead: 50 },
  { type: 'host-gw', options: {}, overhead: 0 },
];

describe.each(CASES)('$type $options', ({ type, options, overhead }) => {
  const name = `test-kernel-${type}${Object.keys(options).length}`;

  describeWith(['root', 'vxlan', 'etcd', 'iptables', 'nft'], 'three nodes and one made by hand', () => {
    let lab: LabState;
    let nodes: LabNode[];
    let byHand: LabNode;
    const subnet = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET;
    const own = (node: LabNode) => subnet(node).replace(/\.1\/24$/, '.0');
    const container = (node: LabNode) => containerAddress(subnet(node));
    const isTunnelled = type === 'vxlan';
    /** What a host's own packets for the overlay come from. */
    const hostSource = (node: LabNode) =>
      isTunnelled && !('DirectRouting' in options) ? own(node) : nodeAddress(lab, node);

    beforeAll(async () => {
      const config = JSON.stringify({ ...SHARED_NETWORK, Backend: { Type: type, ...options } });
      lab = await createLab({ name, nodes: 4, config });
      byHand = lab.nodes[3];
      nodes = lab.nodes.slice(0, 3);
      for (const node of nodes) await launchNode(lab, node);
      for (const node of nodes) await waitUntilReady(lab, node);
      for (const node of nodes) await addContainer(lab, node);
    });
    afterAll(() => labDown(name));

    it('join hosts and containers, all pairs, and nobody is translated', async () => {
      for (const from of nodes) {
        for (const to of nodes.filter((node) => node !== from)) {
          for (const [member, source] of [
            [`n${from.number}`, hostSource(from)],
            [`c${from.number}`, container(from)],
          ]) {
            const { received } = await transfer(lab, 'tcp', member, `c${to.number}`, container(to), 20_000);
            expect(received, `${member} to ${to.number}`).toMatchObject({ bytes: 20_000, from: source });
          }
          expect(await reaches(lab, `c${from.number}`, subnet(to).replace('/24', ''))).toBe(true);
        }
      }
    });

    it('carry packets of the full MTU between all of them, and tell Docker that', async () => {
      const mtu = 1500 - overhead;
      expect(readSubnetEnv(lab, nodes[0])).toMatchObject({ RUDDER_MTU: String(mtu) });
      for (const from of nodes) {
        for (const to of nodes.filter((node) => node !== from)) {
          for (const member of [`n${from.number}`, `c${from.number}`] as const)
            await ping(lab, member, container(to), '-M', 'do', '-s', String(mtu - 28));
        }
      }
      const tooLarge = ping(lab, 'c1', container(nodes[1]), '-M', 'do', '-s', String(mtu - 27));
      await expect(tooLarge).rejects.toThrow(/message too long|Frag needed/i);
    });

    it('are ready, and say what the kernel was told', async () => {
      await waitFor('all peers', async () => (await statusOf(lab, nodes[0])).peers.length === 2, 10_000);
      const status = await statusOf(lab, nodes[0]);
      expect(status.problems).toEqual([]);
      const each = isTunnelled && !('DirectRouting' in options) ? 3 : 1;
      const direct = 'DirectRouting' in options ? 2 : null;
      expect(status.backend).toMatchObject({
        type,
        kernel: { wanted: 1 + 2 * each, present: 1 + 2 * each },
        direct,
        cipher: null,
      });
      expect(status.peers.map(({ problem }) => problem)).toEqual([null, null]);
    });

    it('cut no flow when one is killed and started again', async () => {
      const stream = await startStream(lab, 'c1', container(nodes[1]));
      await stream.flows(5000);
      signalProcess(nodes[1].process!, 'SIGKILL');
      await waitFor('the daemon to end', () => !isRunning(nodes[1].process!), 5000);
      await startNode(lab, nodes[1]);
      await stream.flows(5000);
      await stopNode(lab, nodes[1]);
      await startNode(lab, nodes[1]);
      await stream.flows(5000);
      const { sent, received } = await stream.stop();
      expect(received).toBe(sent);
    });

    it('show a lease of another backend with the reason, and route nothing there', async () => {
      const value = `{"PublicIP":"${nodeAddress(lab, byHand)}","BackendType":"udp","BackendData":{"NodeID":"x"}}`;
      await etcdctl(lab, 'put', `${SUBNETS}/10.240.200.0-24`, value);
      await waitFor(
        'the lease to be shown',
        async () => (await statusOf(lab, nodes[0])).ignoredLeases.first[0]?.problem.includes('backend "udp" is not'),
        5000,
      );
      expect(await execIn(lab, 'n1', ['ip', 'route', 'show', '10.240.200.0/24'])).toBe('');
      await etcdctl(lab, 'del', `${SUBNETS}/10.240.200.0-24`);
    });

    it('leave no route of a start that was given up', async () => {
      const { directory, subnetFile } = nodePaths(lab, byHand);
      // A directory, which it finds out when it writes the file, after its routes.
      mkdirSync(subnetFile, { recursive: true });
      await launchNode(lab, byHand);
      await waitFor('the daemon to end', () => !isRunning(byHand.process!), 20_000);
      expect(logText(lab, byHand)).toContain(subnetFile);
      expect(logText(lab, byHand)).toContain('peer added');
      expect(await execIn(lab, 'n4', ['ip', 'route', 'show', 'table', 'all', 'proto', '80'])).toBe('');
      expect(await execIn(lab, 'n4', ['ip', '-o', 'link'])).not.toContain('rudder.1');
      rmSync(directory, { recursive: true });
    });

    it('reach a host that is set up by hand, and are reached by it', async () => {
      await setUpByHand();
      const data = isTunnelled ? `{"VNI":1,"VtepMAC":"${HAND_MAC}"}` : 'null';
      const value = `{"PublicIP":"${nodeAddress(lab, byHand)}","PublicIPv6":null,"BackendType":"${type}","BackendData":${data}}`;
      await etcdctl(lab, 'put', `${SUBNETS}/10.240.99.0-24`, value);
      await waitFor('a way there', () => reaches(lab, 'c1', '10.240.99.1'), 5000);
      expect(
        await execIn(lab, 'n4', ['ping', '-n', '-c', '1', '-W', '2', '-I', '10.240.99.1', container(nodes[0])]),
      ).toContain(' 0% packet loss');
      await etcdctl(lab, 'del', `${SUBNETS}/10.240.99.0-24`);
      await waitFor(
        'the way to be gone',
        async () => (await execIn(lab, 'n1', ['ip', 'route', 'show', '10.240.99.0/24'])) === '',
        5000,
      );
    });

    /** From the contract alone: what is written for a peer is what its lease says. */
    async function setUpByHand(): Promise<void> {
      const lease = (await etcdctl(lab, 'get', '--print-value-only', `${SUBNETS}/${own(nodes[0])}-24`)).trim();
      const { PublicIP, BackendType, BackendData } = JSON.parse(lease);
      expect(BackendType).toBe(type);
      const local = nodeAddress(lab, byHand);
      const lines = ['link add br0 type bridge', 'address add 10.240.99.1/24 dev br0', 'link set br0 up'];
      if (isTunnelled) {
        expect(BackendData.VNI).toBe(1);
        lines.push(
          `link add flannel.1 address ${HAND_MAC} mtu 1450 type vxlan id 1 local ${local} dev eth0 dstport 8472 nolearning`,
          'address add 10.240.99.0/32 dev flannel.1',
          'link set flannel.1 up',
          `neighbour replace ${own(nodes[0])} lladdr ${BackendData.VtepMAC} dev flannel.1 nud permanent`,
          `route replace ${own(nodes[0])}/24 via ${own(nodes[0])} dev flannel.1 onlink`,
        );
      } else lines.push(`route replace ${own(nodes[0])}/24 via ${PublicIP} dev eth0`);
      await execIn(lab, 'n4', ['ip', '-batch', '-'], `${lines.join('\n')}\n`);
      if (isTunnelled) {
        const entry = [
          'bridge',
          'fdb',
          'replace',
          BackendData.VtepMAC,
          'dst',
          PublicIP,
          'dev',
          'flannel.1',
          'self',
          'permanent',
        ];
        await execIn(lab, 'n4', entry);
      }
    }
  });
});
