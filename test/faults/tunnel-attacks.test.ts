import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compile } from '../../src/lab/compile.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { nodeAddress, switchAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { ping, transfer } from '../e2e/traffic.js';
import { ip } from '../helpers/path.js';
import { describeWith } from '../helpers/requires.js';
import { udpPacket } from '../helpers/super-packets.js';

const NAME = 'test-attacks';
const PORT = 8285;
const ATTACK = fileURLToPath(new URL('./attack.c', import.meta.url));

describeWith(['root', 'tun', 'etcd'], 'the tunnel, whatever containers and strangers make by hand', () => {
  let lab: LabState;
  let program: string;
  /** Addresses of nodes and containers. */
  let hosts: string[];
  let containers: string[];

  beforeEach(async () => {
    // Without rules of ours: what they keep back is another test's, tunnel-thief.
    const daemon = { leaseTtl: '1h', arguments: ['--no-firewall=true', '--no-probes=true'] };
    lab = await labUp({ name: NAME, nodes: 2, daemon });
    program = await compile(lab, ATTACK);
    hosts = lab.nodes.map((node) => nodeAddress(lab, node));
    containers = labStatus(lab).map((row) => row.containerAddress);
    await ping(lab, 'c1', containers[1]);
  });
  afterEach(() => labDown(NAME));

  const countersOf = async (node: number) => (await statusOf(lab, lab.nodes[node])).packetPath!.counters;
  const attack = (member: string, ...args: (string | number)[]) => execIn(lab, member, [program, ...args.map(String)]);

  /** What the work has made a node's counters grow by. */
  async function grown(node: number, work: () => Promise<unknown>): Promise<Record<string, number>> {
    const before = await countersOf(node);
    await work();
    const after = await countersOf(node);
    return Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]));
  }

  describe('the source port', () => {
    /** An inner packet from a container of n1 to one of n2, by a program on n1 that is not rudder. */
    async function forge(port: number): Promise<void> {
      const packet = udpPacket({
        source: ip(containers[0]),
        destination: ip(containers[1]),
        payload: Buffer.from('hi'),
      });
      const code = `const s = require('dgram').createSocket('udp4'); s.bind(${port}, '${hosts[0]}', () =>
        s.send(Buffer.from('${Buffer.from(packet).toString('hex')}', 'hex'), ${PORT}, '${hosts[1]}', () => s.close()));`;
      await execIn(lab, 'n1', [process.execPath, '-e', code]);
    }

    const settled = async (before: Record<string, number>, name: string) =>
      waitFor(`${name} to grow`, async () => (await countersOf(1))[name] > before[name], 5000);

    it("of a peer's host must be that of nodes, unless its lease says that a NAT changes it", async () => {
      let before = await countersOf(1);
      await forge(40_000);
      await settled(before, 'in_drop_source');
      expect((await countersOf(1)).in_packets).toBe(before.in_packets);

      await stopNode(lab, lab.nodes[0]);
      await startNode(lab, lab.nodes[0], ['--port-mapped']);
      // The lease is the same, so n2 follows a change of it.
      before = await countersOf(1);
      await waitFor(
        'n2 to know',
        async () => {
          await forge(40_001);
          return (await countersOf(1)).in_packets > before.in_packets;
        },
        10_000,
      );
      await ping(lab, 'c1', containers[1]);
      const rows = JSON.parse((await cli(lab, lab.nodes[1], 'leases', '--json')).stdout);
      const mapped = rows.filter((row: { portMapped: boolean }) => row.portMapped);
      expect(mapped.map((row: { publicIp: string }) => row.publicIp)).toEqual([hosts[0]]);
    });
  });

  describe('the path MTU', () => {
    const bulk = () => transfer(lab, 'tcp', 'c1', 'c2', containers[1], 20_000_000);

    it('is not what a stranger says: packets go in trains as before', async () => {
      const packetsPerDatagram = async () => {
        const { out_packets, out_datagrams } = await grown(0, bulk);
        return out_packets / out_datagrams;
      };
      const before = await packetsPerDatagram();
      expect(before).toBeGreaterThan(5);
      await attack('switch', 'pmtu', switchAddress(lab), hosts[0], hosts[1], PORT, 552);
      expect(await packetsPerDatagram()).toBeGreaterThan(before / 2);
      expect(await execIn(lab, 'n1', ['ip', 'route', 'get', hosts[1]])).not.toContain('mtu');
    });

    it('may be smaller than all think: routers cut what is too large for them', async () => {
      // The switch becomes a router between the two, and its way to n2 carries 1300 bytes.
      for (const [member, to] of [
        ['n1', hosts[1]],
        ['n2', hosts[0]],
      ]) {
        await execIn(lab, member, ['ip', 'route', 'add', to, 'via', switchAddress(lab)]);
      }
      const settings = ['ip_forward=1', 'conf.all.send_redirects=0', 'conf.br0.send_redirects=0'];
      await execIn(lab, 'switch', ['sysctl', '-qw', ...settings.map((one) => `net.ipv4.${one}`)]);
      await execIn(lab, 'switch', ['ip', 'route', 'add', hosts[1], 'dev', 'br0', 'mtu', 'lock', '1300']);
      // 1444 bytes of ICMP payload make a packet of the tunnel's MTU.
      await ping(lab, 'c1', containers[1], '-s', '1444', '-M', 'do');
      const { sent, received } = await transfer(lab, 'tcp', 'c1', 'c2', containers[1], 5_000_000);
      expect(received.sha256).toBe(sent.sha256);
      expect(await fragmentsMadeBy('switch')).toBeGreaterThan(1000);
      expect(await fragmentsMadeBy('n1')).toBe(0);
    });

    async function fragmentsMadeBy(member: string): Promise<number> {
      const lines = (await execIn(lab, member, ['cat', '/proc/net/snmp'])).split('\n');
      const [names, values] = lines.filter((line) => line.startsWith('Ip: ')).map((line) => line.split(' '));
      return Number(values[names.indexOf('FragCreates')]);
    }
  });

  describe('super-packets of tiny segments', () => {
    const SENDS = 200;

    /** Of pings from n1 to n2's container while the work is done, those answered in a second each. */
    async function answeredWhile(work: () => Promise<unknown>): Promise<number> {
      const pinging = execIn(lab, 'n1', ['ping', '-n', '-q', '-i', '0.02', '-c', '150', '-W', '1', containers[1]]);
      const [told] = await Promise.all([pinging, work()]);
      return Number(/, (\d+) received/.exec(told)?.[1]) / 150;
    }

    async function fromContainer(protocol: 'tcp' | 'udp', size: number, bytes: number): Promise<unknown> {
      const [{ address: gateway }] = JSON.parse(await execIn(lab, 'n1', ['ip', '-j', 'link', 'show', 'docker0']));
      return attack('c1', protocol, 'eth0', gateway, containers[0], containers[1], SENDS, size, bytes);
    }

    it.each([
      ['of TCP, one byte each, which no kernel makes', 'tcp', 1, 60_000, 'out_drop_segments', SENDS],
      ['of TCP, as many as there may be', 'tcp', 32, 60_000, 'out_packets', (SENDS * 60_000) / 32],
      ['of UDP, as many as the kernel lets there be', 'udp', 1, 128, 'out_packets', SENDS * 128],
    ] as const)('from a container, %s, leave others their turn', async (_, protocol, size, bytes, counter, count) => {
      let answered = 0;
      const counted = await grown(0, async () => {
        answered = await answeredWhile(() => fromContainer(protocol, size, bytes));
      });
      expect(answered).toBeGreaterThan(0.9);
      // Beside what pings and replies add.
      expect(counted[counter]).toBeGreaterThanOrEqual(count);
      expect(counted[counter]).toBeLessThan(count + 1000);
    });

    it('into the device itself are dropped too', async () => {
      const counted = await grown(0, () =>
        attack('n1', 'tcp', 'rudder0', '-', containers[0], containers[1], SENDS, 1, 60_000),
      );
      expect(counted.out_drop_segments).toBe(SENDS);
    });
  });

  it('its own datagrams, which a route leads back into the device, do not go round', async () => {
    await execIn(lab, 'n1', ['ip', 'route', 'add', hosts[1], 'dev', 'rudder0']);
    const counted = await grown(0, () => ping(lab, 'c1', containers[1], '-s', '1400').catch(() => undefined));
    expect(counted.out_drop_loop).toBeGreaterThan(0);
    expect(counted.out_packets).toBeLessThan(20);
  });

  it('multicast has a reason of its own', async () => {
    const counted = await grown(0, () =>
      execIn(lab, 'n1', ['ping', '-n', '-c', '1', '-W', '0.2', '-I', 'rudder0', '224.0.0.251']).catch(() => undefined),
    );
    expect(counted.out_drop_multicast).toBe(1);
    expect(counted.out_drop_no_route).toBe(0);
  });
});
