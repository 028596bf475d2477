import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { Command } from 'commander';
import { messageOf } from '../core/errors.js';
import { createLab, labDown } from '../lab/lab.js';
import { etcdAddress, etcdNamespace, nodeName } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { daemonCommand, launchNode, logLines, waitUntilReady } from '../lab/nodes.js';
import { type LabNode, type LabState, labDirectory } from '../lab/state.js';
import { waitFor } from '../lab/wait-for.js';
import { residentBytes } from './inside.js';
import { cpuSeconds } from './measure.js';
import { onSignal } from './on-signal.js';

/** `npm run scale:kubernetes`: one node in a cluster of thousands, whose Nodes an API server of our own has. */
const NAME = 'kube-scale';
const NODES = fileURLToPath(new URL('./kube-nodes.js', import.meta.url));
const PAUSES = new URL('./pauses.js', import.meta.url).href;
const ALL_KNOWN_MS = 60_000;

interface Told {
  readonly at: number;
  readonly subnet: string;
}

/** The API server in a process of its own. */
async function startNodes(lab: LabState, files: { key: string; cert: string }, count: number) {
  const serve = [process.execPath, NODES, etcdAddress(lab), files.key, files.cert, String(count)];
  const child = spawn('nsenter', [`--net=/run/netns/${etcdNamespace(lab)}`, '--', ...serve], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await waitFor('the API server', () => lines.includes('{"ready":true}'), 60_000);
  return {
    async churn(rate: number, seconds: number): Promise<Told[]> {
      lines.length = 0;
      child.stdin.write(`churn ${rate} ${seconds}\n`);
      await waitFor('the changes', () => lines.includes('{"done":true}'), seconds * 3000 + 10_000);
      return lines.filter((line) => line.includes('subnet')).map((line) => JSON.parse(line) as Told);
    },
    stop: () => child.kill(),
  };
}

function routesSet(lab: LabState, node: LabNode): Told[] {
  return logLines(lab, node)
    .filter((line) => /^route (added|changed)/.test(String(line.msg)))
    .map((line) => ({ at: Date.parse(String(line.time)), subnet: String(line.subnet) }));
}

/** When the last of so many peers was told of; undefined: it was not yet. */
function allKnownAt(lab: LabState, node: LabNode, count: number): number | undefined {
  let known = 0;
  for (const { msg, added, time } of logLines(lab, node)) {
    if (msg === 'peers changed') known += Number(added);
    if (known >= count) return Date.parse(String(time));
  }
  return undefined;
}

function makeFiles(lab: LabState): { key: string; cert: string; kubeconfig: string; netConf: string } {
  const directory = labDirectory(lab.name);
  const [key, cert] = [`${directory}/api.key`, `${directory}/api.crt`];
  const subject = ['-subj', '/CN=api', '-addext', `subjectAltName=IP:${etcdAddress(lab)}`];
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...ec, ...subject, '-days', '2', '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  });
  const cluster = { server: `https://${etcdAddress(lab)}:6443`, 'certificate-authority': cert };
  const kubeconfig = {
    'current-context': 'c',
    clusters: [{ name: 'k', cluster }],
    contexts: [{ name: 'c', context: { cluster: 'k' } }],
  };
  writeFileSync(`${directory}/kubeconfig`, JSON.stringify(kubeconfig)); // JSON is YAML
  writeFileSync(`${directory}/net-conf.json`, '{"Network":"10.0.0.0/8"}');
  return { key, cert, kubeconfig: `${directory}/kubeconfig`, netConf: `${directory}/net-conf.json` };
}

const quantile = (values: readonly number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? Number.NaN;

type Name = 'nodes' | 'rate' | 'seconds' | 'settle' | 'idle';
type Plan = Readonly<Record<Name, number>>;

async function measure(plan: Plan): Promise<[string, string][]> {
  const directory = labDirectory(NAME);
  const daemon = {
    arguments: [
      '--kube-subnet-mgr=true',
      `--kubeconfig-file=${directory}/kubeconfig`,
      `--net-config-path=${directory}/net-conf.json`,
    ],
    nodeArguments: ['--import', PAUSES],
    env: { PAUSES_FILE: `${directory}/pauses` },
  };
  const lab = await createLab({ name: NAME, nodes: 1, daemon });
  const [node] = lab.nodes;
  const api = await startNodes(lab, makeFiles(lab), plan.nodes);
  try {
    const launched = Date.now();
    await launchNode(lab, node);
    await waitUntilReady(lab, node);
    await waitFor('all routes', () => allKnownAt(lab, node, plan.nodes) !== undefined, ALL_KNOWN_MS);
    const startMs = allKnownAt(lab, node, plan.nodes)! - launched;
    const pids = [node.process!.pid];
    const peak = peakMegabytes(pids[0]);
    const startPause = await pauseMs(directory);
    await delay(plan.settle * 1000);
    const rss = residentBytes(pids) / 1e6;
    writeFileSync(`${directory}/pauses.off`, '');
    await delay(SEEN_MS);
    const idleBefore = cpuSeconds(pids);
    await delay(plan.idle * 1000);
    const idle = ((cpuSeconds(pids) - idleBefore) / plan.idle) * 100;
    rmSync(`${directory}/pauses.off`);
    await delay(SEEN_MS);
    // Only now: a line for each of thousands would be the longest pause of a start.
    await execIn(lab, nodeName(node), daemonCommand(lab, node, ['log-level', 'debug']));
    const cpuBefore = cpuSeconds(pids);
    const changes = await api.churn(plan.rate, plan.seconds);
    const cpu = ((cpuSeconds(pids) - cpuBefore) / plan.seconds) * 100;
    await waitFor('all changes', () => routesSet(lab, node).length >= changes.length, ALL_KNOWN_MS);
    const routes = routesSet(lab, node);
    const delays = changes.map(({ at }, i) => routes[i].at - at);
    return [
      ['routes to all, from the launch of the process', `${startMs} ms`],
      ['longest pause of the main thread, start', `${startPause.toFixed(0)} ms`],
      ['the same, whole run', `${(await pauseMs(directory)).toFixed(0)} ms`],
      ['RSS at its peak', `${peak.toFixed(0)} MB`],
      ['RSS, settled', `${rss.toFixed(0)} MB`],
      ['CPU, idle', `${idle.toFixed(2)} %`],
      [`from a change to its route, p50, ${plan.rate} a second`, `${quantile(delays, 0.5)} ms`],
      ['p99', `${quantile(delays, 0.99)} ms`],
      ['CPU meanwhile', `${cpu.toFixed(1)} %`],
    ];
  } finally {
    api.stop();
  }
}

/** Pauses are looked at by the second. */
const SEEN_MS = 1200;

async function pauseMs(directory: string): Promise<number> {
  await delay(SEEN_MS);
  return Number(readFileSync(`${directory}/pauses`, 'utf8'));
}

const peakMegabytes = (pid: number) =>
  (Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024) / 1e6;

async function main(): Promise<void> {
  const flags = new Command('npm run scale:kubernetes --')
    .option('--nodes <count>', 'Nodes of the cluster', '5000')
    .option('--rate <count>', 'changes a second', '17')
    .option('--seconds <count>', 'how long they change', '60')
    .option('--settle <seconds>', 'how long a start is forgotten', '60')
    .option('--idle <seconds>', 'how long nothing does', '150')
    .parse()
    .opts<Record<Name, string>>();
  const entries = Object.entries(flags).map(([name, value]) => [name, Number(value)]);
  const plan = Object.fromEntries(entries) as Plan;
  onSignal(() => labDown(NAME));
  await labDown(NAME);
  try {
    const table = new Table({ head: ['', `${plan.nodes} Nodes`] });
    table.push(...(await measure(plan)));
    process.stdout.write(`${table}\n`);
  } finally {
    await labDown(NAME);
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`kube-scale: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
