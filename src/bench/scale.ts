import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { Command } from 'commander';
import { createRouteTable, nextHopOf, setRoute } from '../backend/packet-path/tables/routes.js';
import { messageOf } from '../core/errors.js';
import { type NetworkConfig, parseCommonConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import { createLab, labDown } from '../lab/lab.js';
import { etcdUrl, nodeAddress } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { daemonCommand, launchNode, logLines, readSubnetEnv, waitUntilReady } from '../lab/nodes.js';
import type { LabNode, LabState } from '../lab/state.js';
import { waitFor } from '../lab/wait-for.js';
import { residentBytes } from './inside.js';
import { cpuSeconds } from './measure.js';
import { onSignal } from './on-signal.js';

/**
 * `npm run scale`: one node in a cluster of thousands, all others of which exist in etcd only. With `DirectRouting` in the
 * config their addresses are one host's on the node's link, whose kernel answers for all of them.
 */
const NAME = 'scale';
const CHURN = fileURLToPath(new URL('./churn.js', import.meta.url));
const CONFIGS = ['{"Network":"10.0.0.0/8","SubnetLen":20}', '{"Network":"10.16.0.0/12","SubnetLen":24}'];
/** The node itself chooses among the first hundred free ones: these are left to it. */
const FIRST = 96;
const ALL_KNOWN_MS = 60_000;
/** Of 4,000 peers that come at once, all are reached directly within two minutes. */
const ALL_DIRECT_MS = 180_000;

interface Plan {
  readonly leases: number;
  readonly rate: number;
  readonly seconds: number;
  readonly idleSeconds: number;
}

interface Figures {
  readonly config: string;
  readonly startMs: number;
  readonly listMs: number;
  readonly rangeRequests: number;
  /** Peers that are reached without the tunnel before it is idle, and when the last of them was; undefined: not wanted. */
  readonly direct: { readonly peers: number; readonly afterMs: number } | undefined;
  readonly rssMegabytes: number;
  readonly idleCpuPercent: number;
  readonly churnPerSecond: number;
  readonly changeMs: { readonly p50: number; readonly p99: number };
  readonly churnCpuPercent: number;
  readonly rssAfterMegabytes: number;
}

/** V8 collects what a start has used in the minute after it. */
const SETTLED_MS = 60_000;
/** One collection of the whole heap takes some 0.3 s of CPU, and comes every two or three minutes. */
const IDLE_SECONDS = 150;

interface Logged {
  readonly at: number;
  readonly subnet: string;
}

/** The addresses of all other nodes begin here, as churn.ts gives them. */
const OTHERS_ADDRESS = 0xc0000000 | 0;

/** When which route was set, from the log at level debug. */
function routesSet(lab: LabState, node: LabNode): Logged[] {
  return logLines(lab, node)
    .filter((line) => /^route (added|changed)/.test(String(line.msg)))
    .map((line) => ({ at: Date.parse(String(line.time)), subnet: String(line.subnet) }));
}

/** etcd's own count of range requests, lists and single keys alike. */
async function rangeRequests(lab: LabState): Promise<number> {
  const url = `${etcdUrl(lab)}/metrics`;
  const program = `fetch(${JSON.stringify(url)}).then((r) => r.text()).then((t) => process.stdout.write(t))`;
  const text = await execIn(lab, 'etcd', [process.execPath, '-e', program]);
  return Number(/^grpc_server_handled_total\{grpc_code="OK",grpc_method="Range".*\} (\d+)/m.exec(text)?.[1] ?? 0);
}

const wantsDirect = ({ backend }: NetworkConfig) => backend.options.directrouting === true;

/** All other hosts at once, on the link: the addresses of all nodes (churn.ts), and those of their devices in the overlay. */
async function answerForAll(lab: LabState, { network }: NetworkConfig): Promise<void> {
  const all = { address: OTHERS_ADDRESS, prefixLength: 16 };
  await execIn(lab, 'n1', ['ip', 'route', 'add', formatSubnet(all), 'dev', 'eth0']);
  await execIn(lab, 'etcd', ['ip', 'route', 'add', 'local', formatSubnet(all), 'dev', 'lo']);
  await execIn(lab, 'etcd', ['ip', 'route', 'add', 'local', formatSubnet(network), 'dev', 'lo']);
}

async function leadBack(lab: LabState, node: LabNode): Promise<void> {
  const subnet = readSubnetEnv(lab, node).RUDDER_SUBNET.replace(/\.\d+\/(\d+)$/, '.0/$1');
  // In the table of what is this host's own, where the whole Network is.
  await execIn(lab, 'etcd', ['ip', 'route', 'add', subnet, 'via', nodeAddress(lab, node), 'table', 'local']);
}

/** Waits until all are, or no more become so: the kernel may have room for fewer neighbours. */
async function directPeers(lab: LabState, node: LabNode, launched: number, all: number): Promise<Figures['direct']> {
  // Whose exit code is about other things.
  const status = ['sh', '-c', `${daemonCommand(lab, node, ['status', '--json']).join(' ')} || true`];
  const end = Date.now() + ALL_DIRECT_MS;
  let [peers, at] = [0, launched];
  while (peers < all && Date.now() < end) {
    const now: number = JSON.parse(await execIn(lab, 'n1', status)).backend.direct ?? 0;
    if (now > peers) [peers, at] = [now, Date.now()];
    await delay(1000);
  }
  return { peers, afterMs: at - launched };
}

async function measure(config: string, plan: Plan): Promise<Figures> {
  const parsed = parseCommonConfig(config);
  const daemon = { leaseTtl: '24h', arguments: ['--log-level=debug'] };
  const lab = await createLab({ name: NAME, nodes: 1, config, daemon });
  const [node] = lab.nodes;
  const churn = (...args: (string | number)[]) =>
    execIn(lab, 'etcd', [process.execPath, CHURN, etcdUrl(lab), config, ...args.map(String)]);
  await churn('fill', FIRST, plan.leases);
  if (wantsDirect(parsed)) await answerForAll(lab, parsed);

  const before = await rangeRequests(lab);
  const launched = Date.now();
  await launchNode(lab, node);
  await waitUntilReady(lab, node);
  await waitFor('all routes', () => routesSet(lab, node).length === plan.leases, ALL_KNOWN_MS);
  const routes = routesSet(lab, node);
  const pids = [node.process!.pid];
  const requests = (await rangeRequests(lab)) - before;
  const rssMegabytes = residentBytes(pids) / 1e6;
  if (wantsDirect(parsed)) await leadBack(lab, node);
  const direct = wantsDirect(parsed) ? await directPeers(lab, node, launched, plan.leases) : undefined;
  await delay(Math.min(SETTLED_MS, 1000 * plan.idleSeconds));
  const idleCpuPercent = await cpuPercent(pids, plan.idleSeconds);

  const cpuBefore = cpuSeconds(pids);
  const joins = (await churn('churn', FIRST, plan.leases, plan.rate, plan.seconds))
    .split('\n')
    .map((line) => JSON.parse(line) as Logged);
  const churnCpuPercent = ((cpuSeconds(pids) - cpuBefore) / plan.seconds) * 100;
  await waitFor('all changes', () => routesSet(lab, node).length === plan.leases + joins.length, ALL_KNOWN_MS);
  const delays = delaysOf(joins, routesSet(lab, node).slice(plan.leases));
  const rssAfterMegabytes = residentBytes(pids) / 1e6;
  await labDown(NAME);
  return {
    config,
    startMs: routes.at(-1)!.at - launched,
    listMs: routes.at(-1)!.at - routes[0].at,
    rangeRequests: requests,
    direct,
    rssMegabytes,
    idleCpuPercent,
    churnPerSecond: joins.length / plan.seconds,
    changeMs: { p50: quantile(delays, 0.5), p99: quantile(delays, 0.99) },
    churnCpuPercent,
    rssAfterMegabytes,
  };
}

async function cpuPercent(pids: number[], seconds: number): Promise<number> {
  const before = cpuSeconds(pids);
  await delay(seconds * 1000);
  return ((cpuSeconds(pids) - before) / seconds) * 100;
}

/** From the moment before etcd is asked to write to the route in the table; the same subnet may have joined twice. */
function delaysOf(joins: readonly Logged[], routes: readonly Logged[]): number[] {
  const pending = new Map<string, number[]>();
  for (const { subnet, at } of joins) pending.set(subnet, [...(pending.get(subnet) ?? []), at]);
  return routes.flatMap(({ subnet, at }) => {
    const joined = pending.get(subnet)?.shift();
    return joined === undefined ? [] : [at - joined];
  });
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
}

/** Nanoseconds of one look into the route table, with that many peers; the best of several turns. */
function lookupNanoseconds(peers: number): number {
  const config = parseCommonConfig(CONFIGS[0]);
  const table = createRouteTable(config);
  const size = 2 ** (32 - config.subnetLength);
  for (let i = 0; i < peers; i++) {
    setRoute(table, { address: config.network.address + (FIRST + i) * size, prefixLength: 20 }, 0xc0000000 + i);
  }
  // A fixed walk through the peers that no cache line order helps.
  const targets = Int32Array.from(
    { length: 1 << 16 },
    (_, i) => config.network.address + (FIRST + ((i * 2654435761) % peers)) * size + 2,
  );
  let best = Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let turn = 0; turn < 40; turn++) {
    const start = process.hrtime.bigint();
    for (const target of targets) sum = (sum + nextHopOf(table, target)) | 0;
    best = Math.min(best, Number(process.hrtime.bigint() - start) / targets.length);
  }
  if (sum === 0.5) throw new Error('unreachable: the sum is used');
  return best;
}

