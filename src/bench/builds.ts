import { existsSync } from 'node:fs';
import Table from 'cli-table3';
import { Command, Option } from 'commander';
import { execa } from 'execa';
import { messageOf, RudderError } from '../core/errors.js';
import { labDown } from '../lab/lab.js';
import { type LabState, loadLab } from '../lab/state.js';
import { parseCount } from './flags.js';
import { cpuSeconds, latency, type TcpLoad, tcp, udp } from './measure.js';
import { onSignal } from './on-signal.js';
import { median, ratioOf } from './report.js';
import {
  BACKENDS,
  type BackendName,
  configOf,
  type Place,
  prepareSystems,
  type Route,
  routeOf,
  setUnderlay,
  type UnderlayMode,
  untilDirect,
} from './systems.js';

/**
 * `npm run bench:builds -- TREE TREE`: did a change make it faster? Every built tree has a lab of its own, all stand at
 * once, and a load runs for a second in each in turn, many times, there and back (A B, B A, ...). What the machine does to
 * one it does to its neighbour in time: after 60 rounds a difference of two percent shows, which runs of a minute each,
 * drifting by a third, would hide. Two labs of one build differ too, by some percent for as long as they stand: which
 * core a daemon came to, where its memory lies. So all labs are made anew several times, the last one first every second
 * time, and the error of a ratio is that of the means of these groups of rounds. With `--vxlan` the kernel's VXLAN takes
 * turns with them in the first tree's lab, with `--veth` what the hosts route without any overlay.
 */
const WARM_UP_SECONDS = 2;
const LEASE_TTL = '24h';
const SMALL_BYTES = 64;

/** What a tree may be compared with that is no tree. Without daemons of its own. */
const KERNELS = { veth: 'no overlay', vxlan: 'VXLAN' } as const;
type Kernel = keyof typeof KERNELS;

/** What runs: how much of it a second, in the unit that is shown, and how much of it the CPU time is told for. */
const LOADS = {
  tcp: {
    unit: 'Gbit/s',
    work: 'GB',
    worksPerUnit: 1 / 8,
    run: async (lab: LabState, route: Route, seconds: number, load: TcpLoad) =>
      (await tcp(lab, route, seconds, load)).bitsPerSecond / 1e9,
  },
  udp: {
    unit: 'Mpps',
    work: 'Mpackets',
    worksPerUnit: 1,
    run: async (lab: LabState, route: Route, seconds: number) =>
      (await udp(lab, route, seconds, SMALL_BYTES, 0)).delivered / 1e6,
  },
  // One after the other: of the median, which a single stall does not move.
  requests: {
    unit: 'k requests/s',
    work: '1000 requests',
    worksPerUnit: 1,
    run: async (lab: LabState, route: Route, seconds: number) => 1e3 / (await latency(lab, route, seconds)).p50,
  },
} as const;
type Load = keyof typeof LOADS;

interface Flags extends TcpLoad {
  readonly load: Load;
  readonly rounds: number;
  readonly labs: number;
  readonly seconds: number;
  readonly place: Place[];
  readonly underlay: UnderlayMode;
  readonly backend: BackendName[];
  readonly vxlan: boolean;
  readonly veth: boolean;
}

/** What takes turns: a tree's daemons, or the kernel. */
interface Build {
  readonly name: string;
  readonly lab: LabState;
  readonly system: 'rudder' | Kernel;
}

/** One run in one build: work per second, and the CPU seconds of both daemons for each piece of work. */
interface Run {
  readonly rate: number;
  readonly cpu: number;
}

function readArguments(): { trees: string[]; flags: Flags } {
  const command = new Command('npm run bench:builds --')
    .argument(
      '<tree...>',
      'folders with a built Rudder (dist, native/build, node_modules); the first one is compared with',
    )
    .addOption(new Option('--rounds <count>', 'how many runs of each').argParser(parseCount('--rounds')).default(60))
    .addOption(
      new Option('--labs <count>', 'how often all labs are made anew').argParser(parseCount('--labs')).default(6),
    )
    .addOption(new Option('--seconds <count>', 'how long one run is').argParser(parseCount('--seconds')).default(1))
    .addOption(
      new Option('--load <load>', 'bulk, packets of 64 bytes, or one request after the other')
        .choices(Object.keys(LOADS))
        .default('tcp'),
    )
    .addOption(new Option('--place <place...>', 'between which').choices(['host', 'container']).default(['host']))
    .addOption(
      new Option('--underlay <mode>', 'whole or cut super-packets').choices(['whole', 'segmented']).default('whole'),
    )
    .addOption(new Option('--flows <count>', 'how many at once').argParser(parseCount('--flows')).default(1))
    .option('--both-ways', 'as many again in the other direction at the same time', false)
    .addOption(
      new Option('--backend <type...>', "Rudder's backend; of several, a lab for each")
        .choices(BACKENDS)
        .default(['udp']),
    )
    .option('--vxlan', "compare with the kernel's VXLAN", false)
    .option('--veth', 'compare with what the hosts route without any overlay', false)
    .option('--congestion <name>', "TCP's congestion control (default: the machine's)")
    .parse();
  return { trees: command.args, flags: command.opts<Flags>() };
}

