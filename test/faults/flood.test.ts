import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { buildFlood, type Flood, flood } from '../../src/lab/flood.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { QUEUE_LENGTH } from '../../src/system/tun-device.js';
import { statusOf } from '../e2e/cli.js';
import { ping } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-flood';
const PORT = 8285;
const MILLION = 1_000_000;
/** What V8's heap and the allocator may take and give back meanwhile. */
const RSS_SLACK = 12e6;

describeWith(['root', 'tun', 'etcd', 'tcpdump'], 'a live node under a flood', () => {
  let lab: LabState;
  let program: string;

  beforeEach(async () => {
    // The sender is a member whose host is not kept from it, as ours are by their rules. Every packet is counted: no probes.
    const daemon = { leaseTtl: '1h', arguments: ['--no-firewall=true', '--no-probes=true'] };
    lab = await labUp({ name: NAME, nodes: 2, daemon });
    program = await buildFlood(lab);
    // Its lease stays, so its host's datagrams are a member's.
    await stopNode(lab, lab.nodes[1]);
  });
  afterEach(() => labDown(NAME));

  const attack = (options: Partial<Flood>) => {
    const [to, from] = lab.nodes;
    return flood(lab, program, { from, to, port: PORT, count: MILLION, kind: 'hostile', rate: 0, ...options });
  };

  const counters = async () => (await statusOf(lab, lab.nodes[0])).packetPath!.counters;

  /** What n1's kernel says of UDP: datagrams that a program has read, and that found the buffer full. */
  async function udp(): Promise<{ read: number; lost: number }> {
    const text = await execIn(lab, 'n1', ['cat', '/proc/net/snmp']);
    const [names, values] = text
      .split('\n')
      .filter((line) => line.startsWith('Udp: '))
      .map((line) => line.split(' '));
    const value = (name: string) => Number(values[names.indexOf(name)]);
    return { read: value('InDatagrams'), lost: value('InErrors') };
  }

  const resident = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lab.nodes[0].process?.pid}/status`, 'utf8'))?.[1]) * 1024;

  /** The packets that an interface of a member saw while the work was done, a line each. */
  async function captured(member: string, filter: string[], work: () => Promise<unknown>): Promise<string[]> {
    const command = ['tcpdump', '-lnqt', '--immediate-mode', ...filter];
    const capture = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, member)}`, ...command]);
    const lines: string[] = [];
    createInterface({ input: capture.stdout }).on('line', (line) => line !== '' && lines.push(line));
    await new Promise<void>((resolve) => {
      createInterface({ input: capture.stderr }).on('line', (line) => line.includes('listening on') && resolve());
    });
    await work();
    capture.kill('SIGINT');
    await once(capture, 'close');
    return lines;
  }

  /** Into the container; but the bridge itself, its kernel, reports its multicast groups now and then. */
  const ENTERING = ['-i', 'eth0', '-Q', 'in', 'ip and not (igmp and dst host 224.0.0.22)'];

  const sumOf = (values: Readonly<Record<string, number>>, pattern: RegExp) =>
    Object.entries(values).reduce((sum, [name, value]) => sum + (pattern.test(name) ? value : 0), 0);

  it('of a million hostile datagrams counts every one, lets none in, answers none, and does not grow', async () => {
    // A first, smaller one: code is compiled, every slot of the slab is touched.
    await attack({ count: 100_000 });
    const before = { counters: await counters(), udp: await udp(), rss: resident() };
    let sent = 0;
    let entered: string[] = [];
    const left = await captured('n1', ['-i', 'eth0', '-Q', 'out', 'icmp or udp'], async () => {
      entered = await captured('c1', ENTERING, async () => {
        ({ sent } = await attack({}));
      });
    });
    expect(sent).toBe(MILLION);

    // Those that the socket's buffer had no room for are counted by the kernel.
    const arrived = async () => {
      const { read, lost } = await udp();
      return { read: read - before.udp.read, all: read + lost - before.udp.read - before.udp.lost };
    };
    await waitFor('the node to have read all', async () => (await arrived()).all === MILLION, 10_000);
    const after = await counters();
    const grown = Object.fromEntries(Object.entries(after).map(([name, n]) => [name, n - before.counters[name]]));
    expect(sumOf(grown, /^in_drop_/)).toBe(MILLION);
    expect(grown.in_drop_queue).toBe(MILLION - (await arrived()).read);
    expect((await arrived()).read).toBeGreaterThan(MILLION / 20);
    for (const reason of ['malformed', 'source', 'destination'])
      expect(grown[`in_drop_${reason}`]).toBeGreaterThan(1000);
    expect(sumOf(grown, /^(in|out)_packets|in_writes|out_icmp|out_datagrams/)).toBe(0);

    expect(entered).toEqual([]);
    expect(left).toEqual([]);
    expect(resident() - before.rss).toBeLessThan(RSS_SLACK);
    expect(isRunning(lab.nodes[0].process!)).toBe(true);
    await startNode(lab, lab.nodes[1]);
    await ping(lab, 'c1', labStatus(lab)[1].containerAddress);
  });

  it('of hostile datagrams in fragments counts every one that the kernel puts together, and lets none in', async () => {
    // Halves that wait for their other one shall not fill the kernel's memory for them.
    await execIn(lab, 'n1', ['sysctl', '-qw', 'net.ipv4.ipfrag_time=1']);
    const before = { counters: await counters(), udp: await udp() };
    const entered = await captured('c1', ENTERING, () => attack({ kind: 'fragments', count: 100_000, rate: 20_000 }));
    const read = async () => (await udp()).read - before.udp.read;
    const lost = async () => (await udp()).lost - before.udp.lost;
    const dropped = async () => sumOf(await counters(), /^in_drop_/) - sumOf(before.counters, /^in_drop_/);
    await waitFor(
      'the node to have counted all',
      async () => (await dropped()) === (await read()) + (await lost()),
      10_000,
    );
    // Nine of twelve pairs are whole, but for those that found the kernel's memory full.
    expect(await read()).toBeGreaterThan(20_000);
    expect(await read()).toBeLessThan(50_000);
    expect(entered).toEqual([]);
    expect(isRunning(lab.nodes[0].process!)).toBe(true);
  });

  it("a member's packets without a hop left are answered rarely, and to that member only", async () => {
    await attack({ kind: 'ttl', count: 1000 });
    const before = await counters();
    const left = await captured('n1', ['-i', 'eth0', '-Q', 'out', 'icmp or udp'], () =>
      attack({ kind: 'ttl', count: 200_000 }),
    );
    expect((await counters()).in_packets - before.in_packets).toBeGreaterThan(10_000);
    // The kernel answers: icmp_ratelimit allows one a second and target, after a burst of six.
    expect(left.length).toBeLessThan(100);
    const peer = nodeAddress(lab, lab.nodes[1]);
    for (const line of left) expect(line).toContain(` > ${peer}.${PORT}:`);
  });

  it('a container that forges its source makes the node answer nobody', async () => {
    const send = `const { createSocket } = require('dgram'); const s = createSocket('udp4');
      s.bind(0, '8.8.4.4', () => { let left = 20000; const next = () => left-- ? s.send('x', 9, '10.240.254.7', next) : s.close(); next(); });`;
    await execIn(lab, 'c1', ['ip', 'address', 'add', '8.8.4.4/32', 'dev', 'eth0']);
    const before = await counters();
    const left = await captured('n1', ['-i', 'any', '-Q', 'out', 'icmp'], () =>
      execIn(lab, 'c1', [process.execPath, '-e', send]),
    );
    const after = await counters();
    // Fewer than were sent: the others have found the queue before TUN full.
    expect(after.out_drop_no_route - before.out_drop_no_route).toBeGreaterThan(1000);
    expect(after.out_icmp_packets).toBe(before.out_icmp_packets);
    expect(left).toEqual([]);
  });

  /** Sends that many small packets to an address that nobody has leased. */
  const toNobody = (count: number) => `const s = require('dgram').createSocket('udp4'); let left = ${count};
    s.on('error', () => undefined);
    const next = () => left-- ? s.send('x', 9, '10.240.254.7', next) : s.close(); next();`;

  it('what finds the queue of rudder0 full is counted, by the run that it happened to', async () => {
    const COUNT = 3000;
    const before = await counters();
    process.kill(lab.nodes[0].process!.pid, 'SIGSTOP');
    try {
      await execIn(lab, 'c1', [process.execPath, '-e', toNobody(COUNT)]);
    } finally {
      process.kill(lab.nodes[0].process!.pid, 'SIGCONT');
    }
    const grown = async (name: string) => (await counters())[name] - before[name];
    await waitFor(
      'every packet to be counted',
      async () => (await grown('out_drop_queue')) + (await grown('out_drop_no_route')) === COUNT,
      10_000,
    );
    expect(await grown('out_drop_queue')).toBe(COUNT - QUEUE_LENGTH);

    // The device outlives the daemon, and so does the kernel's counter; it counts what nobody reads meanwhile, too.
    await stopNode(lab, lab.nodes[0]);
    await execIn(lab, 'c1', [process.execPath, '-e', toNobody(COUNT)]);
    await startNode(lab, lab.nodes[0]);
    expect((await counters()).out_drop_queue).toBe(0);
  });

  it('a container that is honest is answered, but not for every packet', async () => {
    const before = await counters();
    await execIn(lab, 'c1', [process.execPath, '-e', toNobody(20_000)]);
    const after = await counters();
    const grown = (name: string) => after[name] - before[name];
    expect(grown('out_drop_no_route')).toBeGreaterThan(1000);
    expect(grown('out_icmp_packets')).toBeGreaterThan(0);
    expect(grown('out_icmp_packets') + grown('out_icmp_suppressed')).toBe(grown('out_drop_no_route'));
    expect(grown('out_icmp_suppressed')).toBeGreaterThan(grown('out_icmp_packets'));
  });
});
