import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { logLines, logText, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

const NAME = 'test-secrets';
const PASSWORD = 'horse-battery-9f3';
const PORT = '9478';

describeWith(['root', 'tun', 'etcd'], "etcd's password", () => {
  let lab: LabState;
  let file: string;

  beforeEach(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}' });
    await etcdctl(lab, 'user', 'add', `root:${PASSWORD}`);
    await etcdctl(lab, 'user', 'grant-role', 'root', 'root');
    await etcdctl(lab, 'auth', 'enable');
    file = `${labDirectory(NAME)}/password`;
    writeFileSync(file, `${PASSWORD}\n`);
    chmodSync(file, 0o600);
  });
  afterEach(() => labDown(NAME));

  const commandLine = () => readFileSync(`/proc/${lab.nodes[0].process?.pid}/cmdline`, 'utf8');
  /** A server that everybody may ask, and what the node wrote: everything that others get to see. */
  async function everythingTold(): Promise<string> {
    const [node] = lab.nodes;
    const script = `Promise.all(['/status', '/metrics', '/readyz', '/'].map(async (path) =>
      (await fetch('http://127.0.0.1:${PORT}' + path)).text())).then((texts) => console.log(texts.join('')))`;
    const served = await execIn(lab, 'n1', [process.execPath, '-e', script]);
    const { stdout } = await cli(lab, node, 'status', '--json');
    expect(JSON.parse(stdout).problems).toEqual([]);
    const { subnetFile, stateDir } = nodePaths(lab, node);
    const files = [subnetFile, `${stateDir}/state.json`].map((path) => readFileSync(path, 'utf8'));
    return [served, stdout, ...files, logText(lab, node)].join('\n');
  }

  it('comes from a file, and is told nowhere, nor is it when etcd refuses it', async () => {
    const [node] = lab.nodes;
    const flags = [
      '--etcd-username=root',
      `--etcd-password-file=${file}`,
      '--log-level=trace',
      `--healthz-port=${PORT}`,
    ];
    await startNode(lab, node, flags);
    expect(await everythingTold()).not.toContain(PASSWORD);
    expect(commandLine()).toContain('--etcd-password-file');
    expect(commandLine()).not.toContain(PASSWORD);
    // Whoever reaches the host from elsewhere reaches no HTTP; members do, over the overlay (docs/peers.md).
    const overlay = readSubnetEnv(lab, node).RUDDER_SUBNET.replace(/\.1\/24$/, '.0:8285');
    const listening = (await execIn(lab, 'n1', ['ss', '-ltnH'])).trim().split('\n');
    expect(listening.map((line) => line.split(/\s+/)[3]).sort()).toEqual([overlay, `127.0.0.1:${PORT}`]);
    await stopNode(lab, node);

    writeFileSync(file, `${PASSWORD}-wrong\n`);
    // It goes on with its last lease.
    await startNode(lab, node, flags);
    expect(logLines(lab, node).filter(({ reason }) => /does not accept the password/.test(String(reason)))).not.toEqual(
      [],
    );
    expect(logText(lab, node)).not.toContain(PASSWORD);
  });

  it('is warned of as a flag, which shows in the process list, and not as a variable', async () => {
    const [node] = lab.nodes;
    const warnings = () => logLines(lab, node).filter(({ msg }) => msg?.includes('process list'));
    await startNode(lab, node, ['--etcd-username=root', `--etcd-password=${PASSWORD}`]);
    expect(warnings()).toHaveLength(1);
    expect(logText(lab, node)).not.toContain(PASSWORD);
    await stopNode(lab, node);

    const withVariable = { ...lab, daemon: { ...lab.daemon, env: { RUDDERD_ETCD_PASSWORD: PASSWORD } } };
    await startNode(withVariable, node, ['--etcd-username=root', '--log-level=trace', `--healthz-port=${PORT}`]);
    expect(warnings()).toEqual([]);
    expect(await everythingTold()).not.toContain(PASSWORD);
    expect(commandLine()).not.toContain(PASSWORD);
  });
});