async function main(): Promise<void> {
  const { trees, flags } = readArguments();
  for (const tree of trees) {
    if (!existsSync(commandOf(tree))) {
      throw new RudderError('usage', `${tree}: expected a built tree of Rudder; run npm run setup in it`);
    }
  }
  const names = variantsOf(trees, flags).map((_, i) => labName(i));
  const allDown = async () => {
    for (const name of names) await labDown(name);
  };
  onSignal(allDown);
  await allDown();
  try {
    for (const place of flags.place)
      process.stdout.write(`${place} to ${place}\n${await compare(trees, place, flags)}\n`);
  } finally {
    await allDown();
  }
}

/** Groups of rounds, each in labs of its own. */
async function compare(trees: readonly string[], place: Place, flags: Flags): Promise<string> {
  const perGroup = Math.ceil(flags.rounds / flags.labs);
  const groups: Group[] = [];
  for (let group = 0; group < flags.labs; group++) {
    const builds = await buildsOf(trees, flags, group % 2 === 1);
    for (const build of builds) await run(build, place, WARM_UP_SECONDS, flags);
    const runs: Run[][] = builds.map(() => []);
    for (let round = 0; round < perGroup; round++) {
      process.stderr.write(`\r${place}: round ${group * perGroup + round + 1} of ${flags.labs * perGroup} `);
      const inOrder = builds.map((_, i) => ((group + round) % 2 === 0 ? i : builds.length - 1 - i));
      for (const i of inOrder) runs[i].push(await run(builds[i], place, flags.seconds, flags));
    }
    groups.push(builds.map(({ name, system }, i) => ({ name, system, runs: runs[i] })));
    for (const { lab } of builds) await labDown(lab.name);
  }
  process.stderr.write('\n');
  return describe(groups, flags.load);
}

/** Each tree with each backend. */
function variantsOf(trees: readonly string[], { backend: backends }: Flags) {
  return trees.flatMap((tree) =>
    backends.map((backend) => ({ tree, backend, name: backends.length === 1 ? tree : `${tree} ${backend}` })),
  );
}

/** A lab for each of them; what takes turns in them. */
async function buildsOf(trees: readonly string[], flags: Flags, isLastFirst: boolean): Promise<Build[]> {
  const variants = variantsOf(trees, flags);
  const labs = new Map<string, LabState>();
  for (const i of isLastFirst ? [...variants.keys()].reverse() : variants.keys()) {
    const lab = await labOf(variants[i].tree, labName(i), variants[i].backend);
    await setUnderlay(lab, flags.underlay);
    labs.set(labName(i), lab);
  }
  const builds: Build[] = variants.map(({ name }, i) => ({ name, lab: labs.get(labName(i))!, system: 'rudder' }));
  const kernels = (['veth', 'vxlan'] as const).filter((system) => flags[system]);
  if (kernels.length === 0) return builds;
  const [{ lab }] = builds;
  await prepareSystems(lab, flags.backend[0]);
  return [...kernels.map((system) => ({ name: KERNELS[system], lab, system })), ...builds];
}

const labName = (tree: number) => `builds${tree}`;

/** Brought up by the tree's own command, which starts the tree's own daemons. */
async function labOf(tree: string, name: string, backend: BackendName): Promise<LabState> {
  const config = ['--config', configOf(backend)];
  const up = ['lab', 'up', '--name', name, '--underlay', 'veth', '--ttl', LEASE_TTL, ...config];
  await execa(process.execPath, [commandOf(tree), ...up]);
  const lab = loadLab(name);
  await untilDirect(lab, backend);
  return lab;
}

const commandOf = (tree: string) => `${tree}/dist/cli/main.js`;

async function run({ lab, system }: Build, place: Place, seconds: number, flags: Flags): Promise<Run> {
  const pids = lab.nodes.map((node) => node.process!.pid);
  const before = cpuSeconds(pids);
  const load = LOADS[flags.load];
  const rate = await load.run(lab, routeOf(lab, system, place), seconds, flags);
  return { rate, cpu: (cpuSeconds(pids) - before) / (rate * seconds * load.worksPerUnit) };
}

/** What ran in the labs that stood at once: the runs of each build, in rounds. */
type Group = readonly { readonly name: string; readonly system: Build['system']; readonly runs: readonly Run[] }[];

/** Ratios are of neighbours in time, each with the standard error of the groups' means. */
function describe(groups: readonly Group[], load: Load): string {
  const { unit, work } = LOADS[load];
  const table = new Table({
    head: ['tree', unit, 'by the first', `CPU s/${work}`, 'by the first'],
    style: { head: [], border: [], compact: true },
  });
  const column = (i: number, of: keyof Run) => groups.flatMap((group) => group[i].runs.map((one) => one[of]));
  const ratio = (i: number, of: keyof Run) =>
    ratioOf(groups.map((group) => group[i].runs.map((one, round) => one[of] / group[0].runs[round][of])));
  const [builds] = groups;
  for (const [i, { name, system }] of builds.entries()) {
    // The kernel has no daemons: neither a time of theirs nor a ratio to it.
    const cpu = system === 'rudder' ? median(column(i, 'cpu')).toFixed(2) : '-';
    // In ticks of 10 ms: where the kernel moves the packets a run may take none.
    const isMeasured = builds[0].system === 'rudder' && [0, i].every((one) => !column(one, 'cpu').includes(0));
    const cpuRatio = isMeasured ? ratio(i, 'cpu') : '-';
    table.push([name, median(column(i, 'rate')).toPrecision(3), ratio(i, 'rate'), cpu, cpuRatio]);
  }
  return table.toString();
}

main().catch((error: unknown) => {
  process.stderr.write(`bench:builds: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
