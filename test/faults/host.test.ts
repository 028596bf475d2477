import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { nodeAddress, nodeName, switchAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { logLines, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { type Stream, startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-host';
/** The promise for whatever somebody does to the device or the underlay. */
const RESTORED_MS = 5000;

const UP = 'ip link show up rudder0 2>/dev/null | grep -q rudder0';

describeWith(['root', 'tun', 'etcd'], 'somebody changes the host under running traffic', () => {
  let lab: LabState;
  let victim: LabNode;
  let stream: Stream;
  const sh = (command: string) => execIn(lab, nodeName(victim), ['sh', '-c', command]);
  const link = async (name: string) => JSON.parse(await sh(`ip -j address show ${name}`))[0];
  const env = () => readSubnetEnv(lab, victim);
  const logged = (text: RegExp) => logLines(lab, victim).filter((line) => text.test(String(line.msg))).length;

  const published = () => etcdctl(lab, 'get', '--prefix', '--print-value-only', '/coreos.com/network/subnets/');
  const repairs = async () => (await statusOf(lab, victim)).device.repairs;

  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2 });
    victim = lab.nodes[1];
  });
  afterAll(() => labDown(NAME));
  beforeEach(async () => {
    stream = await startStream(lab, 'c1', containerAddress(env().RUDDER_SUBNET));
  });
  afterEach(async () => {
    await stream.stop();
    expect(isRunning(victim.process!)).toBe(true);
  });

  /** The device as contract 2.3 wants it. */
  async function isRight(mtu = 1472): Promise<boolean> {
    const device = await link('rudder0');
    // Above all no IPv6 link-local one.
    const addresses = device.addr_info;
    const own = env().RUDDER_SUBNET.replace('.1/24', '.0');
    const routes = await sh('ip route show dev rudder0');
    return (
      device.mtu === mtu &&
      device.txqlen === 1000 &&
      device.flags.includes('UP') &&
      addresses.length === 1 &&
      `${addresses[0].local}/${addresses[0].prefixlen}` === `${own}/16` &&
      routes.includes('10.240.0.0/16')
    );
  }

  it.each([
    ['deleted', 'ip link delete rudder0'],
    [
      'deleted, and set down when it is back',
      `ip link delete rudder0; until ${UP}; do sleep 0.01; done; ip link set rudder0 down`,
    ],
    ['set down', 'ip link set rudder0 down'],
    ['stripped of its address', 'ip address flush dev rudder0'],
    ['given another address', 'ip address add 10.99.0.1/24 dev rudder0'],
    ['stripped of its route', 'ip route delete 10.240.0.0/16 dev rudder0'],
    ['given another MTU', 'ip link set rudder0 mtu 1400'],
    ['given another name', 'ip link set rudder0 down; ip link set rudder0 name theirs0'],
    ['given an MTU below that of IPv6', 'ip link set rudder0 mtu 1200'],
  ])('rudder0 %s: as it was within 5 s, and packets flow', async (_, command) => {
    const before = await repairs();
    await sh(command);
    await waitFor('the device to be restored', () => isRight(), RESTORED_MS);
    await stream.flows(RESTORED_MS);
    await waitFor('it to be counted', async () => (await repairs()) > before, RESTORED_MS);
    expect(await repairs()).toBe(before + 1);
    expect(logged(/put right/)).toBeGreaterThan(0);
  });

  it('a lower MTU of the underlay is followed, by subnet.env too, and a higher one again', async () => {
    await sh('ip link set eth0 mtu 1400');
    await waitFor('the device to follow', () => isRight(1372), RESTORED_MS);
    await waitFor('subnet.env to follow', () => env().RUDDER_MTU === '1372', RESTORED_MS);
    await sh('ip link set eth0 mtu 1500');
    await waitFor('the device to follow', () => isRight(1472), RESTORED_MS);
    await waitFor('subnet.env to follow', () => env().RUDDER_MTU === '1472', RESTORED_MS);
    await stream.flows(RESTORED_MS);
  });

  it('an MTU of the underlay below that of IPv6, and above it again, brings no IPv6 address', async () => {
    await sh('ip link set eth0 mtu 1300');
    await waitFor('the device to follow', () => isRight(1272), RESTORED_MS);
    await sh('ip link set eth0 mtu 1500');
    await waitFor('the device to follow', () => isRight(1472), RESTORED_MS);
    await sh('ip link set rudder0 down; ip link set rudder0 up');
    await waitFor('the device to be restored', () => isRight(1472), RESTORED_MS);
    expect((await link('rudder0')).addr_info).toHaveLength(1);
    await stream.flows(RESTORED_MS);
  });

  it('an IPv6 address that somebody gives to the device is taken away', async () => {
    await sh('echo 0 >/proc/sys/net/ipv6/conf/rudder0/disable_ipv6; ip address add fd00::7/64 dev rudder0');
    await waitFor('the device to be restored', () => isRight(), 2 * RESTORED_MS);
    await stream.flows(RESTORED_MS);
  });

  it.each<[string, (file: string) => void]>([
    ['removed', (file) => rmSync(file)],
    [
      "made another subnet's",
      (file) => writeFileSync(file, readFileSync(file, 'utf8').replace(/\.\d+\.1\//, '.99.1/')),
    ],
  ])('subnet.env %s: written again within 5 s, and told', async (_, change) => {
    const { subnetFile } = nodePaths(lab, victim);
    const before = readFileSync(subnetFile, 'utf8');
    const told = () => logged(/the subnet file was not as it should be: written again/);
    const toldBefore = told();
    change(subnetFile);
    const isBack = () => existsSync(subnetFile) && readFileSync(subnetFile, 'utf8') === before;
    await waitFor('the file to be back', isBack, RESTORED_MS);
    await waitFor('it to be told', () => told() > toldBefore, RESTORED_MS);
    await stream.flows(RESTORED_MS);
  });

  it('a link that flaps is waited for', async () => {
    for (let i = 0; i < 5; i++) {
      await sh(`ip link set eth0 down; ip link set eth0 up; ip route replace default via ${switchAddress(lab)}`);
    }
    await stream.flows(RESTORED_MS);
    // Down for long enough to be noticed.
    await sh('ip link set eth0 down');
    await waitFor('the loss to be told', () => logged(/could not be followed/) > 0, RESTORED_MS);
    await sh(`ip link set eth0 up; ip route replace default via ${switchAddress(lab)}`);
    await stream.flows(RESTORED_MS);
  });

  it('another address of the underlay is published, bound, and followed by peers', async () => {
    const old = nodeAddress(lab, victim);
    const next = old.replace(/\d+$/, '99');
    const before = env();
    const move = (from: string, to: string) =>
      sh(
        `ip address delete ${from}/24 dev eth0; ip address add ${to}/24 dev eth0; ip route replace default via ${switchAddress(lab)}`,
      );
    await move(old, next);
    await waitFor('etcd to know', async () => (await published()).includes(`"${next}"`), RESTORED_MS);
    await stream.flows(RESTORED_MS);
    expect(env()).toEqual(before);
    expect(await published()).not.toContain(`"${old}"`);
    // And back: the next test of a kind finds what it expects.
    await move(next, old);
    await waitFor('etcd to know', async () => (await published()).includes(`"${old}"`), RESTORED_MS);
    await stream.flows(RESTORED_MS);
  });

  it('a default route that leads into the overlay is not followed, and said', async () => {
    const before = await published();
    const container = containerAddress(env().RUDDER_SUBNET);
    await sh(`ip route replace default via ${container} dev docker0`);
    const problem = async () => (await statusOf(lab, victim)).hostProblem;
    await waitFor('it to be noticed', async () => (await problem()) !== null, RESTORED_MS);
    expect(await problem()).toMatch(/^public address \S+ lies inside the overlay 10\.240\.0\.0\/16/);
    expect(await published()).toBe(before);
    await stream.flows(RESTORED_MS);
    await sh(`ip route replace default via ${switchAddress(lab)} dev eth0`);
    await waitFor('it to be well again', async () => (await problem()) === null, RESTORED_MS);
  });

  it('a node starts with the address that the kernel sends from, not with a virtual or a link-local one', async () => {
    const own = nodeAddress(lab, victim);
    const [virtual, second] = ['200', '201'].map((last) => own.replace(/\d+$/, last));
    const give = (...addresses: string[]) =>
      sh(
        `ip address flush dev eth0; ${addresses.map((text) => `ip address add ${text} dev eth0`).join('; ')}; ip route replace default via ${switchAddress(lab)}`,
      );
    await stopNode(lab, victim);
    // As after a first start on this host: no address of a last run.
    const state = `${nodePaths(lab, victim).stateDir}/state.json`;
    const remembered = () => JSON.parse(readFileSync(state, 'utf8')) as { address?: string };
    writeFileSync(state, JSON.stringify({ ...remembered(), address: undefined }));
    await give('169.254.7.7/16', `${virtual}/32`, `${own}/24`, `${second}/24`);
    await startNode(lab, victim);
    expect((await statusOf(lab, victim)).node.publicIp).toBe(own);
    expect(remembered().address).toBe(own);
    const told = logLines(lab, victim).find(({ msg }) => msg?.startsWith('the interface has several addresses'));
    expect(told).toMatchObject({ address: own, others: [second, virtual, '169.254.7.7'] });

    // The kernel would send from the second one now: the address of the last run stays.
    await stopNode(lab, victim);
    await give(`${second}/24`, `${own}/24`);
    await startNode(lab, victim);
    expect((await statusOf(lab, victim)).node.publicIp).toBe(own);
    await give(`${own}/24`);
    await stream.flows(RESTORED_MS);
  });

  it('a node starts where the default route has two next hops', async () => {
    const hops = `nexthop via ${switchAddress(lab)} dev eth0 nexthop via ${nodeAddress(lab, lab.nodes[0])} dev eth0`;
    await sh(`ip route replace default ${hops}`);
    await stopNode(lab, victim);
    await startNode(lab, victim);
    expect((await statusOf(lab, victim)).hostProblem).toBeNull();
    await stream.flows(RESTORED_MS);
    await sh(`ip route replace default via ${switchAddress(lab)} dev eth0`);
  });
});
