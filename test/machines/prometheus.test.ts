import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdArguments, etcdctl } from '../../src/lab/etcd.js';
import { act, createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { etcdAddress, etcdNamespace, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, startNode } from '../../src/lab/nodes.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../../src/lab/process.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { ALERT_RULES, alertRules } from '../helpers/alert-rules.js';
import { dashboardQueries } from '../helpers/dashboard.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-prometheus';
const PORT = 9478;
const CONFIG = '{"Network":"10.240.0.0/16"}';
const CONFIG_KEY = '/coreos.com/network/config';
const FIRES_MS = 60_000;

/** The dashboard and the alerts against a real Prometheus, which asks three nodes of a cluster, and one of another with TLS. */
describeWith(['root', 'tun', 'etcd', 'promtool', 'nft'], 'a real Prometheus', () => {
  let lab: LabState;
  let pki: Pki;
  let directory: string;
  const processes: LabProcess[] = [];

  /** The series that Prometheus has for each of these, or why it has none. */
  async function query(expressions: readonly string[]): Promise<Record<string, string>[][]> {
    const script = `Promise.all(JSON.parse(process.argv[1]).map(async (query) => {
      const answer = await (await fetch('http://127.0.0.1:9090/api/v1/query', { method: 'POST', body: new URLSearchParams({ query }) })).json();
      if (answer.status !== 'success') throw new Error(query + ': ' + answer.error);
      return answer.data.result.map(({ metric }) => metric);
    })).then((all) => console.log(JSON.stringify(all)))`;
    return JSON.parse(await execIn(lab, 'etcd', [process.execPath, '-e', script, JSON.stringify(expressions)]));
  }
  async function firing(): Promise<Set<string>> {
    const [series] = await query(['ALERTS{alertstate="firing"}']);
    return new Set(series.map(({ alertname, instance }) => `${alertname} ${instance.split(':')[0]}`));
  }
  const at = (alert: string, number: number) => `${alert} ${nodeAddress(lab, { number })}`;
  async function fires(...alerts: string[]): Promise<void> {
    let now = new Set<string>();
    const all = async () => {
      now = await firing();
      return alerts.every((alert) => now.has(alert));
    };
    await waitFor(`${alerts.join(' and ')} to fire`, all, FIRES_MS).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}; what fires: ${[...now].join(', ')}`);
    });
  }
  const inNode = (member: string, script: string) => execIn(lab, member, ['sh', '-c', script]);

  async function startSecureEtcd(): Promise<string> {
    const url = `https://${etcdAddress(lab)}:12379`;
    pki.authority('ca');
    pki.certificate('etcd', 'ca', `IP:${etcdAddress(lab)}`);
    const files = [`--cert-file=${pki.path('etcd.crt')}`, `--key-file=${pki.path('etcd.key')}`];
    const args = etcdArguments(join(directory, 'etcd'), url, `http://${etcdAddress(lab)}:12380`);
    processes.push(
      await spawnInNamespace(etcdNamespace(lab), ['etcd', ...args, ...files], join(directory, 'etcd.log')),
    );
    const flags = [`--endpoints=${url}`, `--cacert=${pki.path('ca.crt')}`, '--command-timeout=5s'];
    const put = () =>
      execIn(lab, 'etcd', ['env', 'ETCDCTL_API=3', 'etcdctl', ...flags, 'put', CONFIG_KEY, CONFIG]).then(() => true);
    await waitFor('the etcd with TLS to answer', put, 20_000);
    return url;
  }

  async function startPrometheus(): Promise<void> {
    // A test has no minutes.
    const rules = readFileSync(ALERT_RULES, 'utf8').replace(/^( *for:) \d+m$/gm, '$1 1s');
    writeFileSync(join(directory, 'rules.yml'), rules);
    const targets = lab.nodes.map((node) => `${nodeAddress(lab, node)}:${PORT}`);
    const settings = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: ['rules.yml'],
      scrape_configs: [{ job_name: 'rudder', static_configs: [{ targets }] }],
    };
    const file = join(directory, 'prometheus.yml');
    writeFileSync(file, JSON.stringify(settings));
    const flags = [`--config.file=${file}`, `--storage.tsdb.path=${join(directory, 'data')}`];
    const command = ['prometheus', ...flags, '--web.listen-address=127.0.0.1:9090'];
    processes.push(await spawnInNamespace(etcdNamespace(lab), command, join(directory, 'prometheus.log')));
    const isUp = async () => (await query(['sum(up) == 4']))[0].length === 1;
    await waitFor('Prometheus to have all four', isUp, 30_000);
  }

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-prometheus-'));
    pki = createPki();
    lab = await createLab({ name: NAME, nodes: 4, config: CONFIG, daemon: { leaseTtl: '40s' } });
    const secure = [`--etcd-endpoints=${await startSecureEtcd()}`, `--etcd-cafile=${pki.path('ca.crt')}`];
    for (const node of lab.nodes) {
      const serving = [`--healthz-ip=${nodeAddress(lab, node)}`, `--healthz-port=${PORT}`];
      await startNode(lab, node, node.number === 4 ? [...serving, ...secure] : serving);
    }
    for (const node of lab.nodes.slice(0, 2)) await addContainer(lab, node);
    await startPrometheus();
  }, 180_000);
  afterAll(async () => {
    for (const process of processes) await endProcess(process, 5000);
    await labDown(NAME);
    pki.remove();
    if (existsSync(directory)) rmSync(directory, { recursive: true });
  }, 60_000);

  const there = () => labStatus(lab)[1].containerAddress;

  /** Each with what brings it about, and what ends that; those that have one cause have it together. */
  const FAULTS: {
    alerts: readonly [string, number][];
    cause: () => Promise<unknown>;
    mend?: () => Promise<unknown>;
  }[] = [
    { alerts: [['RudderCertificateEnds', 4]], cause: async () => undefined },
    { alerts: [['RudderHostChanged', 1]], cause: () => inNode('n1', 'ip link set rudder0 mtu 1000') },
    {
      alerts: [['RudderLeaseRestored', 1]],
      cause: () =>
        etcdctl(lab, 'del', `/coreos.com/network/subnets/${labStatus(lab)[0].subnet.replace(/\.1\/24$/, '.0-24')}`),
    },
    {
      alerts: [['RudderImpostors', 1]],
      cause: () => {
        const to = nodeAddress(lab, { number: 2 });
        const script = `const s = require('node:dgram').createSocket('udp4'); s.send('x', 8285, '${to}', () => s.close())`;
        return execIn(lab, 'c1', [process.execPath, '-e', script]);
      },
    },
    {
      // Each has been on its way for too long when it comes to the tunnel, which says so to who has sent it.
      alerts: [['RudderDropsRising', 1]],
      cause: () => {
        const script = `const s = require('node:dgram').createSocket('udp4');
          s.on('error', () => undefined);
          s.bind(() => { s.setTTL(1); let sent = 0; const timer = setInterval(() => {
            for (let i = 0; i < 100; i++) s.send('x', 9, '${there()}');
            if (++sent === 20) { clearInterval(timer); setTimeout(() => process.exit(0), 100); }
          }, 50); })`;
        return execIn(lab, 'n1', [process.execPath, '-e', script]);
      },
    },
    {
      alerts: [['RudderConfigChanged', 2]],
      cause: () => etcdctl(lab, 'put', CONFIG_KEY, '{"Network":"10.240.0.0/16","SubnetLen":25}'),
      mend: () => etcdctl(lab, 'put', CONFIG_KEY, CONFIG),
    },
    {
      alerts: [['RudderForwardingBroken', 1]],
      cause: async () => {
        const chain = 'chain own { type filter hook forward priority -10; oifname "rudder0" drop; }';
        await inNode('n1', `nft 'table inet corp { ${chain} }'`);
        await inNode('c1', `ping -q -c 20 -i 0.2 -W 1 ${there()} > /dev/null || true`);
      },
      mend: () => inNode('n1', 'nft delete table inet corp'),
    },
    {
      alerts: [
        ['RudderRegistryLost', 1],
        ['RudderNotReady', 1],
        ['RudderLeaseEndsSoon', 1],
      ],
      cause: () => act(lab, 'etcd', 'stop'),
      mend: () => act(lab, 'etcd', 'start'),
    },
    {
      alerts: [
        ['RudderDown', 2],
        ['RudderPeerDown', 1],
        ['RudderPeersDown', 1],
      ],
      cause: async () => {
        for (const member of ['n2', 'n3']) await act(lab, member, 'partition');
      },
      mend: async () => {
        for (const member of ['n2', 'n3']) await act(lab, member, 'heal');
      },
    },
  ];

  it('tells of nothing that is not so', async () => {
    expect([...(await firing())].filter((alert) => alert !== at('RudderCertificateEnds', 4))).toEqual([]);
  });

  describe('an alert fires for its cause', () => {
    it('each of them has one', () => {
      const caused = FAULTS.flatMap(({ alerts }) => alerts.map(([alert]) => alert));
      const rules = alertRules().map(({ alert }) => alert);
      expect(caused.sort()).toEqual(rules.sort());
    });

    it.each(FAULTS.map((fault) => ({ ...fault, title: fault.alerts.map(([alert]) => alert).join(', ') })))('$title', {
      timeout: 180_000,
    }, async ({ alerts, cause, mend }) => {
      const expected = alerts.map(([alert, number]) => at(alert, number));
      const before = await firing();
      // One that is there from the start is not brought about.
      if (mend !== undefined) expect(expected.filter((alert) => before.has(alert))).toEqual([]);
      await cause();
      try {
        await fires(...expected);
      } finally {
        await mend?.();
      }
      if (mend === undefined) return;
      const isOver = async () => {
        const now = await firing();
        return expected.every((alert) => !now.has(alert));
      };
      await waitFor(`${expected.join(' and ')} to be over`, isOver, FIRES_MS);
    });
  });

  it('no panel of the dashboard is empty', { timeout: 120_000 }, async () => {
    await inNode('c1', `ping -q -c 20 -i 0.2 ${there()}`);
    const queries = dashboardQueries();
    // As a panel shows it: the time that has passed since the first of the faults.
    const asked = queries.map(({ expression }) => {
      const now = expression
        .replaceAll('$__rate_interval', '10s')
        .replaceAll('$job', '.*')
        .replaceAll('$instance', '.*');
      return `last_over_time((${now})[15m:1s])`;
    });
    const found = await query(asked);
    expect(
      queries.filter((_, i) => found[i].length === 0).map(({ panel, expression }) => `${panel}: ${expression}`),
    ).toEqual([]);
    // What is said of a series is there.
    for (const [i, { panel, legend }] of queries.entries()) {
      for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) expect(found[i][0], panel).toHaveProperty(label);
    }
  });
});
