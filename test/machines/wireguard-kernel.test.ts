import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, launchNode, nodePaths, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import type { Status } from '../../src/ops/status.js';
import { statusOf } from '../e2e/cli.js';
import { exchange } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';
import { bootGuest, type Guest } from './guest/guest.js';

const NAME = 'test-wg-kernel';
const PSK = randomBytes(32).toString('base64');
/** All that MTU 1420 has room for, and less. */
const SIZES = [56, 0, 1, 15, 16, 17, 1000, 1391, 1392];
const SOON = { timeout: 120_000 };
/** As every change of somebody else's, and what an emulated machine takes longer. */
const HEALED_WITHIN_MS = 15_000;

/** One node has the kernel's WireGuard, on a kernel of its own, and the other one ours. */
describeWith(
  ['root', 'tun', 'etcd', 'qemu', 'wireguard-go'],
  "a node with the kernel's WireGuard and one with ours",
  () => {
    const kernelNode: LabNode = { number: 3, logOffset: 0, hasContainer: false };
    let lab: LabState;
    let guest: Guest;
    let userNode: LabNode;

    beforeAll(async () => {
      const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: 'wireguard', PSK } });
      const daemon = { arguments: ['--no-firewall', '--log-level=debug', '--healthz-port=9478'], leaseTtl: '60s' };
      lab = await createLab({ name: NAME, nodes: 1, config, daemon });
      [userNode] = lab.nodes;
      await launchNode(lab, userNode, ['--wireguard-implementation=user']);
      await waitUntilReady(lab, userNode);
      const address = nodeAddress(lab, kernelNode);
      guest = await bootGuest(lab, { address, modules: ['wireguard', 'tun'], programs: ['/usr/bin/wg'] });
      await guest.run('mkdir', '-p', nodePaths(lab, kernelNode).directory);
      await start();
    }, 400_000);
    afterAll(async () => {
      await guest?.stop();
      await labDown(NAME);
    });

    const rudder = (...args: string[]) => guest.run(...daemonCommand(lab, kernelNode, args));
    /** Over HTTP: a start of node takes seconds there. */
    const kernelStatus = async () =>
      JSON.parse(await guest.run('wget', '-q', '-O', '-', 'http://127.0.0.1:9478/status')) as Status;
    const log = () => nodePaths(lab, kernelNode).log;

    async function start(...args: string[]): Promise<void> {
      const command = daemonCommand(lab, kernelNode, args).join(' ');
      await guest.run('sh', '-c', `${command} >> ${log()} 2>&1 < /dev/null & echo $! > /run/rudder.pid`);
      await waitFor(
        'the node in the guest to be ready',
        async () => (await kernelStatus()).problems.length === 0,
        90_000,
      ).catch(async (error: Error) => {
        throw new Error(`${error.message}: ${await guest.run('cat', log())}`);
      });
      await waitFor('the peers', async () => (await kernelStatus()).peers.length === 1, 20_000);
    }
    async function end(signal: string): Promise<void> {
      await guest.run('sh', '-c', `kill -${signal} $(cat /run/rudder.pid)`);
      await waitFor(
        'its end',
        () => guest.run('sh', '-c', '! kill -0 $(cat /run/rudder.pid) 2> /dev/null').then(() => true),
        20_000,
      );
    }

    const own = (status: Status) => status.node.subnet.split('/')[0];
    const kernelAddress = async () => own(await kernelStatus());
    const userAddress = async () => own(await statusOf(lab, userNode));

    const userPings = async (address: string, size = 56) =>
      execIn(lab, 'n1', ['ping', '-n', '-q', '-c', '1', '-W', '3', '-M', 'do', '-s', String(size), address]);
    /** Busybox knows no -M: what is too large for the device is split, and what is not goes whole. */
    const kernelPings = (address: string, size = 56) =>
      guest.run('ping', '-q', '-c', '1', '-W', '3', '-s', String(size), address);
    const soon = (what: string, ping: () => Promise<unknown>) =>
      waitFor(what, () => ping().then(() => true), HEALED_WITHIN_MS);

    it('says which one runs, and why', async () => {
      const status = await kernelStatus();
      expect(status.device).toMatchObject({ name: 'rudder-wg', mtu: 1420, up: true });
      expect(status.backend).toMatchObject({
        cipher: 'kernel',
        implementation: { runs: 'kernel', why: 'this kernel has WireGuard' },
        kernel: { wanted: 3, present: 3 },
      });
      expect((await statusOf(lab, userNode)).backend.implementation).toEqual({
        runs: 'user',
        why: '--wireguard-implementation user',
      });
      expect(await rudder('status')).toMatch(/^ +by the kernel: this kernel has WireGuard$/m);
      expect(await rudder('config', 'get')).toMatch(/Implementation\W+auto/);
    });

    it('carries packets of all sizes, both ways', SOON, async () => {
      const [there, back] = [await kernelAddress(), await userAddress()];
      for (const size of SIZES) {
        await userPings(there, size);
        await kernelPings(back, size);
      }
      await expect(userPings(there, 1393)).rejects.toThrow();
    });

    it('tells of handshake, bytes and endpoint on both sides', SOON, async () => {
      await userPings(await kernelAddress());
      await waitFor('counts', async () => ((await kernelStatus()).peers[0].inBytes ?? 0) > 0, 10_000);
      const [peer] = (await kernelStatus()).peers;
      expect(peer.session).toMatchObject({ state: 'up', endpoint: `${nodeAddress(lab, userNode)}:51820` });
      expect(peer.session!.handshakeSeconds).toBeLessThan(180);
      expect(peer).toMatchObject({ outPackets: null, inPackets: null, problem: null });
      expect(peer.outBytes).toBeGreaterThan(0);
      expect(peer.heardSecondsAgo).toBeLessThan(60);
      const [other] = (await statusOf(lab, userNode)).peers;
      expect(other.session).toMatchObject({ state: 'up', endpoint: `${nodeAddress(lab, kernelNode)}:51820` });
      expect(await rudder('status')).toMatch(/encrypted +wireguard, cipher kernel; 1 session/);
    });

    it.each(['to the kernel', 'from the kernel'])('carries a megabyte of TCP %s', SOON, async (direction) => {
      const user = ['nsenter', `--net=/run/netns/${namespaceOf(lab, 'n1')}`, '--'];
      const isTo = direction === 'to the kernel';
      const [client, server] = isTo ? [user, guest.enter] : [guest.enter, user];
      const address = isTo ? await kernelAddress() : await userAddress();
      const { sent, received } = await exchange(client, server, 'tcp', address, 1_000_000);
      expect(received).toMatchObject({ bytes: 1_000_000, sha256: sent.sha256 });
    });

    it.each(['kernel', 'user'])('goes on after the one with %s WireGuard has another key', SOON, async (which) => {
      const [there, back] = [await kernelAddress(), await userAddress()];
      const before = await leases();
      if (which === 'kernel') await rudder('keys', 'rotate');
      else await execIn(lab, 'n1', daemonCommand(lab, userNode, ['keys', 'rotate']));
      await waitFor('the lease', async () => (await leases()) !== before, 10_000);
      await soon('an answer to ours', () => userPings(there));
      await soon("an answer to the kernel's", () => kernelPings(back));
      expect((await guest.run('wg', 'show', 'rudder-wg', 'peers')).split('\n')).toHaveLength(1);
    });

    const leases = () => etcdctl(lab, 'get', '--prefix', '--print-value-only', '/coreos.com/network/subnets/');

    describe('puts back what somebody does to', () => {
      it.each([
        ['the device', 'ip link delete rudder-wg'],
        ['its state', 'ip link set rudder-wg down'],
        ['its route', 'ip route delete 10.240.0.0/16'],
        ['its key', 'echo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEE= > /tmp/k; wg set rudder-wg private-key /tmp/k'],
        ['its port', 'wg set rudder-wg listen-port 4000'],
        ['its peers', 'wg set rudder-wg peer $(wg show rudder-wg peers) remove'],
        ["a peer's subnet", 'wg set rudder-wg peer $(wg show rudder-wg peers) allowed-ips ""'],
      ])('%s', SOON, async (_, change) => {
        const back = await userAddress();
        const { repairs } = (await kernelStatus()).device;
        await guest.run('sh', '-c', change);
        await waitFor('the repair', async () => (await kernelStatus()).device.repairs > repairs, HEALED_WITHIN_MS);
        await soon('an answer', () => kernelPings(back));
        expect((await kernelStatus()).backend.kernel).toEqual({ wanted: 3, present: 3 });
      });
    });

    it('goes on while the daemon is gone, and keeps its sessions over a restart', SOON, async () => {
      const [there, back] = [await kernelAddress(), await userAddress()];
      await kernelPings(back);
      await end('KILL');
      await userPings(there);
      await kernelPings(back);
      const handshakes = await guest.run('wg', 'show', 'rudder-wg', 'latest-handshakes');
      await start();
      expect(await guest.run('wg', 'show', 'rudder-wg', 'latest-handshakes')).toBe(handshakes);
      await userPings(there);
    });

    it("becomes ours by the flag, and the kernel's again", { timeout: 240_000 }, async () => {
      const there = await kernelAddress();
      await end('TERM');
      await start('--wireguard-implementation=user');
      expect((await kernelStatus()).backend).toMatchObject({ implementation: { runs: 'user' }, kernel: null });
      expect(await guest.run('ip', 'link')).not.toContain('rudder-wg');
      await soon('an answer', () => userPings(there));
      await end('TERM');
      await start('--wireguard-implementation=kernel');
      expect(await guest.run('ip', 'link')).not.toContain('rudder0');
      await soon('an answer', () => userPings(there));
    });

    it('is removed by a clean-up', SOON, async () => {
      await end('TERM');
      expect(await rudder('cleanup')).toMatch(/^removed rudder-wg and 1 route$|^removed rudder-wg$/m);
      expect(await guest.run('ip', 'link')).not.toContain('rudder-wg');
    });
  },
);
