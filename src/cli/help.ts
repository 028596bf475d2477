import type { Command } from 'commander';
import { quote, RudderError } from '../core/errors.js';

/** `rudder help ...` and `rudder version`: the flags --help and --version as words, since that is how many ask. */
export function addHelpCommands(program: Command, version: string): void {
  program
    .command('help')
    .argument('[command...]', 'such as leases reserve')
    .description('show the help of rudder or of a command')
    .addHelpText('after', '\nExample:\n  rudder help leases reserve\n')
    .action((path: string[]) => commandAt(program, path).help());
  program
    .command('version')
    .description('print the version')
    .addHelpText('after', '\nExample:\n  rudder version\n')
    .action(() => {
      process.stdout.write(`${version}\n`);
    });
}

function commandAt(program: Command, path: readonly string[]): Command {
  let found = program;
  for (const word of path) {
    const next = found.commands.find((command) => command.name() === word);
    if (next === undefined) {
      const names = found.commands.map((command) => command.name()).join(', ');
      const expected = names === '' ? 'nothing more' : `one of ${names}`;
      throw new RudderError('usage', `unknown command ${quote(word)}: expected ${expected}. See rudder help`);
    }
    found = next;
  }
  return found;
}
