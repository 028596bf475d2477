import { Argument, type Command, type Option } from 'commander';
import { bashScript, fishScript, zshScript } from './completion-scripts.js';

/** `rudder completion SHELL`: a script that completes command lines, made of the commands that there are. */
const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

/** A word that can be completed. */
export interface Word {
  readonly text: string;
  readonly description: string;
}

export interface Flag extends Word {
  /** What stands behind the flag: nothing, the name of a file, one of some words, or what cannot be guessed. */
  readonly value: 'none' | 'file' | 'other' | readonly string[];
  /** The same in one letter: `-h`. */
  readonly short?: string | undefined;
}

/** What can stand behind a command. */
export interface CommandWords {
  /** With all that is before it: `rudder leases reserve`. */
  readonly path: string;
  /** Sub-commands, and values of an argument. */
  readonly words: readonly Word[];
  readonly flags: readonly Flag[];
  readonly takesArguments: boolean;
}

/** Which of the options of `rudder` itself other commands heed, as their help says. */
const HEEDED: Record<string, RegExp> = {
  init: /^--etcd-/,
  join: /^--etcd-(?!endpoints|password$)/,
  up: /^--(?!etcd-|kube|net-config-path|set-node-|help$|version$)/,
  leases: /^--(etcd-|kube)/,
  config: /^--(etcd-|kube|net-config-path)/,
  status: /^--subnet-file$/,
  peers: /^--subnet-file$/,
  connectivity: /^--subnet-file$/,
  events: /^--(state-dir|subnet-file)$/,
  ping: /^--subnet-file$/,
  netcheck: /^--(etcd-.*|kube.*|net-config-path|subnet-file)$/,
  'log-level': /^--subnet-file$/,
  keys: /^--subnet-file$/,
  doctor: /^--(etcd-.*|kube.*|net-config-path|subnet-file)$/,
  bugreport: /^--(etcd-.*|kube.*|net-config-path|subnet-file)$/,
  publish: /^--subnet-(env-prefix|file)$/,
  cleanup: /^--(etcd-.*|kube.*|no-firewall|state-dir|subnet-file)$/,
};

export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes rudder commands in a shell')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', '\nExample:\n  rudder completion bash > /etc/bash_completion.d/rudder\n')
    .action((shell: keyof typeof SCRIPTS) => {
      process.stdout.write(SCRIPTS[shell](commandWords(program)));
    });
}

/** Every command of the tree, `rudder` itself first. */
function commandWords(program: Command): CommandWords[] {
  const all: CommandWords[] = [];
  function visit(command: Command, before: readonly string[], inherited: readonly Option[]): void {
    const path = [...before, command.name()];
    const choices = command.registeredArguments.flatMap(({ argChoices = [], description }) =>
      argChoices.map((text) => ({ text, description })),
    );
    const subs = (command.name() === 'help' ? program : command).commands.map(toWord);
    const options = [...command.createHelp().visibleOptions(command), ...inherited];
    all.push({
      path: path.join(' '),
      words: [...subs, ...choices],
      flags: options.map(toFlag),
      takesArguments: command.registeredArguments.length > 0,
    });
    if (before.length > 0) {
      const helped = [program.name(), 'help', ...path.slice(1)].join(' ');
      all.push({ path: helped, words: command.commands.map(toWord), flags: [], takesArguments: true });
    }
    for (const sub of command.commands) {
      const heeded = command === program ? HEEDED[sub.name()] : undefined;
      const passedOn = heeded ? program.options.filter(({ long }) => heeded.test(long ?? '')) : inherited;
      visit(sub, path, passedOn);
    }
  }
  visit(program, [], []);
  return all;
}

function toWord(command: Command): Word {
  return { text: command.name(), description: command.description() };
}

function toFlag(option: Option): Flag {
  const { long, short, flags, description } = option;
  return { text: long ?? flags, short, description, value: whatFollows(option) };
}

function whatFollows({ required, argChoices, flags }: Option): Flag['value'] {
  // A value that may be left out must be joined by "=": the next word is not it.
  if (!required) return 'none';
  return argChoices ?? (/<(file|directory)>/.test(flags) ? 'file' : 'other');
}
