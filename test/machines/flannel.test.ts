import { readFileSync, statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf, nodeAddress, nodeName } from '../../src/lab/names.js';
import { containerAddress, createContainer, execIn } from '../../src/lab/network.js';
import { addContainer, daemonCommand, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { ping, reaches, transfer } from '../e2e/traffic.js';
import { lossWhile } from '../helpers/loss.js';
import { describeWith, type Requirement } from '../helpers/requires.js';

const DEADLINE_MS = 15_000;
const MEGABYTE = 2 ** 20;

interface Case {
  readonly type: string;
  readonly needs: readonly Requirement[];
  readonly mtu: number;
  /** What of flannel's stays when it ends, and goes on carrying packets. */
  readonly left: 'a device' | 'routes' | 'nothing';
}

const CASES: Case[] = [
  { type: 'udp', needs: ['tun'], mtu: 1472, left: 'nothing' },
  { type: 'vxlan', needs: ['vxlan'], mtu: 1450, left: 'a device' },
  { type: 'host-gw', needs: [], mtu: 1500, left: 'routes' },
];

/** One node runs Rudder, the other a real flanneld, then Rudder, then flanneld again. */
describe.each(CASES)('$type', ({ type, needs, mtu, left }) => {
  const name = `test-flannel-${type}`;

  describeWith(['root', 'etcd', 'iptables', 'nft', 'flanneld', ...needs], 'a cluster with flannel', () => {
    let lab: LabState;
    let ours: LabNode;
    let other: LabNode;
    let flanneld: LabProcess | undefined;
    /** What the other node's subnet file says of its subnet: its gateway with the length. */
    let bip: string;

    const envFile = () => `${labDirectory(name)}/flannel.env`;
    const flannelSubnet = () => /^FLANNEL_SUBNET=(\S+)$/m.exec(readFileSync(envFile(), 'utf8'))![1];
    const inOther = (...command: string[]) => execIn(lab, nodeName(other), command);
    const writtenAt = () => statSync(envFile(), { throwIfNoEntry: false })?.mtimeMs;
    const overlayDevices = async () => (await inOther('ip', '-br', 'link')).match(/^(rudder|flannel)[.\d]+/gm) ?? [];
    const routesToPeer = () => inOther('ip', 'route', 'show', overlayAddress(mine()).concat('/24'));
    const overlayAddress = (gateway: string) => gateway.replace(/\.1\/24$/, '.0');
    const mine = () => readSubnetEnv(lab, ours).RUDDER_SUBNET;
    /** What peers see of packets that a host itself sends into the overlay. */
    const hostSource = (node: LabNode, gateway: string) =>
      type === 'host-gw' ? nodeAddress(lab, node) : overlayAddress(gateway);

    /** As docs/migrating-from-flannel.md says, without systemd. */
    async function startFlannel(): Promise<void> {
      const command = ['flanneld', `-etcd-endpoints=${etcdUrl(lab)}`, '-iface=eth0', `-subnet-file=${envFile()}`];
      const before = writtenAt();
      flanneld = await spawnInNamespace(
        namespaceOf(lab, nodeName(other)),
        command,
        `${labDirectory(name)}/flanneld.log`,
      );
      await waitFor('flanneld to write its subnet', () => writtenAt() !== before, DEADLINE_MS);
    }

    async function stopFlannel(): Promise<void> {
      await endProcess(flanneld!, DEADLINE_MS);
      flanneld = undefined;
      await inOther('sh', '-c', 'ip link delete flannel0 2> /dev/null || true');
    }

    async function toRudder(): Promise<void> {
      await stopFlannel();
      await startNode(lab, other);
    }

    /** Both ways, all bytes intact, from the own addresses of containers and hosts, in packets of the full MTU. */
    async function carry(): Promise<void> {
      const ends = [
        { node: ours, gateway: mine(), number: ours.number },
        { node: other, gateway: bip, number: other.number },
      ] as const;
      const theirs = containerAddress(bip);
      await waitFor('the containers to reach each other', () => reaches(lab, 'c1', theirs), DEADLINE_MS);
      for (const [from, to] of [ends, ends.toReversed()]) {
        const target = containerAddress(to.gateway);
        for (const [member, source] of [
          [`c${from.number}`, containerAddress(from.gateway)],
          [nodeName(from.node), hostSource(from.node, from.gateway)],
        ]) {
          const tcp = await transfer(lab, 'tcp', member, `c${to.number}`, target, 8 * MEGABYTE);
          expect(tcp.received, `TCP from ${member}`).toEqual({
            bytes: 8 * MEGABYTE,
            sha256: tcp.sent.sha256,
            from: source,
          });
          const udp = await transfer(lab, 'udp', member, `c${to.number}`, target, mtu - 28);
          expect(udp.sent.echoed, `UDP from ${member}`).toBe(udp.sent.sha256);
          await ping(lab, member, target, '-M', 'do', '-s', String(mtu - 28));
        }
      }
    }

    beforeAll(async () => {
      const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
      lab = await createLab({ name, nodes: 2, config, daemon: { leaseTtl: '1h' } });
      [ours, other] = lab.nodes;
      await startFlannel();
      bip = flannelSubnet();
      await createContainer(lab, other, bip, mtu);
      await startNode(lab, ours);
      await addContainer(lab, ours);
    });
    afterAll(async () => {
      if (flanneld !== undefined) await endProcess(flanneld, DEADLINE_MS);
      await labDown(name);
    });

    it('carries TCP, UDP and full-size packets both ways', carry);

    it('has flannel as a peer, and nothing to complain of', async () => {
      await waitFor('the peer', async () => (await statusOf(lab, ours)).peers.length === 1, DEADLINE_MS);
      const { peers, problems, warnings, ignoredLeases } = await statusOf(lab, ours);
      expect({ problems, warnings, ignored: ignoredLeases.count }).toEqual({ problems: [], warnings: [], ignored: 0 });
      expect(peers).toMatchObject([{ subnet: `${overlayAddress(bip)}/24`, nextHop: nodeAddress(lab, other) }]);
    });

    it('carries them when flannel comes back', async () => {
      await stopFlannel();
      await startFlannel();
      expect(flannelSubnet()).toBe(bip);
      await carry();
    });

    it('keeps the subnet when Rudder replaces flannel under a running container, and cuts nothing that flannel left', async () => {
      /** Index, name and MAC. */
      const device = () =>
        inOther('sh', '-c', "ip -o link show flannel.1 | sed -E 's/<.*link.ether ([0-9a-f:]+) .*/\\1/'");
      const before = left === 'a device' ? await device() : undefined;
      if (left === 'nothing') await toRudder();
      else {
        const way = [containerAddress(bip)];
        expect(await lossWhile(namespaceOf(lab, 'c1'), way, toRudder)).toBe(0);
      }
      expect(readSubnetEnv(lab, other).RUDDER_SUBNET).toBe(bip);
      await carry();
      if (before !== undefined) {
        expect(await device()).toBe(before);
        expect(await etcdctl(lab, 'get', '--prefix', '--print-value-only', '/coreos.com')).toContain(
          before.split(' ')[2],
        );
      }
      expect(await overlayDevices()).toEqual({ udp: ['rudder0'], vxlan: ['flannel.1'] }[type] ?? []);
      expect((await statusOf(lab, other)).problems).toEqual([]);
    });

    it('keeps it when flannel replaces Rudder again, which begins with "rudder cleanup"', async () => {
      await stopNode(lab, other);
      await inOther(...daemonCommand(lab, other), 'cleanup', '--keep-lease');
      expect(await overlayDevices()).toEqual([]);
      expect(await routesToPeer()).toBe('');
      await startFlannel();
      expect(flannelSubnet()).toBe(bip);
      await carry();
      expect((await statusOf(lab, ours)).problems).toEqual([]);
    });
  });
});
