import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, startNode, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { ping, reaches } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NETWORK = '10.240.0.0/16';
const name = 'test-direct';

describeWith(
  ['root', 'tun', 'etcd', 'iptables', 'nft'],
  'udp with DirectRouting: two nodes that can, and one behind a NAT',
  () => {
    let lab: LabState;
    let one: LabNode;
    let two: LabNode;
    let mapped: LabNode;
    const container = (node: LabNode) => containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET);
    const own = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET.replace(/\.1\/24$/, '.0');
    const direct = async (node: LabNode) => (await statusOf(lab, node)).backend.direct;
    const isDirect = (node: LabNode, count: number, deadline: number) =>
      waitFor(`${count} direct at ${node.number}`, async () => (await direct(node)) === count, deadline);
    const route = (node: LabNode, to: LabNode) =>
      execIn(lab, `n${node.number}`, ['ip', 'route', 'show', `${own(to)}/24`]);
    const inNode = (node: LabNode, ...command: string[]) => execIn(lab, `n${node.number}`, command);
    const tunnelled = async (node: LabNode) => (await statusOf(lab, node)).packetPath!.counters.out_packets;
    /** Everything of the overlay that comes as it is, and not in the tunnel's datagrams. */
    const CUT = ['PREROUTING', '-i', 'eth0', '-s', NETWORK, '-j', 'DROP'];

    beforeAll(async () => {
      const config = JSON.stringify({ Network: NETWORK, Backend: { Type: 'udp', DirectRouting: true } });
      lab = await createLab({ name, nodes: 3, config });
      [one, two, mapped] = lab.nodes;
      await launchNode(lab, one);
      await launchNode(lab, two);
      await launchNode(lab, mapped, ['--port-mapped']);
      for (const node of lab.nodes) await waitUntilReady(lab, node);
      for (const node of lab.nodes) await addContainer(lab, node);
      // As Docker has them: what is not let pass is dropped, and what leaves the bridge is translated.
      for (const node of lab.nodes) {
        await inNode(node, 'iptables', '-P', 'FORWARD', 'DROP');
        const translate = ['-s', `${own(node)}/24`, '!', '-o', 'docker0', '-j', 'MASQUERADE'];
        await inNode(node, 'iptables', '-t', 'nat', '-A', 'POSTROUTING', ...translate);
      }
    });
    afterAll(() => labDown(name));

    it('reach each other by a plain route when an echo has come back, and the third through the tunnel', async () => {
      await isDirect(one, 1, 10_000);
      await isDirect(two, 1, 10_000);
      expect(await direct(mapped)).toBe(null);
      expect((await route(one, two)).trim()).toMatch(
        new RegExp(`^${own(two)}/24 via ${nodeAddress(lab, two)} dev eth0 proto 80 src ${own(one)} mtu 1472 *$`),
      );
      expect(await route(one, mapped)).toBe('');
      expect(await route(mapped, one)).toBe('');
      for (const [from, to] of [
        [one, two],
        [two, one],
        [one, mapped],
        [mapped, one],
      ] as const) {
        await waitFor('a way', () => reaches(lab, `c${from.number}`, container(to)), 5000);
      }
    });

    it('carry packets of containers over the link as they are, untranslated, and none in the tunnel', async () => {
      const count = [
        'iptables',
        '-t',
        'mangle',
        '-I',
        'PREROUTING',
        '-i',
        'eth0',
        '-s',
        container(one),
        '-d',
        container(two),
      ];
      await execIn(lab, 'n2', count);
      const before = await tunnelled(one);
      await ping(lab, 'c1', container(two), '-c', '20', '-i', '0.05', '-s', '1400');
      expect((await tunnelled(one)) - before).toBeLessThan(5);
      const listed = await execIn(lab, 'n2', ['iptables', '-t', 'mangle', '-nvxL', 'PREROUTING', '1']);
      expect(Number(listed.trim().split(/\s+/)[0])).toBe(20);
      await execIn(
        lab,
        'n2',
        count.map((word) => (word === '-I' ? '-D' : word)),
      );
      // The third has them all in the tunnel.
      const beforeThird = await tunnelled(one);
      await ping(lab, 'c1', container(mapped), '-c', '20', '-i', '0.05');
      expect((await tunnelled(one)) - beforeThird).toBeGreaterThanOrEqual(20);
      // A host's own packets have the same source on both ways.
      expect(await execIn(lab, 'n1', ['ip', 'route', 'get', container(two)])).toContain(`src ${own(one)}`);
      expect(await execIn(lab, 'n1', ['ip', 'route', 'get', container(mapped)])).toContain(`src ${own(one)}`);
    });

    it('fall back to the tunnel when the direct way is cut, and return', { timeout: 90_000 }, async () => {
      await execIn(lab, 'n2', ['iptables', '-t', 'mangle', '-I', ...CUT]);
      const cut = performance.now();
      await isDirect(one, 0, 10_000);
      await waitFor('the tunnel', () => reaches(lab, 'c1', container(two)), 10_000 - (performance.now() - cut));
      expect(await route(one, two)).toBe('');
      await execIn(lab, 'n2', ['iptables', '-t', 'mangle', '-D', ...CUT]);
      await isDirect(one, 1, 15_000);
      await isDirect(two, 1, 15_000);
      expect(await reaches(lab, 'c1', container(two))).toBe(true);
    });

    it('stay in the tunnel where both hosts drop what comes by another way than theirs, and doctor says so', {
      timeout: 120_000,
    }, async () => {
      for (const node of [one, two]) {
        await inNode(node, 'sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1');
        await inNode(node, 'iptables', '-t', 'mangle', '-I', ...CUT);
      }
      await isDirect(one, 0, 10_000);
      await isDirect(two, 0, 10_000);
      const request = ['PREROUTING', '-s', own(one), '-p', 'icmp', '--icmp-type', 'echo-request'];
      for (const node of [one, two]) await inNode(node, 'iptables', '-t', 'mangle', '-D', ...CUT);
      await inNode(two, 'iptables', '-t', 'mangle', '-I', ...request);
      const asked = async () =>
        Number((await inNode(two, 'iptables', '-t', 'mangle', '-nvxL', 'PREROUTING', '1')).trim().split(/\s+/)[0]);
      await waitFor('two echoes to be dropped', async () => (await asked()) >= 2, 30_000);
      expect(await direct(one)).toBe(0);
      expect(await reaches(lab, 'c1', container(two))).toBe(true);
      expect((await cli(lab, one, 'doctor')).stdout).toMatch(/rp_filter: is strict on eth0: two hosts/);
      await inNode(two, 'sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=2');
      await isDirect(one, 1, 15_000);
      await isDirect(two, 1, 15_000);
      await inNode(one, 'sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=2');
      await inNode(two, 'iptables', '-t', 'mangle', '-D', ...request);
    });

    it('cut no flow when one is killed and started again, or stopped', { timeout: 90_000 }, async () => {
      const stream = await startStream(lab, 'c1', container(two));
      await stream.flows(5000);
      signalProcess(two.process!, 'SIGKILL');
      await waitFor('the daemon to end', () => !isRunning(two.process!), 5000);
      expect(await route(two, one)).toContain('proto 80');
      await stream.flows(5000);
      await startNode(lab, two);
      expect(await route(two, one)).toContain('proto 80');
      await stream.flows(5000);
      await stopNode(lab, two);
      await startNode(lab, two);
      await stream.flows(5000);
      const { sent, received } = await stream.stop();
      expect(received).toBe(sent);
      await isDirect(two, 1, 10_000);
    });

    it('put back a rule and routes that somebody has removed', async () => {
      await execIn(lab, 'n1', ['ip', 'rule', 'del', 'priority', '100']);
      await execIn(lab, 'n1', ['ip', 'route', 'flush', 'table', '8285']);
      await execIn(lab, 'n1', ['ip', 'route', 'del', `${own(two)}/24`]);
      const isBack = async () =>
        (await execIn(lab, 'n1', ['ip', 'rule'])).includes('fwmark 0x205d lookup 8285 proto 80') &&
        (await execIn(lab, 'n1', ['ip', 'route', 'show', 'table', '8285'])).includes(own(two)) &&
        (await route(one, two)) !== '';
      await waitFor('all to be back', isBack, 5000);
      expect(await direct(one)).toBe(1);
    });

    it('follow a node that says so no more', async () => {
      await stopNode(lab, two);
      await startNode(lab, two, ['--port-mapped']);
      await isDirect(one, 0, 5000);
      expect(await route(two, one)).toBe('');
      await waitFor('the tunnel', () => reaches(lab, 'c1', container(two)), 5000);
      await stopNode(lab, two);
      await startNode(lab, two);
      await isDirect(one, 1, 10_000);
    });

    it('leave nothing when they are cleaned up', async () => {
      await stopNode(lab, one);
      expect(await execIn(lab, 'n1', ['ip', 'rule'])).toContain('8285');
      const { stdout } = await cli(lab, one, 'cleanup');
      // Some of them go with the address of rudder0, which they give to packets.
      expect(stdout).toMatch(/removed \d routes? and 1 rule/);
      expect(await execIn(lab, 'n1', ['ip', 'rule'])).not.toContain('8285');
      expect(await execIn(lab, 'n1', ['ip', 'route', 'show', 'table', 'all', 'proto', '80'])).toBe('');
    });
  },
);
