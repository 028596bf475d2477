import { type Command, Option } from 'commander';
import { KINDS } from '../backend/kinds.js';
import { RudderError } from '../core/errors.js';
import { DEFAULTS_FILE, readNodeOptions } from './defaults-file.js';
import type { JoinOptions } from './join/join.js';
import { variableOf } from './option.js';
import type { RunContext } from './run.js';
import { parseDuration } from './values.js';

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
  program
    .command('join')
    .description('as root: make this host a node of a cluster, with rudder.service of the package')
    .argument('<address>', 'of etcd, such as 10.1.1.10 or https://etcd-1:2379; several with commas between')
    .option('--force', 'leave another cluster, whose settings are there', false)
    .option('--dry-run', 'look, and say what would be written, alone', false)
    .addOption(
      new Option('--timeout <time>', 'how long the node may take to be ready')
        .argParser(parseDuration(1, 86_400))
        .default(120, '2m'),
    )
    .option('--json', 'for machines', false)
    .addHelpText('after', `${JOIN_HELP}\nExample:\n  rudder join 10.1.1.10\n`)
    .action(async (address: string, options: JoinOptions) => {
      refuseOthers(program);
      ended(await (await import('./join/join.js')).join(address, readNodeOptions(program), options));
    });
}

const JOIN_HELP =
  '\nThe --etcd options of rudder apply, but for --etcd-endpoints and --etcd-password: see rudder --help. They are written\nto /etc/default/rudder.\n';

/** Of the node's options only those of etcd are written down. */
function refuseOthers(program: Command): void {
  const given = program.options.filter((option) => program.getOptionValueSource(option.attributeName()) === 'cli');
  const other = given.find(({ long }) => !/^--etcd-(?!endpoints)/.test(long ?? ''));
  if (other === undefined) return;
  const remedy =
    other.long === '--etcd-endpoints'
      ? 'give them as the address'
      : `write ${variableOf(other)} to ${DEFAULTS_FILE} first`;
  throw new RudderError('usage', `${other.long} is given with join: expected the options of etcd alone; ${remedy}`);
}

const UP_HELP =
  '\nThe options of rudder apply, but for those of etcd: see rudder --help. By default the page is at port 9478 of\nloopback, and a stop removes device, rules and subnet file.\n';
