import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { namespaceOf } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import type { LabState } from '../lab/state.js';
import { waitFor } from '../lab/wait-for.js';
import type { Route } from './systems.js';

/** One measurement each, with well-known tools: iperf3 for throughput and packet rates, sockperf for latency. */
const IPERF_PORT = '5301';
const SOCKPERF_PORT = '5302';

/** Runs work while a server is up in a namespace. */
async function withServer<T>(lab: LabState, member: string, command: string[], work: () => Promise<T>): Promise<T> {
  const server = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, member)}`, '--', ...command], {
    stdio: 'ignore',
  });
  await once(server, 'spawn');
  try {
    const port = Number(command.at(-1)).toString(16).toUpperCase().padStart(4, '0');
    await waitFor(
      `${command[0]} to listen`,
      async () => (await execIn(lab, member, ['cat', '/proc/net/tcp', '/proc/net/tcp6'])).includes(`:${port} `),
      5000,
    );
    return await work();
  } finally {
    await end(server);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

interface IperfEnd {
  readonly sum_received?: { readonly bits_per_second: number };
  readonly sum_received_bidir_reverse?: { readonly bits_per_second: number };
  readonly sum?: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  readonly streams?: { readonly receiver?: { readonly bits_per_second: number } }[];
}

async function iperf(lab: LabState, route: Route, seconds: number, options: readonly string[]): Promise<IperfEnd> {
  const client = ['iperf3', '--json', '--client', route.target, '--bind', route.source, '--port', IPERF_PORT];
  // Bound, so that what it answers comes from the address that was asked: containers here have several.
  const server = ['iperf3', '--server', '--bind', route.target, '--port', IPERF_PORT];
  return withServer(lab, route.server, server, async () => {
    const report = JSON.parse(await execIn(lab, route.client, [...client, '--time', String(seconds), ...options]));
    // Some of its failures leave the exit status 0, and zeros that look like a measurement.
    if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
    return report.end as IperfEnd;
  });
}

export interface TcpResult {
  /** Sum of all flows, both directions. */
  readonly bitsPerSecond: number;
  /** The slowest flow as a share of what each would have got if all were equal. */
  readonly slowestShare: number;
}

export interface TcpLoad {
  readonly flows: number;
  readonly bothWays: boolean;
  /** Such as cubic or bbr; the machine's own if undefined. A namespace may not choose, a socket of root's may. */
  readonly congestion: string | undefined;
}

export async function tcp(lab: LabState, route: Route, seconds: number, load: TcpLoad): Promise<TcpResult> {
  const result = await iperf(lab, route, seconds, [
    ...['--parallel', String(load.flows)],
    ...(load.bothWays ? ['--bidir'] : []),
    ...(load.congestion === undefined ? [] : ['--congestion', load.congestion]),
  ]);
  const bitsPerSecond =
    (result.sum_received?.bits_per_second ?? 0) + (result.sum_received_bidir_reverse?.bits_per_second ?? 0);
  const rates = (result.streams ?? []).map((stream) => stream.receiver?.bits_per_second ?? 0);
  return { bitsPerSecond, slowestShare: (Math.min(...rates) * rates.length) / rates.reduce((a, b) => a + b, 0) };
}

export interface UdpResult {
  readonly offered: number;
  readonly delivered: number;
}

/**
 * Socket buffers as large as any program may have. With the default 208 KB the receiving program's own buffer holds
 * some 270 small packets, less than arrives while it waits for its turn on a shared core: that would be measured.
 */
function socketBuffer(): string {
  const limits = ['rmem_max', 'wmem_max'].map((name) => Number(readFileSync(`/proc/sys/net/core/${name}`, 'utf8')));
  return String(Math.min(4 * 2 ** 20, ...limits));
}

/**
 * Datagrams that iperf3 sends before it looks at the clock. One by one, the look costs so much that a third of what the
 * sender can offer without a limit is lost, and an overload looks like less capacity.
 */
const BURST = 16;

/** Packets a second. @param rate offered; 0: as many as the sender can */
export async function udp(
  lab: LabState,
  route: Route,
  seconds: number,
  payload: number,
  rate: number,
): Promise<UdpResult> {
  const bits = rate === 0 ? '0' : `${Math.round(rate * payload * 8)}/${BURST}`;
  const options = ['--udp', '--length', String(payload), '--bitrate', bits, '--window', socketBuffer()];
  const { sum } = await iperf(lab, route, seconds, options);
  if (sum === undefined) return { offered: 0, delivered: 0 };
  return { offered: sum.packets / sum.seconds, delivered: (sum.packets - sum.lost_packets) / sum.seconds };
}

export interface Latency {
  /** Round trip of a TCP request and its response, in microseconds. */
  readonly p50: number;
  readonly p99: number;
}

export async function latency(lab: LabState, route: Route, seconds: number): Promise<Latency> {
  const server = ['sockperf', 'server', '--tcp', '-i', route.target, '-p', SOCKPERF_PORT];
  return withServer(lab, route.server, server, async () => {
    const client = [
      'sockperf',
      'ping-pong',
      '--tcp',
      '-i',
      route.target,
      '--client_ip',
      route.source,
      '-p',
      SOCKPERF_PORT,
      '-t',
      String(seconds),
    ];
    const report = await execIn(lab, route.client, client);
    // sockperf tells half of a round trip.
    const percentile = (which: string) => 2 * Number(new RegExp(`percentile ${which} = +([\\d.]+)`).exec(report)?.[1]);
    return { p50: percentile('50.000'), p99: percentile('99.000') };
  });
}

/** The same while one TCP flow fills the way. */
export async function latencyUnderLoad(
  lab: LabState,
  route: Route,
  seconds: number,
  congestion: string | undefined,
): Promise<Latency> {
  const load = tcp(lab, route, seconds + 1, { flows: 1, bothWays: false, congestion });
  await delay(500);
  const [result] = await Promise.all([latency(lab, route, seconds), load]);
  return result;
}

/** CPU seconds that these processes have used so far. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / 100; // utime and stime, in ticks of 10 ms
  }, 0);
}
