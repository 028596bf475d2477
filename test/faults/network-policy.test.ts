import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode, stopNode } from '../../src/lab/nodes.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-policy';
/** Answers each connection with where it comes from. */
const SERVER = `for (const port of [80, 81]) require('node:net').createServer((c) => c.end(c.remoteAddress)).listen(port, '0.0.0.0')`;
const CLIENT = `const c = require('node:net').connect(process.argv[2], process.argv[1]); c.setTimeout(2000, () => c.destroy());
c.on('data', (text) => process.stdout.write(String(text))).on('error', () => undefined)`;

const JUMP = ['-m', 'comment', '--comment', 'kube-router:netpol', '-j', 'KUBE-ROUTER-FORWARD'];
/** As kube-router makes them for a pod that a policy selects: port 80 from one address, and whatever it asks itself. */
const rulesOf = (pod: string, from: string) =>
  [
    '*filter',
    ...['ROUTER-FORWARD', 'POD-FW-A', 'NWPLCY-A', 'NWPLCY-DEFAULT'].map((chain) => `:KUBE-${chain} - [0:0]`),
    `-I FORWARD 1 ${JUMP.join(' ')}`,
    '-A FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT',
    `-A KUBE-ROUTER-FORWARD -d ${pod}/32 -j KUBE-POD-FW-A`,
    `-A KUBE-ROUTER-FORWARD -s ${pod}/32 -j KUBE-POD-FW-A`,
    '-A KUBE-POD-FW-A -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A KUBE-POD-FW-A -m conntrack --ctstate INVALID -j DROP',
    `-A KUBE-POD-FW-A -d ${pod}/32 -m addrtype --src-type LOCAL -j ACCEPT`,
    `-A KUBE-POD-FW-A -s ${pod}/32 -j KUBE-NWPLCY-DEFAULT`,
    `-A KUBE-POD-FW-A -d ${pod}/32 -j KUBE-NWPLCY-A`,
    '-A KUBE-POD-FW-A -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable',
    '-A KUBE-POD-FW-A -j MARK --set-xmark 0x0/0x10000',
    '-A KUBE-POD-FW-A -j MARK --set-xmark 0x20000/0x20000',
    `-A KUBE-NWPLCY-A -s ${from}/32 -p tcp --dport 80 -j MARK --set-xmark 0x10000/0x10000`,
    '-A KUBE-NWPLCY-DEFAULT -j MARK --set-xmark 0x10000/0x10000',
    'COMMIT',
    '',
  ].join('\n');

describeWith(['root', 'tun', 'etcd', 'iptables', 'vxlan'], 'a network policy by the chains of kube-router', () => {
  let lab: LabState;
  let servers: LabProcess[] = [];
  describe.each(['vxlan', 'udp'])('over %s', (type) => {
    let first: string;
    let second: string;
    beforeEach(async () => {
      const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
      lab = await labUp({ name: NAME, nodes: 2, config });
      [first, second] = labStatus(lab).map(({ containerAddress }) => containerAddress);
      for (const member of ['c1', 'c2']) {
        const log = `${labDirectory(NAME)}/${member}.log`;
        servers.push(await spawnInNamespace(namespaceOf(lab, member), [process.execPath, '-e', SERVER], log));
      }
    });
    afterEach(async () => {
      for (const server of servers) await endProcess(server, 1000);
      servers = [];
      await labDown(NAME);
    });

    const ask = (member: string, address: string, port: number) =>
      execIn(lab, member, [process.execPath, '-e', CLIENT, address, String(port)]);
    const firewall = async () => (await statusOf(lab, lab.nodes[1])).firewall;
    const onNode = (...command: string[]) => execIn(lab, 'n2', command);
    /** Others' rules change, and that is noticed. */
    async function change(how: () => Promise<unknown>): Promise<void> {
      const { checks } = await firewall();
      await how();
      await waitFor('the change to be noticed', async () => (await firewall()).checks > checks, 10_000);
    }
    async function expectPolicy(when: string): Promise<void> {
      expect(await waitFor(`port 80 ${when}`, () => ask('c1', second, 80), 15_000), when).toBe(first);
      expect(await ask('c1', second, 81), when).toBe('');
      // What the pod asks itself.
      expect(await ask('c2', first, 81), when).toBe(second);
    }

    it('refuses what it refuses and lets pass the rest, before us, behind us and over a restart', async () => {
      const node = lab.nodes[1];
      for (const port of [80, 81]) await waitFor(`port ${port}`, () => ask('c1', second, port), 15_000);
      await change(async () => {
        await onNode('iptables', '-P', 'FORWARD', 'DROP');
        await execIn(lab, 'n2', ['iptables-restore', '--noflush'], rulesOf(second, first));
      });
      await expectPolicy('with its chain before ours');
      await change(async () => {
        await onNode('iptables', '-D', 'FORWARD', ...JUMP);
        await onNode('iptables', '-A', 'FORWARD', ...JUMP);
      });
      await expectPolicy('with its chain behind ours');
      await stopNode(lab, node);
      await startNode(lab, node);
      await expectPolicy('after a restart');
      const { repairs } = await firewall();
      await waitFor('some more looks', async () => (await statusOf(lab, node)).uptimeSeconds > 8, 15_000);
      expect((await firewall()).repairs).toBe(repairs);
      expect((await statusOf(lab, node)).problems).toEqual([]);
    });
  });
});
