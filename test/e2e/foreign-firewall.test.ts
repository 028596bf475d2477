import { afterAll, beforeAll, expect, it } from 'vitest';
import { labDown, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';
import { foreignFirewall, foreignTable } from './foreign.js';
import { ping } from './traffic.js';

const NAME = 'test-foreign';

/** One of each kind of table: `test/faults` has the others. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], "somebody else's firewall", () => {
  let lab: LabState;
  let host: ReturnType<typeof foreignFirewall>;

  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '1h' } });
    host = foreignFirewall(lab);
    await ping(lab, 'c1', host.foreign);
  });
  afterAll(() => labDown(NAME));

  it('that drops before us is seen by status, which names it, and forgotten when it is gone', async () => {
    await host.nft(foreignTable('filter hook forward priority -10', 'oifname "rudder0" drop'));
    await host.underTraffic('the drops to be seen', async () => (await host.passage())?.out === 'dropped');
    expect((await host.passage())?.suspects).toEqual(['inet corp own (forward -10: drop)']);
    expect((await host.status()).problems.join()).toContain(
      'packets of containers out through rudder0 are dropped, perhaps by inet corp',
    );
    expect((await cli(lab, lab.nodes[0], 'status')).code).not.toBe(0);
    await host.nft('delete', 'table', 'inet', 'corp');
    await host.underTraffic('the node to be ready', async () => (await host.status()).problems.length === 0);
  });

  it('in the older tables is named by the doctor', async () => {
    await execIn(lab, 'n1', ['iptables-legacy', '-P', 'FORWARD', 'DROP']);
    const found = await host.finding('container way');
    expect(found?.detail).toContain('iptables-legacy filter FORWARD (forward: drop)');
  });
});
