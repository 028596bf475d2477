import { Argument, type Command, Option } from 'commander';
import { RudderError } from '../core/errors.js';
import { ACTIONS } from '../lab/names.js';
import { parseLeaseTtl, parseWholeNumber } from './values.js';

/**
 * `rudder lab ...`: a cluster in a box. Its code is loaded when called: a daemon on a node has no use for it.
 * @param ended told the exit status of a command run by `lab exec`
 */
export function addLabCommand(program: Command, ended: (status: number) => void): void {
  const lab: Command = program
    .command('lab')
    .description('a cluster in a box: nodes in network namespaces, a real etcd, the real daemon')
    .addHelpText('after', '\nExample:\n  rudder lab up --nodes 3\n')
    .action(() => lab.help());
  const name = () => new Option('--name <name>', 'name of the lab').default('lab');

  lab
    .command('up')
    .description('start a lab and wait until every node is ready')
    .addOption(name())
    .option('--nodes <count>', 'how many nodes', parseWholeNumber(1, 200), 3)
    .addOption(new Option('--underlay <kind>', 'what joins the nodes').choices(['bridge', 'veth']).default('bridge'))
    .option('--config <json>', 'the network config')
    .option('--ttl <time>', "lease TTL of the lab's nodes", checkTtl)
    .option('--page', 'serve the page of the cluster on this host, and open it where there is a browser')
    .addHelpText('after', '\nExample:\n  rudder lab up --nodes 4 --page\n')
    .action(async (options, command: Command) => {
      if (options.underlay === 'veth' && options.nodes !== 2 && command.getOptionValueSource('nodes') === 'cli') {
        throw new RudderError(
          'usage',
          `--nodes ${options.nodes} is given with --underlay veth: expected 2, which it joins; leave --nodes out`,
        );
      }
      await (await import('../lab/commands.js')).up(options);
    });
  lab
    .command('down')
    .description('end a lab and remove all that it made')
    .addOption(name())
    .addHelpText('after', '\nExample:\n  rudder lab down --name lab\n')
    .action(async (options) => (await import('../lab/commands.js')).down(options.name));
  lab
    .command('status')
    .description('show the nodes of a lab')
    .addOption(name())
    .addHelpText('after', '\nExample:\n  rudder lab status\n')
    .action(async (options) => (await import('../lab/commands.js')).status(options.name));
  lab
    .command('exec')
    .description('run a command in the namespace of a node (n1), a container (c1), etcd or switch')
    .argument('<member>', 'such as n1 or c1')
    .argument('<command...>', 'what to run there')
    .addOption(name())
    .addHelpText('after', '\nExample:\n  rudder lab exec c1 -- ping -c 3 10.240.7.2\n')
    .action(async (member, command, options) => {
      ended(await (await import('../lab/commands.js')).exec(options.name, member, command));
    });
  lab
    .command('node')
    .description('start, stop, kill, pause, resume, partition or heal a node or etcd')
    .addArgument(new Argument('<action>', 'what to do').choices(ACTIONS))
    .argument('<member>', 'such as n2, or etcd')
    .addOption(name())
    .addHelpText('after', '\nExample:\n  rudder lab node kill n2\n')
    .action(async (action, member, options) => (await import('../lab/commands.js')).node(options.name, action, member));
}

/** The daemons read it themselves, but say what is wrong with it only in their logs. */
function checkTtl(text: string): string {
  parseLeaseTtl(text);
  return text;
}
