import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { Command, Option } from 'commander';
import { execa } from 'execa';
import { messageOf } from '../core/errors.js';
import { compile } from '../lab/compile.js';
import { labDown, labUp } from '../lab/lab.js';
import { namespaceOf, nodeName } from '../lab/names.js';
import { stopNode } from '../lab/nodes.js';
import type { LabState } from '../lab/state.js';
import { parseCount } from './flags.js';
import { onSignal } from './on-signal.js';
import { median, ratioOf } from './report.js';
import { addPlainVxlan, BACKENDS, type BackendName, configOf, routeOf, untilDirect } from './systems.js';

/**
 * `npm run bench:round-trips`: what a request and its answer take through Rudder, by what they take through a VXLAN device
 * made by hand. They differ by a percent or two where the kernel moves the packets, and one second of `sockperf` differs
 * from the next by a tenth: here all ways are open at once and have their turns of 10 ms (round-trips.c).
 *
 *     hosts 1 and 2   Rudder, a VXLAN device made by hand beside it, and what the hosts route without any overlay
 *     hosts 3 and 4   of the same lab, where `rudder cleanup` removed all of Rudder: a VXLAN device made by hand
 */
const SOURCE = fileURLToPath(new URL('../../src/bench/round-trips.c', import.meta.url));
const CLI = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const LAB = 'trips';
const REQUESTS = 500;
const LEASE_TTL = '24h';

/** What has turns; the others are told by the first, and by the last. */
const WAYS = [
  { name: 'VXLAN by hand, no Rudder there', system: 'vxlan', hasRudder: false },
  { name: 'VXLAN by hand beside Rudder', system: 'vxlan', hasRudder: true },
  { name: 'Rudder', system: 'rudder', hasRudder: true },
  { name: 'no overlay', system: 'veth', hasRudder: true },
] as const;

interface Flags {
  readonly rounds: number;
  readonly labs: number;
  readonly backend: BackendName;
}

function readFlags(): Flags {
  return new Command('npm run bench:round-trips --')
    .addOption(new Option('--rounds <count>', 'turns of each in a lab').argParser(parseCount('--rounds')).default(200))
    .addOption(
      new Option('--labs <count>', 'how many labs, one after the other').argParser(parseCount('--labs')).default(8),
    )
    .addOption(
      // Without a device of its own a node has no overlay address to send from.
      new Option('--backend <type>', "Rudder's backend")
        .choices(BACKENDS.filter((backend) => backend !== 'host-gw'))
        .default('vxlan'),
    )
    .parse()
    .opts<Flags>();
}

async function main(): Promise<void> {
  const flags = readFlags();
  onSignal(() => labDown(LAB));
  const labs: number[][][] = [];
  try {
    for (let number = 0; number < flags.labs; number++) {
      process.stderr.write(`\rlab ${number + 1} of ${flags.labs} `);
      await labDown(LAB);
      labs.push(await measure(await prepare(flags.backend), flags.rounds));
    }
  } finally {
    await labDown(LAB);
  }
  process.stdout.write(`\n${describe(labs)}\n`);
}

async function prepare(backend: BackendName): Promise<LabState> {
  const lab = await labUp({ name: LAB, nodes: 4, config: configOf(backend), daemon: { leaseTtl: LEASE_TTL } });
  for (const node of hostsOf(lab, false)) {
    await stopNode(lab, node);
    const cleanup = ['lab', 'exec', '--name', lab.name, nodeName(node), '--', 'rudder', 'cleanup'];
    await execa(process.execPath, [CLI, ...cleanup]);
  }
  for (const hasRudder of [true, false]) await addPlainVxlan(lab, hostsOf(lab, hasRudder));
  await untilDirect(lab, backend);
  return lab;
}

const hostsOf = ({ nodes }: LabState, hasRudder: boolean) => (hasRudder ? nodes.slice(0, 2) : nodes.slice(2));

/** @returns the rounds, each with the median round trip of each way in microseconds */
async function measure(lab: LabState, rounds: number): Promise<number[][]> {
  const ways = WAYS.flatMap(({ system, hasRudder }) => {
    const { client, server, source, target } = routeOf(lab, system, 'host', hostsOf(lab, hasRudder));
    return [namespaceOf(lab, client), namespaceOf(lab, server), source, target];
  });
  const { stdout } = await execa(await compile(lab, SOURCE), [String(rounds), String(REQUESTS), ...ways]);
  return stdout.split('\n').map((line) => line.split(' ').map(Number));
}

function describe(labs: readonly number[][][]): string {
  const head = ['', 'p50, us', 'by the first', 'median', 'by the last', 'median'];
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const [i, { name }] of WAYS.entries()) {
    const times = labs.flatMap((rounds) => rounds.map((round) => round[i]));
    const ratios = (other: number) => labs.map((rounds) => rounds.map((round) => round[i] / round[other]));
    const by = (other: number) => [ratioOf(ratios(other)), median(ratios(other).flat()).toFixed(3)];
    table.push([name, median(times).toFixed(2), ...by(0), ...by(WAYS.length - 1)]);
  }
  return table.toString();
}

main().catch((error: unknown) => {
  process.stderr.write(`bench:round-trips: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
