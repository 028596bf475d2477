import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/cli/doctor/host.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { ping } from './traffic.js';

const NAME = 'test-foreign';

/** A table of nft's with one chain, as firewall managers have it. */
const table = (hook: string, rule: string) =>
  `table inet corp { chain own { type ${hook}; policy accept; ${rule}; }; }`;

describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], "somebody else's firewall", () => {
  let lab: LabState;
  let foreign: string;

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '1h' } });
    foreign = labStatus(lab)[1].containerAddress;
    await ping(lab, 'c1', foreign);
  });
  afterEach(() => labDown(NAME));

  const status = () => statusOf(lab, lab.nodes[0]);
  const passage = async () => (await status()).firewall.forwarding;
  /** Changes rules, and waits until that is noticed: what passed before says nothing any more. */
  async function nft(...args: string[]): Promise<void> {
    const { checks } = (await status()).firewall;
    await execIn(lab, 'n1', ['nft', ...args]);
    await waitFor('the change to be noticed', async () => (await status()).firewall.checks > checks, 10_000);
  }
  const traffic = () =>
    execIn(lab, 'c1', ['ping', '-n', '-c', '8', '-i', '0.02', '-W', '0.2', foreign]).catch(() => undefined);
  async function finding(check: string): Promise<Finding | undefined> {
    const { stdout } = await cli(lab, lab.nodes[0], 'doctor', '--json');
    return (JSON.parse(stdout) as Finding[]).find((one) => one.check === check);
  }

  it('that lets all pass is no matter', async () => {
    await nft(table('filter hook forward priority 10', 'ip saddr 192.0.2.1 drop'));
    await waitFor(
      'traffic to pass',
      async () => {
        await traffic();
        // Only the first packet of a connection tells, so one has to begin at the other side.
        await ping(lab, 'c2', labStatus(lab)[0].containerAddress);
        const { out, in: inward } = (await passage())!;
        return out === 'passes' && inward === 'passes';
      },
      10_000,
    );
    expect(await passage()).toMatchObject({ out: 'passes', in: 'passes', suspects: [] });
    expect((await status()).problems).toEqual([]);
    expect(await finding('container way')).toMatchObject({ state: 'ok' });
    expect(await finding('container route')).toMatchObject({ state: 'ok' });
  });

  describe.each([
    [
      'nft rejects behind us',
      table('filter hook forward priority 10', 'oifname "rudder0" reject'),
      'dropped',
      'forward 10: reject',
    ],
    [
      'nft drops before us',
      table('filter hook forward priority -10', 'oifname "rudder0" drop'),
      'dropped',
      'forward -10: drop',
    ],
    [
      'nft translates before us',
      table('nat hook postrouting priority 95', 'oifname "rudder0" masquerade'),
      'translated',
      'postrouting 95: masquerade',
    ],
  ])('where %s', (_, rules, what, chain) => {
    it('is seen by status and doctor, which name it, and forgotten when it is gone', async () => {
      await nft(rules);
      await waitFor(
        'the change to be noticed',
        async () => {
          await traffic();
          return (await passage())?.out === what;
        },
        15_000,
      );
      expect((await passage())?.suspects).toEqual([`inet corp own (${chain})`]);
      expect((await status()).problems.join()).toContain(
        `packets of containers out through rudder0 are ${what}, perhaps by inet corp`,
      );
      expect((await cli(lab, lab.nodes[0], 'status')).code).not.toBe(0);
      if (what === 'dropped') {
        const found = await finding('container way');
        expect(found).toMatchObject({ state: 'problem' });
        expect(found?.detail).toContain(`inet corp own (${chain})`);
        expect(found?.remedy).toContain('docs/firewalls.md');
      }
      await nft('delete', 'table', 'inet', 'corp');
      await waitFor(
        'the node to be ready',
        async () => {
          await traffic();
          return (await status()).problems.length === 0;
        },
        15_000,
      );
      expect(await finding('container way')).toMatchObject({ state: 'ok' });
    });
  });

  it('in the older tables is named too', async () => {
    await execIn(lab, 'n1', ['iptables-legacy', '-P', 'FORWARD', 'DROP']);
    const found = await finding('container way');
    expect(found?.detail).toContain('iptables-legacy filter FORWARD (forward: drop)');
  });

  it('that drops the datagrams of the tunnel, which connection tracking does not see, is named', async () => {
    await nft(
      table(
        'filter hook input priority 10',
        'iifname "lo" accept; ct state established,related accept; ip protocol udp drop',
      ),
    );
    const found = await finding('overlay');
    expect(found).toMatchObject({ state: 'problem' });
    expect(found?.remedy).toContain('inet corp own (input 10: drop)');
  });

  it('a policy rule that takes the overlay elsewhere is found as a container would meet it', async () => {
    await execIn(lab, 'n1', ['ip', 'route', 'add', 'blackhole', '10.240.0.0/16', 'table', '52']);
    await execIn(lab, 'n1', ['ip', 'rule', 'add', 'iif', 'docker0', 'lookup', '52', 'priority', '5210']);
    const found = await finding('container route');
    expect(found).toMatchObject({ state: 'problem' });
    const remedy = /"(ip rule add [^"]+)"/.exec(found!.remedy)?.[1];
    await execIn(lab, 'n1', remedy!.split(' '));
    expect(await finding('container route')).toMatchObject({ state: 'ok' });
    await ping(lab, 'c1', foreign);
  });
});
