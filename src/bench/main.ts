import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { Command, Option } from 'commander';
import { messageOf } from '../core/errors.js';
import { compile } from '../lab/compile.js';
import { labDown, labUp } from '../lab/lab.js';
import { drawSweep, drawThroughput } from './chart.js';
import { parseCount } from './flags.js';
import { describeHostile, type Hostile, measureHostile } from './hostile.js';
import { type Inside, lookInside } from './inside.js';
import { onSignal } from './on-signal.js';
import { BARE_SOURCE, type Peers } from './peers.js';
import { describeInside, summarise, table } from './report.js';
import { GROUPS, runRounds, type Sample } from './rounds.js';
import { SEALED, sealedPeers } from './sealed.js';
import {
  BACKENDS,
  type BackendName,
  configOf,
  type Place,
  prepareSystems,
  type System,
  sealedSystems,
  systemsWith,
} from './systems.js';

/**
 * `npm run bench`: Rudder against plain veth, the kernel's VXLAN, itself without offloads and other overlays, in the
 * lab. Figures are for comparing within this run only.
 */
const NAME = 'bench';
/** Nobody's lease shall run out while its daemon is stopped for another system's turn. */
const LEASE_TTL = '24h';
const FULL = { rounds: 5, seconds: 2, insideSeconds: 60, sweep: [0.5, 0.75, 1, 1.25, 1.5, 2, 3] };
const QUICK = { rounds: 1, seconds: 1, insideSeconds: 10, sweep: [1, 1.5, 3] };

interface Flags {
  readonly quick: boolean;
  readonly rounds?: number;
  readonly only: readonly string[];
  readonly out: string;
  readonly daemon: string[];
  readonly congestion?: string;
  readonly wireguardGo?: string;
  readonly flanneld?: string;
  readonly nebula?: string;
  readonly bare: boolean;
  readonly backend: BackendName;
}

function readFlags(): Flags {
  const groups = [...GROUPS, 'inside', 'hostile'];
  return new Command('npm run bench --')
    .option('--quick', 'one round of short measurements, in under three minutes', false)
    .addOption(new Option('--rounds <count>', 'how many rounds').argParser(parseCount('--rounds')))
    .addOption(
      new Option('--only <group...>', `measure only these; ${SEALED}: the encrypted backend beside others that encrypt`)
        .choices([...groups, SEALED])
        .default(groups),
    )
    .option('--out <folder>', 'where results are written', 'bench-results')
    .option('--daemon <argument...>', 'more arguments for the daemons of "rudder"', [])
    .addOption(
      new Option('--congestion <name>', "TCP's congestion control (default: the machine's)").choices(
        congestionControl('available'),
      ),
    )
    .option('--wireguard-go <path>', 'also measure this wireguard-go')
    .option('--nebula <path>', 'also measure this nebula')
    .option('--flanneld <path>', 'also measure this flanneld, with its udp backend')
    .addOption(new Option('--backend <type>', "Rudder's backend").choices(BACKENDS).default('udp'))
    .option('--bare', "also measure a tunnel's system calls alone, without its work", false)
    .parse()
    .opts<Flags>();
}

