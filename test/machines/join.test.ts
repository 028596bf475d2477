import { appendFileSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, etcdUrl, namespaceOf, nodeName } from '../../src/lab/names.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { bootMachine, install, type Machine, makeTree, removeTree } from './machine.js';

const NAME = 'test-join-machines';
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'iproute2', 'iptables', 'nftables', 'libstdc++6', 'procps'];
const SETTINGS = '/etc/default/rudder';

/** From an installed package to a node of a cluster: two machines that know no more than where etcd is. */
describeWith(['root', 'tun', 'etcd', 'machines'], 'rudder join on two fresh machines', () => {
  let lab: LabState;
  const trees: string[] = [];
  const machines: Machine[] = [];

  /** Its output, also if it fails, and how it ended. */
  async function run(i: number, command: string): Promise<{ code: number; output: string }> {
    const output = await machines[i].run('sh', '-c', `{ ${command}; } 2>&1; echo "code $?"`);
    const [, text, code] = /^([\s\S]*)code (\d+)\n?$/.exec(output)!;
    return { code: Number(code), output: text };
  }
  const settings = (i: number) => readFileSync(`${trees[i]}${SETTINGS}`, 'utf8');
  const added = (i: number, before: string) =>
    settings(i)
      .split('\n')
      .filter((line) => !before.split('\n').includes(line));

  beforeAll(async () => {
    const { stdout } = await execa('scripts/package');
    const deb = stdout.trim().split('\n').at(-1)!;
    lab = await createLab({ name: NAME, nodes: 2 });
    for (const node of lab.nodes) {
      const tree = await makeTree(`join${node.number}`, PACKAGES);
      trees.push(tree);
      install(tree, deb, `/root/${basename(deb)}`);
      machines.push(await bootMachine(tree, namespaceOf(lab, nodeName(node))));
      await machines.at(-1)!.run('dpkg', '-i', `/root/${basename(deb)}`);
    }
  }, 600_000);
  afterAll(async () => {
    await Promise.all(machines.map((machine) => machine.stop()));
    await labDown(NAME);
    for (const tree of trees) removeTree(tree);
  }, 60_000);

  it('says how to create the network config that is missing, and writes nothing', async () => {
    const before = settings(0);
    const { code, output } = await run(0, `rudder join ${etcdAddress(lab)}`);
    expect(code).toBe(EXIT_CODES['network-config']);
    const [, command] = /create it: (rudder init .*)$/m.exec(output.trim().split('\n').at(-1)!)!;
    expect(settings(0)).toBe(before);
    expect(await run(0, command)).toMatchObject({ code: 0, output: expect.stringMatching(/^created \/coreos\.com/) });
  });

  it('looks, writes, starts, waits, and says what comes next', { timeout: 120_000 }, async () => {
    appendFileSync(`${trees[0]}${SETTINGS}`, "# the operator's own\nRUDDERD_LEASE_TTL=1h\n");
    for (const i of [0, 1]) {
      const before = settings(i);
      const dry = await run(i, `rudder join ${etcdAddress(lab)} --dry-run`);
      expect(dry).toMatchObject({ code: 0, output: expect.stringMatching(/\nNothing was done: --dry-run\n$/) });
      expect(settings(i)).toBe(before);

      const { code, output } = await run(i, `rudder join ${etcdAddress(lab)}`);
      expect(output).toMatch(/^ok +etcd: http:.* read in \d+ ms/m);
      expect(output).toContain(`\n  + RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}\n`);
      expect(output).toMatch(/^Ready: this node has 10\.240\.\d+\.0\/24 of 10\.240\.0\.0\/16, by etcd; /m);
      expect(code).toBe(0);
      expect(added(i, before)).toEqual([`RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}`]);
      expect(before.split('\n').filter((line) => !settings(i).split('\n').includes(line))).toEqual([]);
      expect(await machines[i].succeeds('systemctl', 'is-enabled', 'rudder')).toBe(true);
      expect((await run(i, 'rudder status')).code).toBe(0);
    }
    await waitFor(
      'each to know the other',
      async () =>
        (await Promise.all([0, 1].map((i) => run(i, 'rudder peers')))).every(({ output }) => / ok /.test(output)),
      20_000,
    );
  });

  it('again changes nothing, and does not restart the node', async () => {
    const before = settings(1);
    const pid = () => machines[1].run('systemctl', 'show', '-P', 'MainPID', 'rudder');
    const ran = await pid();
    const { code, output } = await run(1, `rudder join ${etcdAddress(lab)} --json`);
    expect(code).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ settings: [], subnet: expect.stringMatching(/^10\.240\./), peers: 1 });
    expect(settings(1)).toBe(before);
    expect(await pid()).toBe(ran);
  });

  it('refuses to leave the cluster, but with --force', { timeout: 120_000 }, async () => {
    const before = settings(1);
    await run(1, `rudder init '{"Network":"10.250.0.0/16"}' --etcd-endpoints ${etcdUrl(lab)} --etcd-prefix /other`);
    const line = `rudder join ${etcdAddress(lab)} --etcd-prefix /other`;
    const refused = await run(1, line);
    expect(refused).toMatchObject({ code: EXIT_CODES['config-exists'], output: expect.stringContaining('--force') });
    expect(settings(1)).toBe(before);
    const { code, output } = await run(1, `${line} --force`);
    expect(output).toMatch(/^Ready: this node has 10\.250\./m);
    expect(code).toBe(0);
    expect(added(1, before)).toEqual(['RUDDERD_ETCD_PREFIX=/other']);
  });

  it('tells why the node does not become ready', { timeout: 120_000 }, async () => {
    appendFileSync(`${trees[1]}${SETTINGS}`, 'RUDDERD_IFACE=eth7\n');
    await machines[1].run('systemctl', 'stop', 'rudder');
    const { code, output } = await run(1, `rudder join ${etcdAddress(lab)} --etcd-prefix /other`);
    expect(code).toBe(EXIT_CODES['not-ready']);
    expect(output.trim().split('\n').at(-1)).toMatch(/rudder\.service has ended with exit code 6: .*eth7/);
  });
});
