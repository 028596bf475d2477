import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { dashboardQueries } from '../helpers/dashboard.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-promtool';
const PORT = '9478';

/** Here and not in test/unit, since promtool comes with the whole of Prometheus. */
describeWith(['root', 'tun', 'etcd', 'promtool'], 'promtool', () => {
  let lab: LabState;
  let directory: string;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-promtool-'));
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
    for (const node of lab.nodes) await startNode(lab, node, [`--healthz-port=${PORT}`]);
  });
  afterAll(async () => {
    await labDown(NAME);
    rmSync(directory, { recursive: true });
  });

  it('accepts what /metrics of a node with a peer serves', async () => {
    const script = `fetch('http://127.0.0.1:${PORT}/metrics').then(async (answer) => console.log(await answer.text()))`;
    const text = await execIn(lab, 'n1', [process.execPath, '-e', script]);
    expect(text).toContain('rudder_peer_bytes_total{');
    const checked = await execa('promtool', ['check', 'metrics'], {
      input: `${text.trim()}\n`,
      all: true,
      reject: false,
    });
    expect(checked).toMatchObject({ exitCode: 0, all: '' });
  });

  it('understands every query of the dashboard and every alert of docs/metrics.md', async () => {
    const alerts = readFileSync('docs/metrics.md', 'utf8').split('Worth an alert:')[1].split('\n\n')[0];
    const expressions = [
      ...dashboardQueries().map(({ expression }) => expression.replaceAll('$__rate_interval', '1m')),
      ...[...alerts.matchAll(/`([^`]+)`/g)].map(([, expression]) => expression),
    ];
    const rules = expressions.map((expr, i) => ({ record: `rule_${i}`, expr }));
    const file = join(directory, 'rules.yml');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'rudder', rules }] }));
    const checked = await execa('promtool', ['check', 'rules', file], { all: true, reject: false });
    expect(checked.all).toContain(`${expressions.length} rules found`);
    expect(checked.exitCode).toBe(0);
  });
});
