import { execa } from 'execa';
import { afterEach, expect, it } from 'vitest';
import { act, createLab, labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
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
    expect(up.stdout).toMatch(/n2 +│ running, pid \d+/);
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

  it('is removed whole after a crash in the middle of its making', async () => {
    const lab = await createLab({ name: NAMES[0], nodes: 1 });
    await execa('truncate', ['--size=10', `/run/rudder-lab/${NAMES[0]}/lab.json`]);
    await labDown(NAMES[0]);
    expect(await output('ip', 'netns', 'list')).not.toContain(namespaceOf(lab, 'n1'));
    expect(isRunning(lab.etcd!)).toBe(false);
  });
});
