import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, nodeAddress, switchAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, launchNode, logText, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from '../e2e/cli.js';
import { reaches } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-cover';
/** Holds the lab's underlay, and leases nothing of it. */
const WIDE = '{"Network":"172.16.0.0/12","SubnetMin":"172.20.0.0","SubnetMax":"172.21.0.0"}';

describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], 'an overlay that holds the addresses of its underlay', () => {
  let lab: LabState;
  let node: LabNode;

  /** A rack of its own for n1: it reaches etcd and the others through its router only. */
  beforeEach(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: WIDE, daemon: { leaseTtl: '1h' } });
    node = lab.nodes[0];
    await execIn(lab, 'switch', ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.br0.send_redirects=0']);
    const own = nodeAddress(lab, node);
    const gateway = switchAddress(lab);
    for (const line of [
      `address delete ${own}/24 dev eth0`,
      `address add ${own}/32 dev eth0`,
      `route add ${gateway}/32 dev eth0`,
      `route add default via ${gateway} dev eth0`,
    ]) {
      await execIn(lab, 'n1', ['ip', ...line.split(' ')]);
    }
  });
  afterEach(() => labDown(NAME));

  const rudder0 = () => execIn(lab, 'n1', ['ip', '-4', 'route', 'show', 'dev', 'rudder0']);
  /** The remedy of a text, as its reader would run it. */
  const follow = async (text: string) => {
    const command = /run "(ip route [^"]+)"/.exec(text)?.[1];
    expect(command).toBeDefined();
    await execIn(lab, 'n1', command!.split(' '));
  };
  const refusal = async () => {
    await launchNode(lab, node);
    await waitFor('the start to be refused', () => !isRunning(node.process!), 10_000);
    return logText(lab, node);
  };
  const problems = async () => (await statusOf(lab, node)).problems.join('\n');

  it('is refused in one line, which names the address and a remedy that heals', async () => {
    const text = await refusal();
    expect(text).toMatch(
      new RegExp(`rudder: etcd endpoint http://${etcdAddress(lab)}:2379 lies inside the overlay 172\\.16`),
    );
    // Nothing was taken from the host, nor left on it.
    expect(await reaches(lab, 'n1', etcdAddress(lab))).toBe(true);
    expect(await execIn(lab, 'n1', ['ip', '-o', 'link'])).not.toContain('rudder0');
    const [program, ...args] = daemonCommand(lab, node);
    const script = '"$@" >/dev/null 2>&1; echo "exit $?"';
    expect(await execIn(lab, 'n1', ['sh', '-c', script, 'sh', program, ...args])).toContain(
      `exit ${EXIT_CODES['network-config']}`,
    );
    await follow(text);
    await startNode(lab, node);
    expect((await statusOf(lab, node)).problems).toEqual([]);
    expect(await reaches(lab, 'n1', etcdAddress(lab))).toBe(true);
  });

  it('that cuts a running node off withdraws its routes, says so, and comes back when there is another way', async () => {
    await follow(await refusal());
    await startNode(lab, node);
    expect(await rudder0()).toContain('172.16.0.0/12');
    await execIn(lab, 'n1', ['ip', 'route', 'delete', `${etcdAddress(lab)}/32`]);
    await waitFor('the routes to be withdrawn', async () => (await rudder0()) === '', 10_000);
    expect(await reaches(lab, 'n1', etcdAddress(lab))).toBe(true);
    expect(await problems()).toMatch(/cut off: etcd endpoint .* routed into rudder0/);
    const way = `route add ${etcdAddress(lab)}/32 via ${switchAddress(lab)} dev eth0`;
    await execIn(lab, 'n1', ['ip', ...way.split(' ')]);
    await waitFor('the routes to be back', async () => (await rudder0()).includes('172.16.0.0/12'), 10_000);
    await waitFor('the node to be ready', async () => (await problems()) === '', 10_000);
  });

  it('of an earlier run that has taken etcd away is taken back by the next start', async () => {
    await follow(await refusal());
    await startNode(lab, node);
    await stopNode(lab, node);
    await execIn(lab, 'n1', ['ip', 'route', 'delete', `${etcdAddress(lab)}/32`]);
    expect(await reaches(lab, 'n1', etcdAddress(lab))).toBe(false);
    // With what it last knows: no reason to cover etcd either.
    expect(await refusal()).toMatch(
      /cut off: .*routed into rudder0[\s\S]*rudder: etcd endpoint .* lies inside the overlay/,
    );
    expect(await reaches(lab, 'n1', etcdAddress(lab))).toBe(true);
  });

  it('skips a peer that only it would reach, tells and shows it, and takes it in when it has a route', async () => {
    await follow(await refusal());
    const peer = nodeAddress(lab, lab.nodes[1]);
    await startNode(lab, lab.nodes[1]);
    await startNode(lab, node);
    const shown = async () => (await statusOf(lab, node)).peers[0]?.problem ?? '';
    await waitFor('the peer to be skipped', async () => (await shown()) !== '', 5000);
    expect(await shown()).toMatch(
      new RegExp(`${peer.replaceAll('.', '\\.')} is reached only through the overlay itself`),
    );
    expect(logText(lab, node)).toContain('a peer is skipped');
    expect((await cli(lab, node, 'status')).stdout).toMatch(/is skipped: its address/);
    // As the text says: a more specific route.
    await execIn(lab, 'n1', ['ip', 'route', 'add', peer, 'via', switchAddress(lab), 'dev', 'eth0']);
    await waitFor('the peer to be one', async () => (await shown()) === '', 10_000);
    const { subnet } = (await statusOf(lab, node)).peers[0];
    await waitFor('it to answer', () => reaches(lab, 'n1', subnet.split('/')[0]), 5000);
  });
});

describeWith(['root', 'tun', 'etcd'], 'a lease whose node would be reached through its own subnet', () => {
  let lab: LabState;

  beforeEach(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}', daemon: { leaseTtl: '1h' } });
    await startNode(lab, lab.nodes[0]);
  });
  afterEach(() => labDown(NAME));

  it('is no peer, also in the first subnet, which is not leased at random', async () => {
    const put = (subnet: string, ip: string) =>
      etcdctl(lab, 'put', `/coreos.com/network/subnets/${subnet}-24`, JSON.stringify({ PublicIP: ip }));
    await put('10.240.0.0', '10.240.0.7');
    const status = () => statusOf(lab, lab.nodes[0]);
    await waitFor('the lease to be seen', async () => (await status()).peers.length === 1, 5000);
    expect((await status()).peers[0].problem).toMatch(/10\.240\.0\.7 lies in the leased subnet 10\.240\.0\.0\/24/);
    await execIn(lab, 'n1', ['ping', '-n', '-c', '1', '-W', '1', '10.240.0.9']).catch(() => undefined);
    const { counters } = (await status()).packetPath!;
    expect(counters.out_packets).toBe(0);
    expect(counters.out_drop_no_route).toBeGreaterThan(0);
  });
});
