import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn, removeContainer } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { knock } from '../e2e/knock.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-bridge-askers';

/** host-gw has no device of its own: a node's address in the overlay is that of the bridge of its containers, while it has one. */
describeWith(['root', 'etcd', 'iptables', 'nft'], 'nodes whose addresses in the overlay are those of bridges', () => {
  let lab: LabState;
  let [first, second, third]: LabNode[] = [];
  /** Of their bridges. */
  let addresses: string[];

  beforeAll(async () => {
    const config = '{"Network":"10.240.0.0/16","Backend":{"Type":"host-gw"}}';
    lab = await createLab({ name: NAME, nodes: 3, config, daemon: { leaseTtl: '1h' } });
    [first, second, third] = lab.nodes;
    for (const node of lab.nodes) await launchNode(lab, node);
    for (const node of lab.nodes) await waitUntilReady(lab, node);
    addresses = lab.nodes.map((node) => readSubnetEnv(lab, node).RUDDER_SUBNET.replace('/24', ''));
    for (const node of [first, second]) await addContainer(lab, node);
    await execIn(lab, 'etcd', ['ip', 'route', 'add', `${addresses[0]}/32`, 'via', nodeAddress(lab, first)]);
  });
  afterAll(() => labDown(NAME));

  const waysFrom = async (node: LabNode) => (await cli(lab, node, 'connectivity', 'test')).stdout.trim();
  const tells = (node: LabNode, what: RegExp) =>
    waitFor(`${what}`, async () => what.test(await waysFrom(node)), 30_000);

  it('are not asked and ask nobody without one, and the reason is told', async () => {
    await tells(
      first,
      new RegExp(`^not asked: n3 \\(no answer from ${addresses[2]}, .*: is there one there\\?\\)$`, 'm'),
    );
    await tells(
      third,
      new RegExp(`^not asked: n1 \\(this host has not ${addresses[2]}, .*: is there one here\\?\\)$`, 'm'),
    );
    expect(await waysFrom(first)).not.toContain('not asked: n2');
  });

  it('ask each other as soon as they have one, also one that is made anew', async () => {
    await addContainer(lab, third);
    await tells(first, /^6 ways: 6 ok$/m);
    await tells(third, /^6 ways: 6 ok$/m);
    await removeContainer(lab, third);
    await tells(first, /^not asked: n3 /m);
    await addContainer(lab, third);
    await tells(first, /^6 ways: 6 ok$/m);
  });

  it('give nobody else a connection: no container of that bridge or another, no host of the underlay, no user here', async () => {
    const none = { connected: 0, heard: 0 };
    for (const member of ['c1', 'c2', 'n1', 'etcd'] as const) {
      expect(await knock(lab, member, addresses[0], '/challenge'), member).toEqual(none);
    }
    // With a bridge's address of another node, as well as a stranger and a container can have it.
    for (const member of ['c1', 'c2', 'etcd'] as const) {
      await execIn(lab, member, ['ip', 'address', 'add', `${addresses[1]}/32`, 'dev', 'lo']);
      expect(await knock(lab, member, addresses[0], '/challenge', { from: addresses[1] }), member).toEqual(none);
      await execIn(lab, member, ['ip', 'address', 'delete', `${addresses[1]}/32`, 'dev', 'lo']);
    }
    await tells(first, /^6 ways: 6 ok$/m);
  });

  it('give a user at the address of a node no answer', async () => {
    const from = addresses[1];
    expect(await knock(lab, 'n2', addresses[0], '/summary', { from })).toEqual({ connected: 1, heard: 0 });
  });
});
