import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { compile } from '../../src/lab/compile.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { etcdAddress, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode, stopNode } from '../../src/lab/nodes.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { ping, reaches } from '../e2e/traffic.js';
import { ip } from '../helpers/path.js';
import { describeWith } from '../helpers/requires.js';
import { udpPacket } from '../helpers/super-packets.js';

const NAME = 'test-thief';
const PORT = 8285;
const ATTACK = fileURLToPath(new URL('./attack.c', import.meta.url));

describeWith(
  ['root', 'tun', 'etcd', 'iptables', 'nft', 'conntrack'],
  'a container that wants the tunnel for itself',
  () => {
    let lab: LabState;
    let hosts: string[];
    let containers: string[];

    beforeEach(async () => {
      lab = await labUp({ name: NAME, nodes: 3, daemon: { leaseTtl: '1h', arguments: ['--no-probes=true'] } });
      hosts = lab.nodes.map((node) => nodeAddress(lab, node));
      containers = labStatus(lab).map((row) => row.containerAddress);
      // What Docker does for every bridge.
      const own = labStatus(lab)[0].subnet.replace(/\.1\//, '.0/');
      const masquerade = ['-t', 'nat', '-A', 'POSTROUTING', '-s', own, '!', '-o', 'docker0', '-j', 'MASQUERADE'];
      await execIn(lab, 'n1', ['iptables', ...masquerade]);
    });
    afterEach(() => labDown(NAME));

    /** A container without any capability: binds the tunnel's port, sends a byte to a host's, and prints what comes. */
    async function thief(target: string): Promise<{ process: LabProcess; heard: () => Promise<string> }> {
      const log = `${labDirectory(NAME)}/thief-${target}.log`;
      const code = `const s = require('dgram').createSocket('udp4');
      s.on('message', (m, from) => console.log('heard', m.length, from.address + ':' + from.port));
      s.bind(${PORT}, () => s.send('x', ${PORT}, '${target}', () => console.log('sent')));`;
      const process = await spawnInNamespace(`rudder-${NAME}-c1`, [globalThis.process.execPath, '-e', code], log);
      const heard = () => execIn(lab, 'c1', ['cat', log]);
      await waitFor('the byte to be sent', async () => (await heard()).includes('sent'), 5000);
      return { process, heard };
    }

    /** Entries of n1's connection tracking of the tunnel's port with a host. */
    const tracked = async (host: string) =>
      (await execIn(lab, 'n1', ['conntrack', '-L', '-p', 'udp'])).split('\n').filter((line) => line.includes(host));

    it('gets nothing of it, takes nothing from others, and does not reach the other node', async () => {
      const stolen = await thief(hosts[2]);
      try {
        // Nothing has ever been sent between the two: no entry of the tunnel's own is in the way.
        await ping(lab, 'c1', containers[2]);
        await ping(lab, 'c3', containers[0]);
        await ping(lab, 'n1', containers[2]);
        expect(await stolen.heard()).not.toContain('heard');
        expect(await tracked(hosts[2])).toEqual([]);
        // It was dropped here, and told: node 3 has not even seen it.
        expect((await statusOf(lab, lab.nodes[0])).firewall.forwarding).toMatchObject({ forwarded: 1 });
        const drops = Object.entries((await statusOf(lab, lab.nodes[2])).packetPath!.counters).filter(
          ([name, count]) => name.startsWith('in_drop') && count > 0,
        );
        expect(drops).toEqual([]);
      } finally {
        await endProcess(stolen.process, 1000);
      }
    });

    it('gets nothing of it by an entry that was there before the node started', async () => {
      await stopNode(lab, lab.nodes[0]);
      await cli(lab, lab.nodes[0], 'cleanup', '--keep-lease');
      const stolen = await thief(hosts[2]);
      try {
        expect(await tracked(hosts[2])).toHaveLength(1);
        await startNode(lab, lab.nodes[0]);
        await ping(lab, 'c3', containers[0]);
        await ping(lab, 'c1', containers[2]);
        expect(await stolen.heard()).not.toContain('heard');
        await waitFor('the entry to be removed', async () => (await tracked(hosts[2])).length === 0, 5000);
      } finally {
        await endProcess(stolen.process, 1000);
      }
    });

    it('may speak to that port elsewhere as ever', async () => {
      const echo = `const s = require('dgram').createSocket('udp4');
      s.on('message', (m, from) => s.send('back', from.port, from.address)); s.bind(${PORT}, () => console.log('up'));`;
      const log = `${labDirectory(NAME)}/echo.log`;
      const server = await spawnInNamespace(`rudder-${NAME}-etcd`, [process.execPath, '-e', echo], log);
      await waitFor('the server', async () => (await execIn(lab, 'etcd', ['cat', log])).includes('up'), 5000);
      const honest = await thief(etcdAddress(lab));
      try {
        await waitFor('an answer', async () => (await honest.heard()).includes(`heard 4 ${etcdAddress(lab)}`), 5000);
      } finally {
        await endProcess(honest.process, 1000);
        await endProcess(server, 1000);
      }
    });

    it('is kept out also after somebody flushed all rules', async () => {
      await execIn(lab, 'n1', ['nft', 'flush', 'ruleset']);
      await waitFor('the rules', async () => (await statusOf(lab, lab.nodes[0])).firewall.repairs > 0, 10_000);
      const stolen = await thief(hosts[2]);
      try {
        await ping(lab, 'c3', containers[0]);
        expect(await stolen.heard()).not.toContain('heard');
      } finally {
        await endProcess(stolen.process, 1000);
      }
    });

    it('with raw sockets cannot pass for a member, at its own node nor at another', async () => {
      const program = await compile(lab, ATTACK);
      // What Debian's default lets pass: the way back need not be the way that a packet came.
      await execIn(lab, 'n1', ['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.docker0.rp_filter=0']);
      const inPackets = async (node: number) => (await statusOf(lab, lab.nodes[node])).packetPath!.counters.in_packets;
      const before = [await inPackets(0), await inPackets(2)];
      for (const victim of [0, 2]) {
        const [source, destination] = [containers[1], containers[victim]].map(ip);
        const inner = udpPacket({ source, destination, payload: Buffer.from('forged') });
        const ports = { sourcePort: PORT, port: PORT };
        // Fragments may be made of it.
        const outer = { source: ip(hosts[1]), destination: ip(hosts[victim]), fragment: 0, payload: inner };
        await execIn(lab, 'c1', [program, 'ip', Buffer.from(udpPacket({ ...outer, ...ports })).toString('hex')]);
      }
      const forged = async () => (await statusOf(lab, lab.nodes[0])).firewall.forwarding!.forged;
      expect(await forged()).toBe(2);
      // Another way to other hosts makes the table anew, which forgets no count.
      await execIn(lab, 'n1', ['ip', 'link', 'add', 'up2', 'up', 'type', 'bridge']);
      await execIn(lab, 'n1', ['ip', 'route', 'add', 'default', 'dev', 'up2', 'metric', '4000']);
      const table = () => execIn(lab, 'n1', ['nft', 'list', 'table', 'ip', 'rudder']);
      await waitFor('the table to name it', async () => (await table()).includes('"up2"'), 10_000);
      expect(await forged()).toBe(2);
      expect([await inPackets(0), await inPackets(2)]).toEqual(before);
      // The member itself is heard.
      await ping(lab, 'c2', containers[0]);
    });

    it('of the host itself, or a user without rights, sends nothing from another address of the host', async () => {
      const own = labStatus(lab)[0].subnet.split('/')[0];
      const before = (await statusOf(lab, lab.nodes[0])).firewall.forwarding!.forwarded;
      // Masqueraded, what comes from docker0's address would come from the tunnel's address and port.
      const code = `const s = require('dgram').createSocket('udp4');
      s.bind(${PORT}, '${own}', () => s.send('x', ${PORT}, '${hosts[2]}', () => s.close())); s.on('error', () => s.close());`;
      const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      await execIn(lab, 'n1', [...user, process.execPath, '-e', code]);
      await waitFor(
        'it to be dropped',
        async () => (await statusOf(lab, lab.nodes[0])).firewall.forwarding!.forwarded === before + 1,
        5000,
      );
      const { counters } = (await statusOf(lab, lab.nodes[2])).packetPath!;
      expect(counters.in_drop_source).toBe(0);
      expect(counters.in_drop_malformed).toBe(0);
      await ping(lab, 'c1', containers[2]);
    });

    it('is no reason to shut the tunnel out: hosts that let in only what is established let it in', async () => {
      for (const member of ['n1', 'n3']) {
        for (const rule of [
          ['-A', 'INPUT', '-i', 'lo', '-j', 'ACCEPT'],
          ['-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'],
          ['-P', 'INPUT', 'DROP'],
          ['-A', 'OUTPUT', '-m', 'conntrack', '--ctstate', 'NEW,RELATED,ESTABLISHED', '-j', 'ACCEPT'],
          ['-P', 'OUTPUT', 'DROP'],
        ]) {
          await execIn(lab, member, ['iptables', ...rule]);
        }
      }
      // Our own rule is there as soon as the others are noticed.
      await waitFor('the tunnel to be let in', () => reaches(lab, 'c1', containers[2]), 10_000);
      await ping(lab, 'c3', containers[0]);
    });
  },
);
