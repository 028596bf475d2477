import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { cli } from '../e2e/cli.js';
import { foreignFirewall, foreignTable } from '../e2e/foreign.js';
import { ping } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-foreign';

describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], "somebody else's firewall", () => {
  let lab: LabState;
  let host: ReturnType<typeof foreignFirewall>;

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '1h' } });
    host = foreignFirewall(lab);
    await ping(lab, 'c1', host.foreign);
  });
  afterEach(() => labDown(NAME));

  it('that lets all pass is no matter', async () => {
    await host.nft(foreignTable('filter hook forward priority 10', 'ip saddr 192.0.2.1 drop'));
    await host.underTraffic('traffic to pass', async () => {
      // Only the first packet of a connection tells, so one has to begin at the other side.
      await ping(lab, 'c2', labStatus(lab)[0].containerAddress);
      const { out, in: inward } = (await host.passage())!;
      return out === 'passes' && inward === 'passes';
    });
    expect(await host.passage()).toMatchObject({ out: 'passes', in: 'passes', suspects: [] });
    expect((await host.status()).problems).toEqual([]);
    expect(await host.finding('container way')).toMatchObject({ state: 'ok' });
    expect(await host.finding('container route')).toMatchObject({ state: 'ok' });
  });

  describe.each([
    [
      'nft rejects behind us',
      foreignTable('filter hook forward priority 10', 'oifname "rudder0" reject'),
      'dropped',
      'forward 10: reject',
    ],
    [
      'nft drops before us',
      foreignTable('filter hook forward priority -10', 'oifname "rudder0" drop'),
      'dropped',
      'forward -10: drop',
    ],
    [
      'nft translates before us',
      foreignTable('nat hook postrouting priority 95', 'oifname "rudder0" masquerade'),
      'translated',
      'postrouting 95: masquerade',
    ],
  ])('where %s', (_, rules, what, chain) => {
    it('is seen by status and doctor, which name it, and forgotten when it is gone', async () => {
      await host.nft(rules);
      await host.underTraffic(`packets to be ${what}`, async () => (await host.passage())?.out === what);
      expect((await host.passage())?.suspects).toEqual([`inet corp own (${chain})`]);
      expect((await host.status()).problems.join()).toContain(
        `packets of containers out through rudder0 are ${what}, perhaps by inet corp`,
      );
      expect((await cli(lab, lab.nodes[0], 'status')).code).not.toBe(0);
      if (what === 'dropped') {
        const found = await host.finding('container way');
        expect(found).toMatchObject({ state: 'problem' });
        expect(found?.detail).toContain(`inet corp own (${chain})`);
        expect(found?.remedy).toContain('docs/firewalls.md');
      }
      await host.nft('delete', 'table', 'inet', 'corp');
      await host.underTraffic('the node to be ready', async () => (await host.status()).problems.length === 0);
      expect(await host.finding('container way')).toMatchObject({ state: 'ok' });
    });
  });

  it('that drops the datagrams of the tunnel, which connection tracking does not see, is named', async () => {
    await host.nft(
      foreignTable(
        'filter hook input priority 10',
        'iifname "lo" accept; ct state established,related accept; ip protocol udp drop',
      ),
    );
    const found = await host.finding('overlay');
    expect(found).toMatchObject({ state: 'problem' });
    expect(found?.remedy).toContain('inet corp own (input 10: drop)');
  });

  it('a policy rule that takes the overlay elsewhere is found as a container would meet it', async () => {
    await execIn(lab, 'n1', ['ip', 'route', 'add', 'blackhole', '10.240.0.0/16', 'table', '52']);
    await execIn(lab, 'n1', ['ip', 'rule', 'add', 'iif', 'docker0', 'lookup', '52', 'priority', '5210']);
    const found = await host.finding('container route');
    expect(found).toMatchObject({ state: 'problem' });
    const remedy = /"(ip rule add [^"]+)"/.exec(found!.remedy)?.[1];
    await execIn(lab, 'n1', remedy!.split(' '));
    expect(await host.finding('container route')).toMatchObject({ state: 'ok' });
    await ping(lab, 'c1', host.foreign);
  });
});
