import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, startNode, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-netcheck';

/** What commonly goes wrong between hosts, in a real cluster: each is named in one line with its remedy. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], 'rudder netcheck', () => {
  let lab: LabState;
  let undo: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 3, config: '{"Network":"10.240.0.0/16"}', daemon: { leaseTtl: '1h' } });
    for (const node of lab.nodes) await launchNode(lab, node);
    for (const node of lab.nodes) await waitUntilReady(lab, node);
    for (const node of lab.nodes) await addContainer(lab, node);
    await good();
  });
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
    undo = [];
    await good();
  });
  afterAll(() => labDown(NAME));

  const netcheck = (...args: string[]) => cli(lab, lab.nodes[0], 'netcheck', ...args);
  const good = () => waitFor('a good network', async () => (await netcheck()).code === 0, 30_000);

  /** The problem, and in the line below it what to do. */
  async function expectFinding(problem: RegExp, remedy: RegExp, ...args: string[]): Promise<void> {
    const isFound = async () => {
      const lines = (await netcheck(...args)).stdout.split('\n');
      return lines.some((line, i) => problem.test(line) && remedy.test(lines[i + 1] ?? ''));
    };
    await waitFor(`${problem}, ${remedy}`, isFound, 30_000);
  }

  it('names a port that is blocked one way', async () => {
    const rule = ['-s', nodeAddress(lab, lab.nodes[0]), '-p', 'udp', '--dport', '8285', '-j', 'DROP'];
    await execIn(lab, 'n2', ['iptables', '-I', 'INPUT', ...rule]);
    undo.push(() => execIn(lab, 'n2', ['iptables', '-D', 'INPUT', ...rule]));
    await expectFinding(/^PROBLEM +port: n2 .*, UDP port 8285: it is heard/, /let n2 .* accept UDP port 8285/);
  });

  it('names a daemon that is stopped', async () => {
    await stopNode(lab, lab.nodes[2]);
    undo.push(() => startNode(lab, lab.nodes[2]));
    await expectFinding(/^PROBLEM +port: nothing comes from n3 /, /is rudder running on n3 /);
  });

  it('names a way that swallows large packets, with the MTU to set', async () => {
    await execIn(lab, 'switch', ['ip', 'link', 'set', 'port-n2', 'mtu', '1400']);
    undo.push(() => execIn(lab, 'switch', ['ip', 'link', 'set', 'port-n2', 'mtu', '1500']));
    await expectFinding(
      /^PROBLEM +path MTU: the way to n2 .* carries 1400 bytes, and full packets have 1500$/,
      /set Backend\.MTU 1372/,
    );
  });

  it("names somebody's rules that reject what containers send", async () => {
    const table =
      'table inet corp { chain own { type filter hook forward priority 10; ip daddr 10.240.0.0/16 reject; }; }';
    await execIn(lab, 'n1', ['nft', table]);
    undo.push(() => execIn(lab, 'n1', ['nft', 'delete', 'table', 'inet', 'corp']));
    await expectFinding(/^PROBLEM +container way: .*but not a container .*corp/, /let them accept/);
  });

  it('names an etcd endpoint that is down', async () => {
    const endpoints = `--etcd-endpoints=${etcdUrl(lab)},http://127.0.0.1:1`;
    await expectFinding(
      /^warning +etcd: http:\/\/127\.0\.0\.1:1: .*nobody listens/,
      /is etcd running there/,
      endpoints,
    );
    expect((await netcheck(endpoints)).stdout).toMatch(/^ok +etcd: http.*read in \d+ ms, .*, the leader$/m);
  });
});
