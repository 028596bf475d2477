import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { etcdAddress, namespaceOf, nodeAddress, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { type Docker, IMAGE, startDocker } from '../e2e/docker.js';
import { exchange, ping, reaches } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

/** Rules that somebody flushed are back within seconds. */
const REPAIR_DEADLINE_MS = 10_000;
const OUTSIDE_PORT = 8099;

interface Behind {
  readonly backend: object;
  readonly nodes: number;
  readonly mtu: number;
  /** What packets of a node itself come from: its address in the overlay, or its own where no device has one. */
  readonly knownBy: 'overlay address' | 'address';
}

const behind = (name: string, given: Behind) => () => {
  const { backend, nodes, mtu, knownBy } = given;
  let lab: LabState;
  let dockers: Docker[];
  /** Address of each node's container. */
  let addresses: string[];
  let outside: ChildProcess;
  /** All there are: from, to. */
  let pairs: number[][];
  const members = () => lab.nodes.map((node) => nodeName(node));

  beforeAll(async () => {
    const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: backend });
    lab = await createLab({ name, nodes, config });
    for (const node of lab.nodes) {
      await startNode(lab, node, ['--ip-masq']);
      // Docker drops what it did not start only where it had to turn forwarding on by itself.
      await execIn(lab, `n${node.number}`, ['sysctl', '-qw', 'net.ipv4.ip_forward=0']);
    }
    dockers = await Promise.all(lab.nodes.map((node) => startDocker(lab, node)));
    addresses = await Promise.all(dockers.map(startWeb));
    // Docker puts its rules first when it starts; ours are there again at the next look.
    await waitFor('our rules to be first', allRulesFirst, REPAIR_DEADLINE_MS);
    outside = await startOutside();
    pairs = lab.nodes.flatMap((_, from) => lab.nodes.flatMap((_, to) => (from === to ? [] : [[from, to]])));
  }, 180_000);

  afterAll(async () => {
    outside?.kill('SIGKILL');
    for (const docker of dockers ?? []) {
      await docker.docker('rm', '-f', 'web').catch(() => undefined);
      await docker.stop();
    }
    await labDown(name);
  }, 60_000);

  async function startWeb({ docker }: Docker): Promise<string> {
    const httpd = ['httpd', '-f', '-p', '80', '-h', '/www'];
    await docker('run', '-d', '--restart=always', '--stop-timeout=1', '--name', 'web', IMAGE, '/bin/busybox', ...httpd);
    return docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'web');
  }

  /** A web server in etcd's namespace that tells who asks: the world outside of the overlay. */
  async function startOutside(): Promise<ChildProcess> {
    const code = `require('http').createServer((q, r) => r.end(q.socket.remoteAddress.replace('::ffff:', '')))
      .listen(${OUTSIDE_PORT}, '0.0.0.0', () => console.log('listening'))`;
    const server = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'etcd')}`, process.execPath, '-e', code]);
    await once(createInterface({ input: server.stdout }), 'line');
    return server;
  }

  /** Runs a program in a node's container. */
  const inContainer = (node: number, ...command: string[]) =>
    dockers[node].docker('exec', 'web', '/bin/busybox', ...command);
  // Not wget's own -T: with it Debian's static busybox crashes.
  const wget = (url: string) => ['timeout', '5', 'wget', '-q', '-O', '-', url];

  /** Containers reach each other by TCP, UDP and ping of full size at their own addresses; nodes reach them too. */
  async function overlayWorks(): Promise<void> {
    for (const [from, to] of pairs) {
      expect(await inContainer(from, ...wget(`http://${addresses[to]}/cgi-bin/who`))).toBe(addresses[from]);
      await inContainer(from, 'ping', '-c', '1', '-W', '2', addresses[to]);
      expect(await udpSender(from, to)).toBe(addresses[from]);
      const member = `n${from + 1}`;
      const inFull = ['-M', 'do', '-s', String(mtu - 28)];
      await ping(lab, member, addresses[to], ...inFull);
      const [program, ...args] = [...(await networkOf(from)), 'ping', '-n', '-c', '1', '-W', '2', ...inFull];
      await execa(program, [...args, addresses[to]]);
      const own = labStatus(lab)[from].subnet.replace(/\.1\/\d+$/, '.0');
      const seen = await execIn(lab, member, ['busybox', ...wget(`http://${addresses[to]}/cgi-bin/who`)]);
      const address = knownBy === 'address' ? nodeAddress(lab, lab.nodes[from]) : own;
      expect(seen, `a node is known by its ${knownBy}`).toBe(address);
      await inContainer(to, 'ping', '-c', '1', '-W', '2', address);
    }
  }

  /** The address that a UDP server in a container sees. busybox has none, so ours runs in the container's network. */
  async function udpSender(from: number, to: number): Promise<string> {
    const [client, server] = await Promise.all([from, to].map(networkOf));
    return (await exchange(client, server, 'udp', addresses[to], 1000)).received.from;
  }

  /** The command that enters the network of a node's container. */
  async function networkOf(node: number): Promise<string[]> {
    const pid = await dockers[node].docker('inspect', '-f', '{{.State.Pid}}', 'web');
    return ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
  }

  const outsideSees = (node: number) => inContainer(node, ...wget(`http://${etcdAddress(lab)}:${OUTSIDE_PORT}/`));

  it('has both of its traps set: it masquerades, and it drops what it did not start', async () => {
    for (const member of members()) {
      const rules = await execIn(lab, member, ['iptables-save']);
      expect(rules).toMatch(/^:FORWARD DROP/m);
      expect(rules).toMatch(/^-A POSTROUTING -s [\d.]+\/24 ! -o docker0 -j MASQUERADE/m);
    }
  });

  it('lets containers and nodes reach each other without NAT, and the outside with it', async () => {
    await overlayWorks();
    expect(await outsideSees(0)).toBe(nodeAddress(lab, lab.nodes[0]));
    expect(await outsideSees(1)).toBe(nodeAddress(lab, lab.nodes[1]));
  });

  it('lets in no host of that link that is no member', async () => {
    for (const [i, node] of lab.nodes.entries()) {
      const way = `ip route replace ${addresses[i]}/32 via ${nodeAddress(lab, node)}`;
      await execIn(lab, 'etcd', way.split(' '));
      expect(await reaches(lab, 'etcd', addresses[i])).toBe(false);
      await execIn(lab, 'etcd', ['ip', 'route', 'delete', `${addresses[i]}/32`]);
    }
  });

  it('still does after it was restarted', { timeout: 120_000 }, async () => {
    await Promise.all(dockers.map((docker) => docker.restart()));
    await waitFor('the rules to be first again', allRulesFirst, REPAIR_DEADLINE_MS);
    for (const [i, { docker }] of dockers.entries()) {
      addresses[i] = await docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'web');
    }
    await overlayWorks();
    expect(await outsideSees(0)).toBe(nodeAddress(lab, lab.nodes[0]));
  });

  it('still does seconds after somebody flushed the rules', async () => {
    for (const member of members()) {
      await execIn(lab, member, ['iptables', '-F', 'FORWARD']);
      await execIn(lab, member, ['iptables', '-t', 'nat', '-F', 'POSTROUTING']);
    }
    await waitFor('the rules to be back', allRulesFirst, REPAIR_DEADLINE_MS);
    await overlayWorks();
    expect(await outsideSees(0)).toBe(nodeAddress(lab, lab.nodes[0]));
  });

  it('finds rules that are right left alone', async () => {
    const before = await firewall();
    for (const [i, change] of ['-N', '-X'].entries()) {
      await execIn(lab, 'n1', ['iptables', change, 'STRANGER']);
      await waitFor('another look', async () => (await firewall()).checks > before.checks + i, REPAIR_DEADLINE_MS);
    }
    expect((await firewall()).repairs).toBe(before.repairs);
  });

  async function allRulesFirst(): Promise<boolean> {
    const saved = await Promise.all(members().map((member) => execIn(lab, member, ['iptables-save'])));
    return saved.every((text) => {
      // Which may stand before ours, that ask it first anyway.
      const lines = text.split('\n').filter((line) => line !== '-A FORWARD -j DOCKER-USER');
      const first = (chain: string) => lines.find((line) => line.startsWith(`-A ${chain} `));
      return (
        first('FORWARD') === '-A FORWARD -j RUDDER-FORWARD' &&
        first('POSTROUTING') === '-A POSTROUTING -j RUDDER-POSTROUTING'
      );
    });
  }

  const firewall = async () => (await statusOf(lab, lab.nodes[0])).firewall;
};

describeWith(
  ['root', 'tun', 'etcd', 'iptables', 'docker'],
  'Docker with default options',
  behind('test-docker', { backend: { Type: 'udp' }, nodes: 2, mtu: 1472, knownBy: 'overlay address' }),
);
describeWith(
  ['root', 'vxlan', 'etcd', 'iptables', 'docker'],
  'Docker with default options, over vxlan',
  behind('test-vxlan-docker', { backend: { Type: 'vxlan' }, nodes: 3, mtu: 1450, knownBy: 'overlay address' }),
);
describeWith(
  ['root', 'etcd', 'iptables', 'docker'],
  'Docker with default options, over host-gw',
  behind('test-gw-docker', { backend: { Type: 'host-gw' }, nodes: 3, mtu: 1500, knownBy: 'address' }),
);
describeWith(
  ['root', 'vxlan', 'etcd', 'iptables', 'docker'],
  'Docker with default options, over vxlan with DirectRouting',
  behind('test-direct-docker', {
    backend: { Type: 'vxlan', DirectRouting: true },
    nodes: 2,
    mtu: 1450,
    knownBy: 'address',
  }),
);
