import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { act, createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, logLines, logText, nodePaths, startNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

const NAME = 'test-log';

/** With those that come twice, which JSON.parse does not tell. */
function topLevelKeys(line: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  for (const [token] of line.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (/^[{[]/.test(token)) depth++;
    else if (/^[}\]]/.test(token)) depth--;
    else if (depth === 1 && token.endsWith(':')) keys.push(token);
  }
  return keys;
}

describeWith(['root', 'tun', 'etcd', 'iptables'], 'the log of a node', () => {
  let lab: LabState;
  let node: LabNode;
  beforeAll(async () => {
    const daemon = { arguments: ['--log-level=debug'] };
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}', daemon });
    node = lab.nodes[0];
    await startNode(lab, node);
  });
  afterAll(() => labDown(NAME));

  const says = (expected: Record<string, unknown>) =>
    waitFor(
      `the log to say ${JSON.stringify(expected)}`,
      () =>
        logLines(lab, node).some((line) => Object.entries(expected).every(([field, value]) => line[field] === value)),
      15_000,
    );

  it('tells at level debug what goes on', async () => {
    await says({ level: 20, msg: 'etcd answered', request: 'list leases', leases: 1 });
    await says({ level: 20, msg: 'etcd answered', request: 'renew lease', renewed: true });
    await says({ level: 20, msg: 'watching etcd' });
    await says({ level: 20, msg: 'firewall rules looked at' });
    await says({ level: 20, msg: 'host looked at' });
    await act(lab, 'etcd', 'stop');
    await says({ level: 20, msg: 'the watch of etcd has ended' });
    await says({ level: 20, msg: 'etcd did not do what it was asked', request: 'list leases' });
    await act(lab, 'etcd', 'start');
  });

  it('has no key twice in a line', async () => {
    expect((await cli(lab, node, 'log-level', 'trace')).code).toBe(0);
    await says({ msg: 'log level changed', logLevel: 'trace' });
    for (const line of logText(lab, node).trim().split('\n')) {
      const keys = topLevelKeys(line);
      expect(keys, line).toEqual([...new Set(keys)]);
      expect(keys.length, line).toBeGreaterThan(2);
    }
  });

  it('has its priority before each line where journald reads it', async () => {
    const { directory } = nodePaths(lab, node);
    const out = `${directory}/journal`;
    // A file stands for the journal's socket: what counts is which one systemd names.
    const daemon = [
      ...daemonCommand(lab, node, ['--etcd-endpoints=http://127.0.0.1:1']),
      `--subnet-file=${directory}/other/subnet.env`,
      `--state-dir=${directory}/other`,
    ].join(' ');
    const script = `exec >>${out} 2>&1; export JOURNAL_STREAM=$(stat -c %d:%i ${out})`;
    await execIn(lab, 'n1', ['sh', '-c', `${script}; timeout 3 ${daemon} || true; ${daemon} --mtu=x || true`]);
    const lines = readFileSync(out, 'utf8').trim().split('\n');
    expect(lines.find((line) => line.includes('"waiting for etcd"'))).toMatch(/^<4>\{"level":40,/);
    expect(lines.at(-1)).toMatch(/^<3>rudder: option '--mtu <bytes>'/);
    expect(lines.filter((line) => !/^<[2-7]>/.test(line))).toEqual([]);
  });
});
