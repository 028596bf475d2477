import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import Table from 'cli-table3';
import { Command } from 'commander';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { messageOf, RudderError } from '../core/errors.js';
import { etcdctl } from '../lab/etcd.js';
import { labDown, labUp } from '../lab/lab.js';
import { containerName, nodeName } from '../lab/names.js';
import { containerAddress, execIn } from '../lab/network.js';
import { readSubnetEnv } from '../lab/nodes.js';
import { isRunning } from '../lab/process.js';
import type { LabNode, LabState } from '../lab/state.js';
import { type Stream, startStream } from '../lab/stream.js';
import { waitFor } from '../lab/wait-for.js';
import { residentBytes } from './inside.js';
import { onSignal } from './on-signal.js';
import { FAULTS } from './soak-faults.js';

/**
 * `npm run soak -- --minutes 10 [--seed N]`: a cluster under traffic, in which peers come and go and random things
 * break, one after the other. At the end everything has to be as it was. The same seed breaks the same things in the
 * same order.
 */
const NAME = 'soak';
const NODES = 3;
const LEASE_TTL = '120s';
/** From the end of a fault to traffic on every way. */
const RECOVERY_MS = 15_000;
const WARM_UP_MS = 5000;
/** What garbage collection has not got to yet is no leak. */
const MOST_RSS_GROWTH = 1.3;
/** gRPC may keep a second connection to an etcd that was away, for each of its clients; it is not one for each fault. */
const MOST_MORE_DESCRIPTORS = 3;
const STRANGERS = 20;

/** What a daemon holds of its host. */
interface Holdings {
  readonly rss: number;
  readonly descriptors: number;
  readonly threads: number;
  readonly routes: string;
}

async function holdingsOf(lab: LabState, node: LabNode): Promise<Holdings> {
  const { pid } = node.process!;
  const threads = /^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return {
    rss: residentBytes([pid]),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: Number(threads),
    routes: (await execIn(lab, nodeName(node), ['ip', 'route'])).trim().split('\n').sort().join('\n'),
  };
}

/** Every container to every other. */
async function startStreams(lab: LabState): Promise<Stream[]> {
  const streams: Stream[] = [];
  for (const from of lab.nodes) {
    for (const to of lab.nodes) {
      if (from === to) continue;
      const address = containerAddress(readSubnetEnv(lab, to).RUDDER_SUBNET);
      streams.push(await startStream(lab, containerName(from), address));
    }
  }
  return streams;
}

/** Nodes that exist in etcd only, one of which comes or goes. */
async function churn(lab: LabState, number: number): Promise<void> {
  const key = `/coreos.com/network/subnets/10.240.${220 + number}.0-24`;
  const isThere = (await etcdctl(lab, 'get', '--keys-only', key)).trim() !== '';
  if (isThere) await etcdctl(lab, 'del', key);
  else await etcdctl(lab, 'put', key, `{"PublicIP":"192.0.2.${number + 1}"}`);
}

interface Struck {
  readonly name: string;
  readonly recoveryMs: number;
}

async function strikeFor(lab: LabState, streams: readonly Stream[], minutes: number, seed: number): Promise<Struck[]> {
  const random = xoroshiro128plus(seed);
  const below = (count: number) => uniformInt(random, 0, count - 1);
  const end = performance.now() + minutes * 60_000;
  const struck: Struck[] = [];
  while (performance.now() < end) {
    const fault = FAULTS[below(FAULTS.length)];
    const node = lab.nodes[below(NODES)];
    await churn(lab, below(STRANGERS));
    process.stderr.write(`${struck.length + 1}. ${fault.name}, ${nodeName(node)}`);
    await fault.strike(lab, node);
    const mended = performance.now();
    await Promise.all(streams.map((stream) => stream.flows(RECOVERY_MS)));
    const recoveryMs = performance.now() - mended;
    for (const each of lab.nodes) {
      if (!isRunning(each.process!)) throw new RudderError('lab', `${nodeName(each)} ended after "${fault.name}"`);
    }
    struck.push({ name: fault.name, recoveryMs });
    process.stderr.write(`: flowing after ${Math.round(recoveryMs)} ms\n`);
  }
  return struck;
}

/** Differences that matter, one line each. */
function differences(node: LabNode, before: Holdings, after: Holdings): string[] {
  const found: string[] = [];
  const name = nodeName(node);
  if (after.rss > before.rss * MOST_RSS_GROWTH) {
    found.push(`${name}: RSS grew from ${megabytes(before.rss)} to ${megabytes(after.rss)}`);
  }
  const more = after.descriptors - before.descriptors;
  if (more < 0 || more > MOST_MORE_DESCRIPTORS) {
    found.push(`${name}: descriptors were ${before.descriptors}, are ${after.descriptors}`);
  }
  for (const what of ['threads', 'routes'] as const) {
    if (before[what] !== after[what]) found.push(`${name}: ${what} were ${before[what]}, are ${after[what]}`);
  }
  return found;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

async function main(): Promise<void> {
  const flags = new Command('npm run soak --')
    .option('--minutes <count>', 'how long', '10')
    .option('--seed <number>', 'what breaks when; random unless given', String(Date.now() % 1e9))
    .parse()
    .opts<{ minutes: string; seed: string }>();
  const [minutes, seed] = [Number(flags.minutes), Number(flags.seed)];
  if (!(minutes > 0) || !Number.isInteger(seed)) {
    throw new RudderError('usage', `--minutes "${flags.minutes}" --seed "${flags.seed}": expected two numbers`);
  }
  process.stderr.write(`seed ${seed}\n`);
  onSignal(() => labDown(NAME));
  await labDown(NAME);
  try {
    const lab = await labUp({ name: NAME, nodes: NODES, daemon: { leaseTtl: LEASE_TTL } });
    const streams = await startStreams(lab);
    await delay(WARM_UP_MS);
    const before = await Promise.all(lab.nodes.map((node) => holdingsOf(lab, node)));
    const struck = await strikeFor(lab, streams, minutes, seed);
    const sums = await Promise.all(streams.map((stream) => stream.stop()));
    const compare = async () =>
      (await Promise.all(lab.nodes.map((node) => holdingsOf(lab, node)))).flatMap((after, i) =>
        differences(lab.nodes[i], before[i], after),
      );
    // Connections to an etcd that was away are closed a little later.
    await waitFor('all to be as it was', async () => (await compare()).length === 0, 30_000).catch(() => undefined);
    const found = await compare();
    process.stdout.write(summary(seed, struck, sums, found));
    process.exitCode = found.length === 0 ? 0 : 1;
  } finally {
    await labDown(NAME);
  }
}

function summary(
  seed: number,
  struck: readonly Struck[],
  sums: readonly { sent: number; received: number }[],
  found: readonly string[],
): string {
  const table = new Table({ head: ['fault', 'times', 'flowing after, at most'], style: { head: [], border: [] } });
  for (const name of new Set(struck.map((each) => each.name))) {
    const own = struck.filter((each) => each.name === name).map(({ recoveryMs }) => recoveryMs);
    table.push([name, own.length, `${Math.round(Math.max(...own))} ms`]);
  }
  const sent = sums.reduce((sum, each) => sum + each.sent, 0);
  const received = sums.reduce((sum, each) => sum + each.received, 0);
  const held = found.length === 0 ? 'RSS, file descriptors, threads and routes are what they were.' : found.join('\n');
  return `${table}\nseed ${seed}: ${struck.length} faults; ${received} of ${sent} echo requests answered.\n${held}\n`;
}

main().catch((error: unknown) => {
  process.stderr.write(`\nsoak: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
