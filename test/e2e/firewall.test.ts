import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_OK } from '../../src/cli/exit-codes.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, launchNode, logText, nodePaths, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';

const NAME = 'test-firewall';
/** As many as kube-proxy makes for some two thousand services; more than a megabyte of text. */
const OTHERS = 20_000;

describeWith(['root', 'tun', 'etcd', 'iptables'], 'the firewall rules', () => {
  let lab: LabState;
  let node: LabNode;
  const rules = async () => (await execIn(lab, 'n1', ['iptables-save'])).split('\n').filter((l) => /RUDDER/.test(l));

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 1 });
    node = lab.nodes[0];
  });
  afterEach(() => labDown(NAME));

  it('are set, put back and removed among very many of others', async () => {
    const others = Array.from({ length: OTHERS }, (_, i) => `-A OTHERS -d 10.96.${i >> 8}.${i & 255}/32 -j RETURN`);
    const table = ['*nat', ':OTHERS - [0:0]', '-F RUDDER-POSTROUTING', ...others, 'COMMIT', ''].join('\n');
    await execIn(lab, 'n1', ['iptables-restore', '--noflush'], table);
    await waitFor(
      'the rules to be put back',
      async () => (await rules()).some((l) => /-s 10\.240.*-j ACCEPT/.test(l)),
      20_000,
    );
    await stopNode(lab, node);
    expect(await cli(lab, node, 'cleanup')).toMatchObject({ code: EXIT_OK });
    expect(await rules()).toEqual([]);
  });

  it('are looked at when there was a change, and not else', async () => {
    const status = () => statusOf(lab, node);
    // The first one has set them, which is a change.
    await waitFor('the second look', async () => (await status()).firewall.checks === 2, 10_000);
    const start = (await status()).uptimeSeconds;
    await waitFor('five seconds of peace', async () => (await status()).uptimeSeconds > start + 5, 10_000);
    expect((await status()).firewall).toMatchObject({ checks: 2, repairs: 0 });
    await execIn(lab, 'n1', ['iptables', '-N', 'STRANGER']);
    await waitFor('the third look', async () => (await status()).firewall.checks === 3, 5000);
    expect((await status()).firewall.repairs).toBe(0);
    await execIn(lab, 'n1', ['iptables', '-F', 'RUDDER-FORWARD']);
    await waitFor('a repair', async () => (await status()).firewall.repairs === 1, 5000);
  });

  it('have no connection tracked before others have', async () => {
    const tracked = async () => Number(await execIn(lab, 'n1', ['cat', '/proc/sys/net/netfilter/nf_conntrack_count']));
    const table = () => execIn(lab, 'n1', ['nft', 'list', 'table', 'ip', 'rudder']);
    expect(await table()).not.toContain('ct state');
    expect(await tracked()).toBe(0);
    await execIn(lab, 'n1', ['iptables', '-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP']);
    await waitFor('the rules to ask for it too', async () => (await table()).includes('ct state new'), 10_000);
    await waitFor(
      'all of the rules to be there',
      async () => (await rules()).some((l) => l.startsWith('-A RUDDER-INPUT') && l.includes('UNTRACKED')),
      10_000,
    );
    expect(await tracked()).toBeGreaterThan(0);
    expect((await statusOf(lab, node)).firewall.repairs).toBe(0);
  });

  it('are not set blindly in a table that iptables cannot read, and none is said to be removed there', async () => {
    const jumps = async () => (await execIn(lab, 'n1', ['nft', 'list', 'ruleset'])).match(/jump RUDDER-/g)?.length;
    const before = await jumps();
    await execIn(lab, 'n1', ['nft', 'add', 'rule', 'ip', 'filter', 'FORWARD', 'ct', 'state', 'invalid', 'drop']);
    const firewall = async () => (await statusOf(lab, node)).firewall;
    await waitFor('the problem to be told', async () => (await firewall()).problem !== null, 10_000);
    expect((await firewall()).problem).toMatch(/cannot read table "filter": somebody has put rules into it with nft/);
    const { uptimeSeconds } = await statusOf(lab, node);
    await waitFor('two more looks', async () => (await statusOf(lab, node)).uptimeSeconds > uptimeSeconds + 7, 15_000);
    expect(await jumps()).toBe(before);
    await stopNode(lab, node);
    const { code, stdout, stderr } = await cli(lab, node, 'cleanup');
    expect(code).toBe(EXIT_CODES.firewall);
    expect(`${stdout}${stderr}`).toContain('cannot read table "filter"');
  });

  /** Starts the node with commands of our own before those of the host. */
  async function startWith(scripts: Readonly<Record<string, string>>): Promise<void> {
    const directory = `${nodePaths(lab, node).directory}/bin`;
    mkdirSync(directory);
    for (const [name, script] of Object.entries(scripts)) {
      writeFileSync(`${directory}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    const path = process.env.PATH;
    process.env.PATH = `${directory}:${path}`;
    try {
      await startNode(lab, node);
    } finally {
      process.env.PATH = path;
    }
  }

  it('are kept in the older tables too, where the kernel does not tell of changes', async () => {
    await stopNode(lab, node);
    await cli(lab, node, 'cleanup');
    const legacy = (name: string) => `exec iptables-legacy-${name} "$@"`;
    await startWith({ 'iptables-save': legacy('save'), 'iptables-restore': legacy('restore') });
    const saved = async () => execIn(lab, 'n1', ['iptables-legacy-save']);
    expect(await saved()).toContain('-A FORWARD -j RUDDER-FORWARD');
    expect(await rules()).toEqual([]);
    await execIn(lab, 'n1', ['iptables-legacy', '-F', 'FORWARD']);
    await waitFor('a repair', async () => (await saved()).includes('-A FORWARD -j RUDDER-FORWARD'), 10_000);
  });

  it('do not keep a node from stopping while somebody holds their lock', async () => {
    await stopNode(lab, node);
    const [slow, waiting] = ['slow', 'waiting'].map((name) => `${nodePaths(lab, node).directory}/${name}`);
    const hang = `[ ! -e ${slow} ] || { touch ${waiting}; exec sleep 60; }`;
    await startWith({ 'iptables-save': `${hang}; PATH=\${PATH#*:} exec iptables-save "$@"` });
    writeFileSync(slow, '');
    await execIn(lab, 'n1', ['iptables', '-N', 'STRANGER']);
    await waitFor('a look that hangs', () => existsSync(waiting), 10_000);
    signalProcess(node.process!, 'SIGTERM');
    await waitFor('the node to stop', () => !isRunning(node.process!), 2000);
    await startNode(lab, node);
  });

  it('of an earlier run outlive a start that fails late', async () => {
    await stopNode(lab, node);
    const before = await rules();
    expect(before.length).toBeGreaterThan(4);
    const { subnetFile } = nodePaths(lab, node);
    rmSync(subnetFile);
    mkdirSync(subnetFile); // so that it cannot be written
    await launchNode(lab, node);
    await waitFor('the start to fail', () => !isRunning(node.process!), 20_000);
    expect(logText(lab, node)).toContain(`cannot write the subnet file ${subnetFile}`);
    expect(await rules()).toEqual(before);
    rmSync(subnetFile, { recursive: true });
  });

  it('of a start that fails late go with it', async () => {
    await stopNode(lab, node);
    await cli(lab, node, 'cleanup');
    mkdirSync(nodePaths(lab, node).subnetFile);
    await launchNode(lab, node);
    await waitFor('the start to fail', () => !isRunning(node.process!), 20_000);
    expect(await rules()).toEqual([]);
    rmSync(nodePaths(lab, node).subnetFile, { recursive: true });
    await startNode(lab, node);
  });

  it('are not missed by the clean-up of a host without iptables', async () => {
    await stopNode(lab, node);
    const { subnetFile, stateDir } = nodePaths(lab, node);
    expect(existsSync(`${stateDir}/last-known.json`)).toBe(true);
    await execIn(lab, 'n1', ['env', 'PATH=/nowhere', ...daemonCommand(lab, node), 'cleanup']);
    for (const path of [subnetFile, `${stateDir}/last-known.json`]) expect(existsSync(path)).toBe(false);
  });

  it('that cannot be removed are told in one line, and all else is removed nevertheless', async () => {
    await stopNode(lab, node);
    const broken = `${nodePaths(lab, node).directory}/bin`;
    mkdirSync(broken);
    await execIn(lab, 'n1', [
      'sh',
      '-c',
      `printf '#!/bin/sh\necho no >&2; exit 1\n' > ${broken}/iptables-save; chmod +x ${broken}/*`,
    ]);
    const command = ['env', `PATH=${broken}`, ...daemonCommand(lab, node), 'cleanup'];
    const result = await execIn(lab, 'n1', ['sh', '-c', '"$@" 2>&1; echo "exit $?"', 'sh', ...command]);
    expect(result).toMatch(/^rudder: cannot remove the firewall rules: iptables-save: no; run as root/m);
    expect(result).toContain(`exit ${EXIT_CODES.firewall}`);
    expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(false);
    expect(await execIn(lab, 'n1', ['ip', '-o', 'link'])).not.toContain('rudder0');
  });
});
