import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, readSubnetEnv, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { ping, reaches } from './traffic.js';

const NAME = 'test-vxlan-fire';
const PORT = 8472;
const OUTSIDE_PORT = 8099;

/** The last node has no daemon: a stranger on the same link. */
describeWith(['root', 'vxlan', 'etcd', 'iptables', 'nft'], "the firewall around the kernel's VXLAN", () => {
  let lab: LabState;
  let nodes: LabNode[];
  let outside: ChildProcess;
  const container = (node: LabNode) => containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET);
  const host = (number: number) => nodeAddress(lab, lab.nodes[number - 1]);
  const counts = async (node: LabNode) => (await statusOf(lab, node)).firewall.forwarding!;

  beforeAll(async () => {
    const config = '{"Network":"10.240.0.0/16","Backend":{"Type":"vxlan"}}';
    lab = await createLab({ name: NAME, nodes: 3, config, daemon: { leaseTtl: '1h' } });
    nodes = lab.nodes.slice(0, 2);
    for (const node of nodes) await launchNode(lab, node, ['--ip-masq']);
    for (const node of nodes) await waitUntilReady(lab, node);
    for (const node of nodes) await addContainer(lab, node);
    await waitFor('a way between containers', () => reaches(lab, 'c1', container(nodes[1])), 10_000);
    // A web server that tells who asks: the world outside of the overlay.
    const code = `require('http').createServer((q, r) => r.end(q.socket.remoteAddress.replace('::ffff:', '')))
      .listen(${OUTSIDE_PORT}, '0.0.0.0', () => console.log('listening'))`;
    outside = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'etcd')}`, process.execPath, '-e', code]);
    await once(createInterface({ input: outside.stdout! }), 'line');
  });
  afterAll(async () => {
    outside?.kill('SIGKILL');
    await labDown(NAME);
  });

  /** A VXLAN frame that would be taken for one of the overlay's. */
  function frameOf(vni: number): Buffer {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(0x08000000, 0);
    header.writeUInt32BE(vni << 8, 4);
    return Buffer.concat([header, Buffer.alloc(60)]);
  }

  async function send(from: string, to: string, datagram: Buffer): Promise<void> {
    const code = `const s = require('dgram').createSocket('udp4');
      s.bind(() => {
        s.setBroadcast(true);
        s.send(Buffer.from('${datagram.toString('base64')}', 'base64'), ${PORT}, '${to}', () => s.close());
      })`;
    await execIn(lab, from as 'n1', [process.execPath, '-e', code]);
  }

  const sendFrame = (from: string, to: string, vni: number) => send(from, to, frameOf(vni));

  /** Sends it, and waits until it is told of on that node. */
  async function isDropped(from: string, to: string, node: LabNode, datagram = frameOf(1)): Promise<void> {
    const before = (await counts(node)).strangers;
    await send(from, to, datagram);
    const what = `the drop of what ${from} sends to ${to}`;
    await waitFor(what, async () => (await counts(node)).strangers === before + 1, 5000);
  }

  it("drops a stranger's datagram of our VNI and tells of it, and leaves one of another VNI alone", async () => {
    const before = (await counts(nodes[0])).strangers;
    await sendFrame('n3', host(1), 2);
    await sendFrame('n3', host(1), 1);
    await waitFor('the drop to be told', async () => (await counts(nodes[0])).strangers > before, 5000);
    expect(await counts(nodes[0])).toMatchObject({ strangers: before + 1, forged: 0 });
    const { stdout } = await cli(lab, nodes[0], 'doctor');
    expect(stdout).toMatch(/warning +firewall: 1 datagram of this VXLAN came from hosts that hold no lease/);
  });

  it("keeps containers from a member's tunnel port, also with its own address and masqueraded", async () => {
    const before = (await counts(nodes[0])).forwarded;
    await sendFrame('c1', host(2), 1);
    await waitFor('the drop to be told', async () => (await counts(nodes[0])).forwarded > before, 5000);
    expect(await counts(nodes[0])).toMatchObject({ forwarded: before + 1 });
    expect((await counts(nodes[1])).strangers).toBe(0);
    expect((await counts(nodes[1])).forged).toBe(0);
  });

  it('drops them at every address of the host, since the kernel takes them at every one', async () => {
    await execIn(lab, 'n1', ['ip', 'address', 'add', '192.0.2.77/32', 'dev', 'lo']);
    await execIn(lab, 'n3', ['ip', 'route', 'add', '192.0.2.77', 'via', host(1)]);
    await isDropped('n3', '192.0.2.77', nodes[0]);
    await isDropped('n3', host(1).replace(/\d+$/, '255'), nodes[0]);
    await isDropped('n1', '127.0.0.1', nodes[0]);
  });

  it('drops those of containers, to their own host and through the overlay to others', async () => {
    const gateway = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET.split('/')[0];
    await isDropped('c1', gateway(nodes[0]), nodes[0]);
    await isDropped('c1', host(1), nodes[0]);
    await isDropped('c1', gateway(nodes[1]), nodes[1]);
    await isDropped('c1', gateway(nodes[1]).replace(/\d+$/, '0'), nodes[1]);
  });

  it('drops what is too short to tell its VNI, as the first of two fragments may be', async () => {
    await isDropped('n3', host(1), nodes[0], Buffer.alloc(3));
  });

  it("takes a member's at another address of the host, as one may tell by --public-ip", async () => {
    const before = (await counts(nodes[0])).strangers;
    await execIn(lab, 'n2', ['ip', 'route', 'add', '192.0.2.77', 'via', host(1)]);
    await sendFrame('n2', '192.0.2.77', 1);
    await isDropped('n3', '192.0.2.77', nodes[0]);
    expect((await counts(nodes[0])).strangers).toBe(before + 1);
  });

  it('masquerades what containers send to the outside, and nothing inside', async () => {
    const get = (url: string) => [
      process.execPath,
      '-e',
      `require('http').get('${url}', (r) => r.pipe(process.stdout)).on('error', (e) => { throw e })`,
    ];
    expect(await execIn(lab, 'c1', get(`http://${etcdAddress(lab)}:${OUTSIDE_PORT}/`))).toBe(host(1));
    await ping(lab, 'c1', container(nodes[1]));
    expect((await statusOf(lab, nodes[0])).problems).toEqual([]);
  });

  it('lets the tunnel in where the host accepts nothing but what is established', async () => {
    const rules = [
      ['-A', 'INPUT', '-i', 'lo', '-j', 'ACCEPT'],
      ['-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'ACCEPT'],
      ['-P', 'INPUT', 'DROP'],
    ];
    for (const member of ['n1', 'n2'] as const)
      for (const rule of rules) await execIn(lab, member, ['iptables', ...rule]);
    const isThere = async () => (await execIn(lab, 'n1', ['iptables-save'])).includes('-A INPUT -j RUDDER-INPUT');
    await waitFor('our rule to be there', isThere, 10_000);
    // The tunnel has sent nothing for which an entry could be there: its datagrams are not tracked.
    await waitFor('traffic both ways', () => reaches(lab, 'c1', container(nodes[1])), 10_000);
    await ping(lab, 'c2', container(nodes[0]));
    const [first] = (await execIn(lab, 'n1', ['iptables-save']))
      .split('\n')
      .filter((line) => line.startsWith('-A INPUT'));
    expect(first).toBe('-A INPUT -j RUDDER-INPUT');
  });
});