async function main(): Promise<void> {
  const flags = readFlags();
  const plan = { ...(flags.quick ? QUICK : FULL), ...(flags.rounds === undefined ? {} : { rounds: flags.rounds }) };
  const { congestion } = flags;
  const progress = (text: string) => void process.stderr.write(`${text}\n`);
  const isSealed = flags.only.includes(SEALED);
  const backend: BackendName = isSealed ? 'wireguard' : flags.backend;
  const peers = isSealed ? sealedPeers(namedPeers(flags), progress) : namedPeers(flags);
  const groups = groupsOf(flags.only);
  onSignal(() => labDown(NAME));

  await labDown(NAME);
  try {
    const daemon = { leaseTtl: LEASE_TTL };
    const lab = await labUp({
      name: NAME,
      nodes: 2,
      underlay: 'veth',
      config: configOf(backend),
      daemon,
      progress,
    });
    await prepareSystems(lab, backend);
    if (flags.bare) peers.bare = await compile(lab, BARE_SOURCE);
    const systems = isSealed ? sealedSystems(peers) : systemsWith(peers, backend);
    // What containers have learnt of one tunnel's MTU does not hold for the next one.
    const places: Place[] = isSealed ? ['host'] : ['host', 'container'];
    const compares = GROUPS.some((group) => groups.has(group));
    const samples = compares
      ? await runRounds(lab, {
          ...plan,
          groups,
          systems,
          places,
          peers,
          backend,
          daemonArguments: flags.daemon,
          congestion,
          progress,
        })
      : [];
    const hostile =
      groups.has('hostile') && backend === 'udp'
        ? await part('rudder beside hostile datagrams', () => measureHostile(lab, plan.rounds, plan.seconds), progress)
        : undefined;
    // Which look at the packet path in user space.
    const inside =
      groups.has('inside') && backend === 'udp'
        ? await part(
            `rudder inside, ${plan.insideSeconds} s`,
            () => lookInside(lab, plan.insideSeconds, flags.daemon, congestion),
            progress,
          )
        : undefined;
    await report({ ...flags, backend }, plan, systems, samples, { inside, hostile });
  } finally {
    await labDown(NAME);
  }
}

function namedPeers({ wireguardGo, flanneld, nebula }: Flags): Peers {
  return {
    ...(wireguardGo === undefined ? {} : { 'wireguard-go': wireguardGo }),
    ...(nebula === undefined ? {} : { nebula }),
    ...(flanneld === undefined ? {} : { flanneld }),
  };
}

/** `sealed` says what is compared: by all measures, or by those that are named beside it. */
function groupsOf(only: readonly string[]): ReadonlySet<string> {
  const some = only.filter((group) => group !== SEALED);
  return new Set(some.length === 0 ? GROUPS : some);
}

/** What fails near the end must not take the results of half an hour with it; the exit status tells. */
async function part<T>(
  title: string,
  work: () => Promise<T>,
  progress: (text: string) => void,
): Promise<T | undefined> {
  progress(title);
  try {
    return await work();
  } catch (error) {
    progress(`${title}: failed: ${messageOf(error)}`);
    process.exitCode = 1;
    return undefined;
  }
}

/** BBR paces its sender by timers, CUBIC fills the queues, so that each wake-up does more: the figures depend on it. */
function congestionControl(which: '' | 'available'): string[] {
  const setting = which === '' ? 'tcp_congestion_control' : 'tcp_available_congestion_control';
  return readFileSync(`/proc/sys/net/ipv4/${setting}`, 'utf8').trim().split(' ');
}

async function report(
  { out, backend, congestion = congestionControl('')[0] }: Flags,
  plan: typeof FULL,
  systems: readonly System[],
  samples: readonly Sample[],
  { inside, hostile }: { inside: Inside | undefined; hostile: Hostile | undefined },
): Promise<void> {
  const summaries = summarise(samples, systems);
  const machine = { kernel: release(), cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  mkdirSync(out, { recursive: true });
  const json = { machine, backend, congestion, ...plan, summaries, inside, hostile, samples };
  writeFileSync(`${out}/bench.json`, `${JSON.stringify(json, null, 2)}\n`);
  const written = ['bench.json'];
  if (summaries.some(({ measure }) => measure.startsWith('tcp'))) {
    writeFileSync(`${out}/throughput.svg`, await drawThroughput(summaries, systems));
    written.push('throughput.svg');
  }
  if (summaries.some(({ measure }) => measure.startsWith('udp'))) {
    writeFileSync(`${out}/udp-sweep.svg`, await drawSweep(samples, systems, plan.sweep));
    written.push('udp-sweep.svg');
  }
  const lines = [
    ...(summaries.length === 0 ? [] : [table(summaries, systems)]),
    `Rudder with ${backend}. Each cell: median, then least and most of ${plan.rounds} rounds. /x: rudder by x, median of ratios within a round.`,
    ...(inside === undefined ? [] : [describeInside(inside)]),
    ...(hostile === undefined ? [] : [describeHostile(hostile)]),
    `${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}, TCP with ${congestion}. Written to ${out}: ${written.join(', ')}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
