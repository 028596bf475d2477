import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress, nodeName, switchAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { readSubnetEnv } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { type Stream, startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

/** The promise for whatever somebody does to the device, its entries or the underlay. */
const RESTORED_MS = 5000;

/** What happens to a daemon's host; each row of it without a daemon, and more: test/kernel. */
describe.each([
  { type: 'vxlan', overhead: 50 },
  { type: 'host-gw', overhead: 0 },
])('$type', ({ type, overhead }) => {
  const name = `test-host-${type}`;
  const isTunnelled = type === 'vxlan';

  describeWith(['root', 'vxlan', 'etcd', 'iptables', 'nft', 'python3'], 'somebody changes the host', () => {
    let lab: LabState;
    let first: LabNode;
    let victim: LabNode;
    let stream: Stream;
    const inVictim = (script: string) => execIn(lab, nodeName(victim), ['sh', '-c', script]);
    const env = () => readSubnetEnv(lab, victim);
    const defaultRoute = () => `ip route replace default via ${switchAddress(lab)}`;
    const routeToFirst = () => readSubnetEnv(lab, first).RUDDER_SUBNET.replace('.1/24', '.0/24');
    const published = () => etcdctl(lab, 'get', '--prefix', '--print-value-only', '/coreos.com/network/subnets/');
    const hostProblem = async () => (await statusOf(lab, victim)).hostProblem;
    const device = async () => JSON.parse(await inVictim('ip -j -d link show type vxlan'));

    beforeAll(async () => {
      const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
      lab = await labUp({ name, nodes: 2, config, daemon: { leaseTtl: '1h' } });
      [first, victim] = lab.nodes;
    });
    afterAll(() => labDown(name));
    beforeEach(async () => {
      stream = await startStream(lab, 'c1', containerAddress(env().RUDDER_SUBNET));
    });
    afterEach(async () => {
      await stream.stop();
      expect(isRunning(victim.process!)).toBe(true);
      if (!isTunnelled) return;
      const [{ ifname, address }, ...others] = await device();
      expect(others).toEqual([]);
      // Never another MAC than the one that peers know.
      expect(await published()).toContain(`"VtepMAC":"${address}"`);
      expect(ifname).toBe('rudder.1');
    });

    /** @param script what is done, in the namespace of the node */
    async function heals(script: string): Promise<void> {
      await inVictim(script);
      await stream.flows(RESTORED_MS);
      await waitFor('no problem', async () => (await statusOf(lab, victim)).problems.length === 0, RESTORED_MS);
    }

    const ROWS: [what: string, script: () => string][] = isTunnelled
      ? [
          ['the device is deleted', () => 'ip link delete rudder.1'],
          ['the device is set down', () => 'ip link set rudder.1 down'],
          ['the device is set down and up', () => 'ip link set rudder.1 down; ip link set rudder.1 up'],
          [
            'its MAC is set to the same one',
            () =>
              `ip link set rudder.1 address $(ip -o link show rudder.1 | sed 's/.*link.ether \\([0-9a-f:]*\\).*/\\1/')`,
          ],
          ['its MAC is set to another one', () => 'ip link set rudder.1 address 0e:00:00:00:00:99'],
          ['its MTU is changed', () => 'ip link set rudder.1 mtu 1000'],
          ['it is given another name', () => 'ip link set rudder.1 down; ip link set rudder.1 name theirs.1'],
          [
            'its neighbours, FDB entries and routes are deleted',
            () => `ip neigh flush dev rudder.1 nud permanent; ip route delete ${routeToFirst()};
              bridge fdb show dev rudder.1 | while read mac rest; do bridge fdb del $mac dev rudder.1; done`,
          ],
        ]
      : [
          ['the route is deleted', () => `ip route delete ${routeToFirst()}`],
          ['the route leads elsewhere', () => `ip route replace ${routeToFirst()} via ${switchAddress(lab)}`],
        ];

    it.each([
      ...ROWS,
      ['the underlay is down and up', () => `ip link set eth0 down; ip link set eth0 up; ${defaultRoute()}`] as const,
    ])('heals within 5 s when %s', (_, script) => heals(script()));

    it('follows another address of the underlay, and so do the peers', async () => {
      const old = nodeAddress(lab, victim);
      const next = old.replace(/\d+$/, '99');
      for (const [from, to] of [
        [old, next],
        [next, old],
      ]) {
        const move = `ip address delete ${from}/24 dev eth0; ip address add ${to}/24 dev eth0; ${defaultRoute()}`;
        await inVictim(move);
        await waitFor('etcd to know', async () => (await published()).includes(`"${to}"`), RESTORED_MS);
        await stream.flows(RESTORED_MS);
        expect(await published()).not.toContain(`"${from}"`);
        if (isTunnelled) expect((await device())[0].linkinfo.info_data.local).toBe(to);
      }
    });

    it('follows the underlay to another interface', async () => {
      for (const [from, to] of [
        ['eth0', 'eth9'],
        ['eth9', 'eth0'],
      ]) {
        const rename = `ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up`;
        await inVictim(`${rename}; ip route replace default via ${switchAddress(lab)}`);
        await stream.flows(RESTORED_MS);
        await waitFor('its name', async () => (await statusOf(lab, victim)).node.interface === to, RESTORED_MS);
        await waitFor('no problem', async () => (await statusOf(lab, victim)).problems.length === 0, RESTORED_MS);
      }
    });

    it('follows another MTU of the underlay, in subnet.env too', async () => {
      for (const mtu of [1400, 1500]) {
        await inVictim(`ip link set eth0 mtu ${mtu}`);
        await waitFor('subnet.env to follow', () => env().RUDDER_MTU === String(mtu - overhead), RESTORED_MS);
        if (isTunnelled) expect((await device())[0].mtu).toBe(mtu - overhead);
      }
      await stream.flows(RESTORED_MS);
    });

    it('waits for an underlay that is gone, and goes on when it is back', async () => {
      const namespace = (member: Parameters<typeof namespaceOf>[1]) => namespaceOf(lab, member);
      const away = `ip link set eth0 down; ip link set eth0 name gone netns ${namespace('switch')}`;
      await inVictim(away);
      await waitFor('it to be said', async () => (await hostProblem()) !== null, RESTORED_MS);
      const back = `ip link set gone name eth0 netns ${namespace(nodeName(victim))}`;
      await execIn(lab, 'switch', ['sh', '-c', back]);
      await heals(`ip address add ${nodeAddress(lab, victim)}/24 dev eth0; ip link set eth0 up; ${defaultRoute()}`);
    });

    if (!isTunnelled) return;

    it('says which program has its port, and goes on when that has ended', async () => {
      const holder = await holdPort();
      try {
        await waitFor(
          'it to be said',
          async () => /UDP port 8472 is taken/.test((await hostProblem()) ?? ''),
          RESTORED_MS,
        );
      } finally {
        holder.kill('SIGKILL');
      }
      await heals('true');
    });

    it('says which device has its VNI and port, and goes on when that is gone', async () => {
      await inVictim('ip link delete rudder.1; ip link add theirs type vxlan id 1 dstport 8472');
      const isSaid = async () => /VXLAN device theirs has VNI 1 and port 8472/.test((await hostProblem()) ?? '');
      await waitFor('it to be said', isSaid, RESTORED_MS);
      await heals('ip link delete theirs');
    });

    /** A program that has the port as soon as the device gives it up. */
    async function holdPort(): Promise<ChildProcess> {
      const program = `
import socket, subprocess
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
subprocess.run(["ip", "link", "set", "rudder.1", "down"], check=True)
s.bind(("", 8472))
print("bound", flush=True)
input()`;
      const enter = [`--net=/run/netns/${namespaceOf(lab, nodeName(victim))}`, '--'];
      const holder = spawn('nsenter', [...enter, 'python3', '-c', program], { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(holder.stdout!, 'data');
      return holder;
    }
  });
});
