import { resolve } from 'node:path';
import { execa } from 'execa';
import { afterEach, expect, it } from 'vitest';
import { etcdCondition, nodeCondition } from '../../src/lab/condition.js';
import { act, createLab, labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { isRunning } from '../../src/lab/process.js';
import { listLabs } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { reaches } from './traffic.js';

const NAMES = ['test-lab-a', 'test-lab-b'];
const MAIN = 'dist/cli/main.js';

const output = async (...command: string[]) => (await execa(command[0], command.slice(1))).stdout;
/** All that a lab must not touch: the host's own links, addresses and routes. */
const hostNetwork = async () =>
  `${await output('ip', '-o', 'link')}\n${await output('ip', 'route', 'show', 'table', 'all')}`;
const rudder = (...args: string[]) => execa(process.execPath, [MAIN, ...args], { reject: false });

describeWith(['root', 'tun', 'etcd'], 'the lab', () => {
  afterEach(async () => {
    for (const name of NAMES) await labDown(name);
  });

  it('serves its page on the loopback of the host, until it is taken down', async () => {
    const { stdout, stderr, exitCode } = await rudder('lab', 'up', '--name', NAMES[0], '--nodes', '2', '--page');
    expect(exitCode, stderr).toBe(0);
    const url = /The page of the cluster: (http:\/\/127\.0\.0\.1:\d+\/)/.exec(stdout)![1];
    const page = await fetch(url);
    expect(await page.text()).toContain('<title>Rudder</title>');
    const { nodes } = (await (await fetch(`${url}cluster`)).json()) as { nodes: { host: string }[] };
    expect(nodes.map(({ host }) => host)).toEqual(['n1', 'n2']);
    await rudder('lab', 'down', '--name', NAMES[0]);
    await expect(fetch(url)).rejects.toThrow();
  });

  it('stands beside another one, touches nothing of the host, and leaves nothing', async () => {
    const before = await hostNetwork();
    const [first, second] = [
      await labUp({ name: NAMES[0], nodes: 2 }),
      await labUp({ name: NAMES[1], nodes: 2, underlay: 'veth' }),
    ];
    for (const lab of [first, second]) {
      expect(await reaches(lab, 'c1', labStatus(lab)[1].containerAddress)).toBe(true);
    }
    expect(await hostNetwork()).toBe(before);
    await labDown(NAMES[0]);
    expect(await reaches(second, 'c1', labStatus(second)[1].containerAddress)).toBe(true);
    await labDown(NAMES[1]);
    expect(await hostNetwork()).toBe(before);
    expect(await output('ip', 'netns', 'list')).not.toMatch(/rudder-test-lab-[ab]-/);
    expect(listLabs().filter((name) => NAMES.includes(name))).toEqual([]);
    for (const { process: daemon } of [...first.nodes, ...second.nodes]) expect(isRunning(daemon!)).toBe(false);
  });

  it.each(['bridge', 'veth'] as const)('pauses, partitions and heals a node (%s)', async (underlay) => {
    const lab = await labUp({ name: NAMES[0], nodes: 2, underlay, daemon: { leaseTtl: '60s' } });
    const target = labStatus(lab)[1].containerAddress;
    const answers = (expected: boolean) =>
      waitFor(
        `the container ${expected ? 'to answer' : 'to fall silent'}`,
        async () => (await reaches(lab, 'c1', target)) === expected,
        10_000,
      );
    for (const [cut, join] of [
      ['pause', 'resume'],
      ['partition', 'heal'],
      ['kill', 'start'],
      ['stop', 'start'],
    ] as const) {
      await act(lab, 'n2', cut);
      await answers(false);
      await act(lab, 'n2', join);
      await answers(true);
    }
    await act(lab, 'etcd', 'pause');
    await answers(true); // what can keep forwarding keeps forwarding
    await act(lab, 'etcd', 'resume');
  });

  it('is there for people too: up, status, exec, down', async () => {
    const up = await rudder('lab', 'up', '--name', NAMES[0], '--nodes', '2');
    expect(up.exitCode).toBe(0);
    expect(up.stdout).toMatch(/n2 +│ ready, pid \d+/);
    expect(up.stdout).toMatch(/etcd +│ answers, pid \d+ +│ http:\/\/172\.30\.\d+\.2:2379/);
    expect(up.stdout).toContain(`  ./rudder lab exec --name ${NAMES[0]} n1 -- rudder status\n`);
    expect((await rudder('lab', 'up', '--name', NAMES[0])).stderr).toContain(`lab "${NAMES[0]}" is up already`);
    expect((await rudder('lab', 'status', '--name', NAMES[0])).stdout).toMatch(/c1 +│ 10\.240\.\d+\.2/);
    expect((await rudder('lab', 'exec', '--name', NAMES[0], 'c1', '--', 'ip', '-br', 'address')).stdout).toContain(
      'eth0',
    );
    expect((await rudder('lab', 'exec', '--name', NAMES[0], 'c1', '--', 'false')).exitCode).toBe(1);
    expect((await rudder('lab', 'exec', '--name', NAMES[0], 'c9', '--', 'true')).stderr).toContain(
      'no member "c9": expected one of n1, c1, n2, c2',
    );
    expect((await rudder('lab', 'down', '--name', NAMES[0])).exitCode).toBe(0);
    expect((await rudder('lab', 'status', '--name', NAMES[0])).stderr).toContain(`no lab named "${NAMES[0]}"`);
  });

  it.each(['bridge', 'veth'] as const)('says how each member does (%s)', async (underlay) => {
    const lab = await labUp({ name: NAMES[0], nodes: 2, underlay, daemon: { leaseTtl: '60s' } });
    const conditions = async () => [await nodeCondition(lab, lab.nodes[1]), await etcdCondition(lab)];
    const become = (node: RegExp, etcd: RegExp) =>
      waitFor(
        `${node} and ${etcd}`,
        async () => {
          const [first, second] = await conditions();
          if (node.test(first) && etcd.test(second)) return true;
          throw new Error(`${first} | ${second}`);
        },
        20_000,
      );
    await become(/^ready, pid \d+$/, /^answers, pid \d+$/);
    await act(lab, 'n2', 'pause');
    await act(lab, 'etcd', 'pause');
    await become(/^paused, pid \d+$/, /^paused, pid \d+$/);
    await act(lab, 'n2', 'resume');
    await act(lab, 'etcd', 'resume');
    await act(lab, 'n2', 'partition');
    await become(/^partitioned; /, /^answers, pid \d+$/);
    await act(lab, 'n2', 'heal');
    await become(/^ready, /, /^answers, /);
    await execIn(lab, 'n2', ['ip', 'route', 'delete', 'default']);
    await become(/^not ready: .*default route.*, pid \d+$/, /^answers, /);
    await act(lab, 'n2', 'kill');
    await act(lab, 'etcd', 'stop');
    await become(/^stopped$/, /^stopped$/);
  });

  it('runs a rudder command in a node as on that node, wherever the lab was called from', async () => {
    const lab = await labUp({ name: NAMES[0], nodes: 2, daemon: { arguments: ['--port-mapped'] } });
    const inNode = (member: string, ...command: string[]) =>
      execa(process.execPath, [resolve(MAIN), 'lab', 'exec', '--name', NAMES[0], member, '--', ...command], {
        reject: false,
        cwd: '/',
      });
    for (const row of labStatus(lab)) {
      const { stdout, exitCode } = await inNode(row.node, 'rudder', 'status', '--json');
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout).node.subnet).toBe(row.subnet.replace('.1/', '.0/'));
    }
    const leases = JSON.parse((await inNode('n2', 'rudder', 'leases', '--json')).stdout);
    expect(leases).toHaveLength(2);
    const { stdout } = await inNode('n1', 'env');
    expect(stdout).toMatch(/^RUDDERD_STATE_DIR=.*\/n1\/state$/m);
    expect(stdout).toMatch(/^RUDDERD_PORT_MAPPED=true$/m);
    // A container has no daemon, and is not the host of one.
    expect((await inNode('c1', 'env')).stdout).not.toContain('RUDDERD_');
  });

  it('is removed whole after a crash in the middle of its making', async () => {
    const lab = await createLab({ name: NAMES[0], nodes: 1 });
    await execa('truncate', ['--size=10', `/run/rudder-lab/${NAMES[0]}/lab.json`]);
    await labDown(NAMES[0]);
    expect(await output('ip', 'netns', 'list')).not.toContain(namespaceOf(lab, 'n1'));
    expect(isRunning(lab.etcd!)).toBe(false);
  });
});
