import type { Command, CommanderError } from 'commander';
import { messageOf, quote, RudderError, shorten } from '../core/errors.js';

/** Makes a command and all below it refuse what they do not know in one line that names it and where to look. */
export function refuseClearly(command: Command): void {
  command.helpOption('-h, --help', 'show this help');
  command.exitOverride((error) => {
    throw error.exitCode === 0 ? error : toUsageError(error, pathOf(command));
  });
  // commander's own words tell only how many arguments there are too many.
  command.allowExcessArguments().hook('preAction', (_, called) => {
    if (called === command) refuseExcess(called);
  });
  for (const sub of command.commands) refuseClearly(sub);
}

function toUsageError(error: CommanderError, path: string): RudderError {
  const text = messageOf(error)
    .replace(/^error: /, '')
    // commander repeats a value as it was given, however long.
    .replace(/'[^']{81,}'/g, (value) => `'${shorten(value.slice(1, -1), 80)}'`);
  return new RudderError('usage', `${text.endsWith('.') ? text : `${text}.`} See ${path} --help`);
}

function refuseExcess(command: Command): void {
  const { registeredArguments, args } = command;
  if (registeredArguments.at(-1)?.variadic || args.length <= registeredArguments.length) return;
  const word = quote(args[registeredArguments.length]);
  const names = command.commands.map((sub) => sub.name());
  const problem =
    names.length > 0
      ? `unknown command ${word}: expected one of ${names.join(', ')}`
      : `too many arguments, the first is ${word}: expected ${registeredArguments.length}`;
  throw new RudderError('usage', `${problem}. See ${pathOf(command)} --help`);
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
