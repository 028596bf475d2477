import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { ALERT_RULES, alertRules } from '../helpers/alert-rules.js';
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

  it('understands every query of the dashboard', async () => {
    const expressions = dashboardQueries().map(({ expression }) => expression.replaceAll('$__rate_interval', '1m'));
    const rules = expressions.map((expr, i) => ({ record: `rule_${i}`, expr }));
    const file = join(directory, 'rules.yml');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'rudder', rules }] }));
    const checked = await execa('promtool', ['check', 'rules', file], { all: true, reject: false });
    expect(checked.all).toContain(`${expressions.length} rules found`);
    expect(checked.exitCode).toBe(0);
  });
});

/** What is so from minute 10 on of each alert, after it was as it should be: series of promtool's unit tests. */
const FAULTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  RudderDown: { 'up{job="rudder"}': '1x9 0x30' },
  RudderNotReady: { rudder_ready: '1x9 0x30' },
  RudderPeerDown: { 'rudder_peer_up{subnet="10.240.7.0/24",host="n7"}': '1x9 0x30' },
  RudderPeersDown: {
    'rudder_peers_by_state{state="ok"}': '3x9 1x30',
    'rudder_peers_by_state{state="silent"}': '0x9 1x30',
    'rudder_peers_by_state{state="unreachable"}': '0x9 1x30',
  },
  RudderRegistryLost: { rudder_registry_watch_current: '1x9 0x30' },
  RudderLeaseEndsSoon: { rudder_lease_remaining_seconds: '86000x9 40000x30', rudder_lease_ttl_seconds: '86400x40' },
  RudderLeaseRestored: { rudder_lease_recoveries_total: '0x9 1x30' },
  RudderCertificateEnds: {
    'rudder_registry_certificate_expiry_timestamp_seconds{file="/c.pem"}': `${20 * 86_400}x9 ${13 * 86_400}x30`,
  },
  RudderConfigChanged: {
    'rudder_network_config{state="current"}': '1x9 0x30',
    'rudder_network_config{state="invalid"}': '0x9 1x30',
  },
  RudderDropsRising: {
    'rudder_drops_total{direction="in",reason="source"}': '0x9 0+120x30',
    // Which nobody has to be woken for.
    'rudder_drops_total{direction="out",reason="no_route"}': '0+1000x40',
  },
  RudderForwardingBroken: { 'rudder_forwarding_broken{direction="in"}': '0x9 1x30' },
  RudderHostChanged: { rudder_device_repairs_total: '0x9 1x14 2x15', rudder_firewall_repairs_total: '0x40' },
  RudderImpostors: { 'rudder_impostor_datagrams_total{kind="stranger"}': '0x9 5x30' },
};

describeWith(['promtool'], 'the alert rules', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-alerts-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it('are rules', async () => {
    const checked = await execa('promtool', ['check', 'rules', ALERT_RULES], { all: true, reject: false });
    expect(checked.all).toContain(`${alertRules().length} rules found`);
    expect(checked.exitCode).toBe(0);
  });

  it('have a fault each, which they alone tell, and only after its time', async () => {
    expect(Object.keys(FAULTS).sort()).toEqual(
      alertRules()
        .map(({ alert }) => alert)
        .sort(),
    );
    const firing = (eval_time: string, alerts: string[]) => ({
      expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
      eval_time,
      exp_samples: alerts.map((alertname) => ({ labels: `{alertname="${alertname}"}`, value: 1 })),
    });
    const tests = Object.entries(FAULTS).map(([alert, series]) => ({
      name: alert,
      interval: '1m',
      input_series: Object.entries(series).map(([name, values]) => ({
        series: name.endsWith('}') ? name.replace(/}$/, ',instance="n1"}') : `${name}{instance="n1"}`,
        values,
      })),
      // 30 min are enough for all of them.
      promql_expr_test: [firing('9m', []), firing('35m', [alert])],
    }));
    const file = join(directory, 'tests.json');
    writeFileSync(file, JSON.stringify({ rule_files: [resolve(ALERT_RULES)], evaluation_interval: '1m', tests }));
    const tested = await execa('promtool', ['test', 'rules', file], { all: true, reject: false });
    expect(tested.exitCode, tested.all).toBe(0);
  });
});
