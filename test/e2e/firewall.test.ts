import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_OK } from '../../src/cli/exit-codes.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, launchNode, logText, nodePaths, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

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