async function main(): Promise<void> {
  const flags = new Command('npm run scale --')
    .option('--config <json...>', 'network configs to measure with', CONFIGS)
    .option('--leases <count>', 'nodes in the cluster', '4000')
    .option('--rate <count>', 'joins a second, and as many leaves', '100')
    .option('--seconds <count>', 'how long they join and leave', '60')
    .option('--idle <seconds>', 'how long it is idle; too few tell nothing', `${IDLE_SECONDS}`)
    .parse()
    .opts<Record<'leases' | 'rate' | 'seconds' | 'idle', string> & { config: string[] }>();
  const [leases, rate, seconds, idleSeconds] = [flags.leases, flags.rate, flags.seconds, flags.idle].map(Number);
  const plan = { leases, rate, seconds, idleSeconds };
  onSignal(() => labDown(NAME));
  await labDown(NAME);
  try {
    const table = new Table({ head: ['', ...flags.config] });
    const figures: Figures[] = [];
    for (const config of flags.config) {
      process.stderr.write(`${plan.leases} leases in ${config}\n`);
      figures.push(await measure(config, plan));
    }
    const row = (name: string, of: (each: Figures) => string) => table.push([name, ...figures.map(of)]);
    row('routes to all, from the launch of the process', ({ startMs }) => `${startMs} ms`);
    row('from the first route to the last', ({ listMs }) => `${listMs} ms`);
    row('range requests of the whole start', (each) => `${each.rangeRequests}`);
    row('RSS', ({ rssMegabytes }) => `${rssMegabytes.toFixed(0)} MB`);
    row('reached directly', ({ direct }) =>
      direct === undefined ? '' : `${direct.peers}, after ${(direct.afterMs / 1000).toFixed(0)} s`,
    );
    row('CPU, idle', ({ idleCpuPercent }) => `${idleCpuPercent.toFixed(2)} %`);
    row('joins, and as many leaves', ({ churnPerSecond }) => `${churnPerSecond.toFixed(0)} /s`);
    row('from a join to its route, p50', ({ changeMs }) => `${changeMs.p50} ms`);
    row('p99', ({ changeMs }) => `${changeMs.p99} ms`);
    row('CPU meanwhile', ({ churnCpuPercent }) => `${churnCpuPercent.toFixed(1)} %`);
    row('RSS afterwards', ({ rssAfterMegabytes }) => `${rssAfterMegabytes.toFixed(0)} MB`);
    const lookups = [2, plan.leases].map((peers) => lookupNanoseconds(peers).toFixed(2));
    process.stdout.write(
      `${table}\nOne look into the route table: ${lookups[0]} ns with 2 peers, ${lookups[1]} ns with ${plan.leases}.\n`,
    );
  } finally {
    await labDown(NAME);
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`scale: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
