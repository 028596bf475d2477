import { Command, CommanderError } from 'commander';
import { messageOf, RudderError } from '../core/errors.js';
import { PRIORITY } from '../ops/journal.js';
import { complain } from './complain.js';
import { addCompletionCommand } from './completion.js';
import { addDaemonOptions, toDaemonOptions } from './daemon-options.js';
import { LEAST_FOR_DAEMON, outOfDescriptors, tooFewDescriptors } from './descriptor-limit.js';
import { EXIT_CODES, EXIT_INTERNAL, EXIT_OK } from './exit-codes.js';
import { addFirstHourCommands } from './first-hour-commands.js';
import { addHelpCommands } from './help.js';
import { addLabCommand } from './lab.js';
import { addOperatorCommands } from './operator-commands.js';
import { addRegistryOptions } from './registry-options.js';
import { unknownVariables } from './unknown-variables.js';
import { refuseClearly } from './usage.js';
import { packageVersion } from './version.js';

/** The only place that knows argv. */
async function main(argv: string[]): Promise<number> {
  let status = EXIT_OK;
  const program = new Command('rudder')
    .description(
      'Joins the containers of many hosts into one flat network: a subnet for each host, packets over UDP, WireGuard, VXLAN or plain routes.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .configureOutput({ outputError: () => undefined })
    .addHelpText('after', '\nExample:\n  rudder --etcd-endpoints http://10.0.0.1:2379 --iface eth0\n');
  addDaemonOptions(addRegistryOptions(program));
  // Sub-commands load their code only when called: the daemon does not carry the lab.
  const runContext = () => {
    const problem = tooFewDescriptors(LEAST_FOR_DAEMON);
    if (problem !== undefined) throw new RudderError('limit', problem);
    return {
      version: packageVersion(),
      unknownVariables: unknownVariables(program.options),
      isPasswordShown: program.getOptionValueSource('etcdPassword') === 'cli',
    };
  };
  program.action(async () => {
    const context = runContext();
    status = await (await import('./run.js')).run(toDaemonOptions(program.opts()), context);
  });
  program
    .command('init')
    .argument('<json>', 'the network config')
    .description('create the network config in etcd unless there is one')
    .addHelpText(
      'after',
      `\nThe --etcd options of rudder apply: see rudder --help.\n\nExample:\n  rudder init '{"Network":"10.240.0.0/16"}'\n`,
    )
    .action(async (json: string) => {
      status = await (await import('./init.js')).init(json, program.opts());
    });
  addFirstHourCommands(program, runContext, (result) => {
    status = result;
  });
  addOperatorCommands(program, (result) => {
    status = result;
  });
  addLabCommand(program, (result) => {
    status = result;
  });
  addCompletionCommand(program);
  addHelpCommands(program, packageVersion());
  refuseClearly(program);
  program.hook('preAction', (_, called) => {
    // The daemon logs them; the others named here ask for no setting.
    if (called === program || ['up', 'help', 'version', 'completion'].includes(called.name())) return;
    for (const line of unknownVariables(program.options)) complain(`warning: ${line}`, PRIORITY.warning);
  });
  await program.parseAsync(argv);
  return status;
}

/** Tells the error in one line and returns the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return EXIT_OK; // --help and --version; all others are refused as RudderError
  const problem = outOfDescriptors(error, messageOf(error));
  if (problem !== undefined) {
    complain(problem);
    return EXIT_CODES.limit;
  }
  if (error instanceof RudderError) {
    complain(messageOf(error));
    return EXIT_CODES[error.code];
  }
  complain(`internal error, please report it: ${messageOf(error)}`);
  return EXIT_INTERNAL;
}

// gRPC names an etcd endpoint that is an IP address in its TLS greeting, which node comments on at length (DEP0123).
process.noDeprecation = true;
process.on('uncaughtException', (error) => process.exit(report(error)));
process.on('unhandledRejection', (error) => process.exit(report(error)));

// exit() and not a natural end: a connection attempt under way would keep the process.
main(process.argv).then(end, (error: unknown) => end(report(error)));

/** When all is taken that was told: of thousands of peers that is a megabyte, of which a pipe holds 64 KB. */
function end(status: number): void {
  const streams = [process.stdout, process.stderr];
  let left = streams.length;
  const taken = () => --left === 0 && process.exit(status);
  // Who reads no further has had enough.
  for (const stream of streams) stream.once('error', () => process.exit(status)).write('', taken);
}
