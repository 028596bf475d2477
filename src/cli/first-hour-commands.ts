import { type Command, Option } from 'commander';
import { KINDS } from '../backend/kinds.js';
import type { RunContext } from './run.js';

/** Commands for the first hour: a node to look at, and a node for good. Each loads its code when called. */
export function addFirstHourCommands(
  program: Command,
  runContext: () => RunContext,
  ended: (status: number) => void,
): void {
  program
    .command('up')
    .description('run one node on this host alone, to look at: without etcd and without a cluster')
    .option('--dev', 'say that this is what is wanted: no other node can join it', false)
    .option('--network <subnet>', 'the overlay network', '10.240.0.0/16')
    .addOption(
      new Option('--backend <type>', 'how packets would move between nodes')
        .choices(KINDS.map(({ type }) => type))
        .default('udp'),
    )
    .addHelpText('after', `${UP_HELP}\nExample:\n  rudder up --dev\n`)
    .action(async (options: { dev: boolean; network: string; backend: string }) => {
      ended(await (await import('./up.js')).up(program, options, runContext()));
    });
}

const UP_HELP =
  '\nThe options of rudder apply, but for those of etcd: see rudder --help. By default the page is at port 9478 of\nloopback, and a stop leaves nothing behind.\n';
