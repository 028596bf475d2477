import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { messageOf } from '../../core/errors.js';
import { DEFAULT_CONFIG, labDown, labUp } from '../lab.js';
import { drawChart } from './chart.js';
import { summarise, table } from './report.js';
import { runRounds } from './rounds.js';
import { prepareSystems } from './systems.js';

/**
 * `npm run bench`: Rudder against plain veth, the kernel's VXLAN and itself without offloads, in the lab.
 * Figures are for comparing within this run only.
 */
const NAME = 'bench';
/** Nobody's lease shall run out while its daemon is stopped for another system's turn. */
const LEASE_TTL = '24h';
const FULL = { rounds: 5, seconds: 2 };
const QUICK = { rounds: 1, seconds: 1 };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      out: { type: 'string', default: 'bench-results' },
      daemon: { type: 'string', multiple: true, default: [] },
    },
  });
  const defaults = values.quick ? QUICK : FULL;
  const rounds = values.rounds === undefined ? defaults.rounds : Number(values.rounds);
  const progress = (text: string) => void process.stderr.write(`${text}\n`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => void labDown(NAME).finally(() => process.exit(130)));
  }

  await labDown(NAME);
  try {
    const lab = await labUp({
      name: NAME,
      nodes: 2,
      underlay: 'veth',
      config: DEFAULT_CONFIG,
      daemon: { leaseTtl: LEASE_TTL },
      progress,
    });
    await prepareSystems(lab);
    const samples = await runRounds(lab, {
      rounds,
      seconds: defaults.seconds,
      daemonArguments: values.daemon,
      progress,
    });
    const summaries = summarise(samples);
    const machine = { kernel: release(), cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
    mkdirSync(values.out, { recursive: true });
    writeFileSync(
      `${values.out}/bench.json`,
      `${JSON.stringify({ machine, rounds, seconds: defaults.seconds, summaries, samples }, null, 2)}\n`,
    );
    writeFileSync(`${values.out}/bench.svg`, await drawChart(summaries));
    process.stdout.write(`${table(summaries)}\n`);
    process.stdout.write(
      `Each cell: median, then least and most of ${rounds} rounds. Ratios are medians of ratios within a round.\n`,
    );
    process.stdout.write(
      `${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}. Written: ${values.out}/bench.json, bench.svg\n`,
    );
  } finally {
    await labDown(NAME);
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
