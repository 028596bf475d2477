import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_OK } from '../../src/cli/exit-codes.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { nodePaths, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { proposalOf } from '../../src/state/subnet-publish.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

const NAME = 'test-publish';

describeWith(['root', 'tun', 'etcd'], 'a node that may not write its subnet file', () => {
  let lab: LabState;
  let node: LabNode;
  let subnetFile: string;
  let proposal: string;

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}' });
    [node] = lab.nodes;
    ({ subnetFile } = nodePaths(lab, node));
    proposal = proposalOf(subnetFile);
  });
  afterAll(() => labDown(NAME));

  const text = (file: string) => readFileSync(file, 'utf8');
  const publish = (...options: string[]) => cli(lab, node, 'publish', ...options);

  it('is ready with a proposal, of which "rudder publish" makes the file', async () => {
    await startNode(lab, node, ['--subnet-proposal', '--cleanup-on-exit']);
    expect(existsSync(subnetFile)).toBe(false);
    expect(text(proposal)).toMatch(/^RUDDER_SUBNET=10\.240\.\d+\.1\/24\nRUDDER_MTU=1472\n/);
    expect(await publish()).toEqual({ code: EXIT_OK, stdout: `written ${subnetFile}\n`, stderr: '' });
    expect(text(subnetFile)).toBe(text(proposal));
    expect(statSync(subnetFile).mode & 0o7777).toBe(0o644);
    expect(await publish()).toEqual({ code: EXIT_OK, stdout: '', stderr: '' });
  });

  it('proposes another MTU when the underlay has one', async () => {
    const before = text(subnetFile);
    await execIn(lab, 'n1', ['ip', 'link', 'set', 'eth0', 'mtu', '1400']);
    await waitFor('the proposal', () => text(proposal).includes('_MTU=1372\n'), 5000);
    expect(text(subnetFile)).toBe(before);
    await publish();
    expect(text(subnetFile)).toBe(before.replace('1472', '1372'));
  });

  it('is refused a line more, in one line with exit code 9, and the file stays', async () => {
    const before = text(subnetFile);
    appendFileSync(proposal, 'LD_PRELOAD=/tmp/evil.so\n');
    const { code, stdout, stderr } = await publish();
    expect({ code, stdout }).toEqual({ code: EXIT_CODES.file, stdout: '' });
    expect(stderr).toMatch(/^rudder: .*proposal is refused: expected exactly the four lines RUDDER_SUBNET, .*\n$/);
    expect(text(subnetFile)).toBe(before);
  });

  it('is told by what is wrong before it starts, and starts with an empty file', async () => {
    appendFileSync(subnetFile, 'LD_PRELOAD=/tmp/evil.so\n');
    const { code, stderr } = await publish('--before-start');
    expect({ code, text: text(subnetFile) }).toEqual({ code: EXIT_OK, text: '' });
    expect(stderr).toMatch(/^rudder: .*subnet\.env was refused and is empty now: expected exactly .*\n$/);
  });

  it('withdraws its proposal with --cleanup-on-exit, and the file is emptied', async () => {
    await stopNode(lab, node);
    await startNode(lab, node, ['--subnet-proposal', '--cleanup-on-exit']);
    await publish();
    expect(text(subnetFile)).toBe(text(proposal));
    await stopNode(lab, node);
    expect(existsSync(proposal)).toBe(false);
    expect(await publish()).toMatchObject({ code: EXIT_OK, stdout: `emptied ${subnetFile}\n` });
    expect(text(subnetFile)).toBe('');
  });
});
