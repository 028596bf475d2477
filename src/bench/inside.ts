import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { workerCollections } from '../lab/garbage.js';
import { launchNode, stopNode, waitUntilReady } from '../lab/nodes.js';
import { type LabState, labDirectory } from '../lab/state.js';
import { cpuSeconds, tcp } from './measure.js';
import { routeOf, switchTo } from './systems.js';

/** What a daemon looks like from inside while it carries as much TCP as it can, both ways. Sums over both nodes. */
export interface Inside {
  readonly seconds: number;
  /** Garbage collections in the packet paths' threads, from V8's own trace. */
  readonly collections: number;
  /** By how much the resident memory of the daemons grew, in MB. */
  readonly rssGrowth: number;
  /** CPU of the daemons: one core for a second is 1 s. */
  readonly cpuSeconds: number;
  /** Shares of the daemons' CPU time; undefined without `perf`. */
  readonly shares?: { readonly jit: number; readonly native: number; readonly kernel: number };
}

/** The first seconds warm up: code is compiled, buffers are touched for the first time. */
const WARM_UP_SECONDS = 5;

export async function lookInside(
  lab: LabState,
  seconds: number,
  daemonArguments: string[],
  congestion: string | undefined,
): Promise<Inside> {
  // The daemon's arguments for node itself belong to the lab; these are for this one measurement.
  const traced = { ...lab, daemon: { ...lab.daemon, nodeArguments: ['--trace-gc', '--max-semi-space-size=1'] } };
  // Whatever ran before: nothing else may use the CPU.
  await switchTo(lab, 'veth', { peers: {}, backend: 'udp', daemonArguments: [] });
  for (const node of lab.nodes) await launchNode(traced, node, daemonArguments);
  for (const node of lab.nodes) await waitUntilReady(traced, node);
  const pids = lab.nodes.map((node) => node.process!.pid);
  const route = routeOf(lab, 'rudder', 'container');
  const load = tcp(lab, route, WARM_UP_SECONDS + seconds + 1, { flows: 1, bothWays: true, congestion });
  await delay(WARM_UP_SECONDS * 1000);
  const collected = () => lab.nodes.reduce((sum, node) => sum + (workerCollections(traced, node) ?? 0), 0);
  const before = { collections: collected(), rss: residentBytes(pids), cpu: cpuSeconds(pids) };
  const [shares] = await Promise.all([profile(lab, pids, seconds), delay(seconds * 1000)]);
  const result = {
    seconds,
    collections: collected() - before.collections,
    rssGrowth: (residentBytes(pids) - before.rss) / 1e6,
    cpuSeconds: cpuSeconds(pids) - before.cpu,
    ...(shares === undefined ? {} : { shares }),
  };
  await load;
  for (const node of lab.nodes) await stopNode(lab, node);
  return result;
}

export function residentBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return sum + Number(kilobytes) * 1024;
  }, 0);
}

/** Where the daemons spend their CPU time, by perf's samples of the CPU clock (hardware counters need no support). */
async function profile(lab: LabState, pids: readonly number[], seconds: number): Promise<Inside['shares']> {
  if (!existsSync('/usr/bin/perf')) return undefined;
  const data = `${labDirectory(lab.name)}/perf.data`;
  const record = ['record', '-q', '-e', 'cpu-clock', '-F', '499', '-o', data, '-p', pids.join(',')];
  await execa('perf', [...record, '--', 'sleep', String(Math.min(seconds, 20))], { reject: false });
  const report = await execa('perf', ['report', '-q', '-i', data, '--sort', 'dso', '--stdio'], { reject: false });
  const share = (pattern: RegExp) =>
    report.stdout
      .split('\n')
      .filter((line) => pattern.test(line))
      .reduce((sum, line) => sum + Number.parseFloat(line) / 100, 0);
  return { jit: share(/\[JIT\]|perf-\d+\.map/), native: share(/rudder.native\.node/), kernel: share(/\[kernel/) };
}
