import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PeerRow } from '../../src/cli/peers.js';
import { act, createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { ping } from './traffic.js';

/** How each node sees the others (docs/peers.md): known by what was heard, not by their leases, which live for an hour. */
export function describePeers(type: 'udp' | 'vxlan'): void {
  const needs = ['root', 'tun', 'etcd', 'iptables', 'nft', ...(type === 'vxlan' ? (['vxlan'] as const) : [])] as const;
  describeWith([...needs], `the peers of a node with ${type}`, () => {
    let lab: LabState;
    let [first, second, third]: LabNode[] = [];

    beforeAll(async () => {
      const config = `{"Network":"10.240.0.0/16","Backend":{"Type":"${type}"}}`;
      lab = await createLab({ name: `test-peers-${type}`, nodes: 3, config, daemon: { leaseTtl: '1h' } });
      [first, second, third] = lab.nodes;
      for (const node of lab.nodes) await launchNode(lab, node);
      for (const node of lab.nodes) await waitUntilReady(lab, node);
      for (const node of lab.nodes) await addContainer(lab, node);
    });
    afterAll(() => labDown(`test-peers-${type}`));

    async function peersOf(node: LabNode): Promise<PeerRow[]> {
      return JSON.parse((await cli(lab, node, 'peers', '--json')).stdout);
    }
    const stateOf = async (node: LabNode, host: string) => (await peersOf(node)).find((peer) => peer.host === host);
    const becomes = (node: LabNode, host: string, state: string) =>
      waitFor(`${host} to be ${state}`, async () => (await stateOf(node, host))?.state === state, 15_000);

    it('are ok within five seconds, by name, with version and time of flight, and probes are no traffic', async () => {
      const isKnown = async () => (await peersOf(first)).every(({ state }) => state === 'ok');
      await waitFor('both peers to be ok', isKnown, 5000);
      expect(await peersOf(first)).toMatchObject([
        { host: 'n2', address: nodeAddress(lab, second), backend: type, state: 'ok', version: expect.any(String) },
        { host: 'n3', address: nodeAddress(lab, third), backend: type, state: 'ok', rttMs: expect.any(Number) },
      ]);
      const { stdout } = await cli(lab, first, 'peers');
      expect(stdout).toMatch(/n2 .* ok .* ms .* ago/);
      const { peers } = await statusOf(lab, first);
      for (const { outPackets, inPackets } of peers) {
        expect([outPackets, inPackets]).toEqual(type === 'udp' ? [0, 0] : [null, null]);
      }
    });

    it('have their traffic counted without the probes', async () => {
      await ping(lab, 'c1', containerAddress(readSubnetEnv(lab, second).RUDDER_SUBNET));
      const { peers } = await statusOf(lab, first);
      const to = peers.find(({ host }) => host === 'n2')!;
      expect(to.outPackets).toBe(type === 'udp' ? to.inPackets : null);
      if (type === 'udp') expect(to.outPackets).toBeGreaterThan(0);
    });

    // Of probes alone, which are the same whatever carries them.
    if (type === 'udp')
      it('are silent when nothing comes from them, and ok again', async () => {
        await act(lab, 'n2', 'partition');
        await becomes(first, 'n2', 'silent');
        expect(await stateOf(first, 'n3')).toMatchObject({ state: 'ok' });
        const [worst] = await peersOf(first);
        expect(worst).toMatchObject({ host: 'n2', state: 'silent', rttMs: null });
        await act(lab, 'n2', 'heal');
        await becomes(first, 'n2', 'ok');
      });

    if (type === 'udp')
      it('are unreachable when this host drops what is sent to them, with that reason', async () => {
        const to = (await stateOf(first, 'n3'))!.subnet.replace('/24', '/32');
        await execIn(lab, 'n1', ['iptables', '-I', 'OUTPUT', '-d', to, '-j', 'DROP']);
        await waitFor(
          'the reason',
          async () => (await stateOf(first, 'n3'))?.reason?.includes('firewall rule'),
          15_000,
        );
        expect((await cli(lab, first, 'peers')).stdout).toMatch(
          /^n3, .* is unreachable: a firewall rule of this host/m,
        );
        await execIn(lab, 'n1', ['iptables', '-D', 'OUTPUT', '-d', to, '-j', 'DROP']);
        await becomes(first, 'n3', 'ok');
      });

    it('that lost their daemon are what their packets are: lost with udp, carried on by the kernel', async () => {
      await act(lab, 'n3', 'kill');
      if (type === 'udp') return becomes(first, 'n3', 'silent');
      const heard = (await stateOf(first, 'n3'))!.lastHeardSeconds;
      expect(heard).not.toBeNull();
      const isHeardSince = async () => ((await stateOf(first, 'n3'))?.lastHeardSeconds ?? 99) < 2;
      await waitFor('an answer after the end of the daemon', isHeardSince, 10_000);
      const isTold = async () => (await stateOf(first, 'n3'))?.reason?.includes('its daemon sends no probes');
      await waitFor('the daemon to be missed', isTold, 15_000);
      expect(await stateOf(first, 'n3')).toMatchObject({ state: 'ok' });
    });
  });
}
