import { readFileSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { RawDaemonOptions } from './daemon-options.js';
import { parseEnvironmentFile } from './environment-file.js';
import { variableOf } from './option.js';

/** The settings of rudder.service. */
export const DEFAULTS_FILE = '/etc/default/rudder';

type Name = keyof RawDaemonOptions;
export type Some = Partial<RawDaemonOptions>;

/** The options of this host's node for a command that is not its daemon. */
export interface NodeOptions {
  /** By flags and environment. */
  readonly given: Some;
  /** By the settings of the service. */
  readonly file: Some;
  readonly defaults: Some;
  /** Of these three the first that says anything. */
  readonly raw: RawDaemonOptions;
  /** Why the settings of the service are not known; undefined: they are, or there are none. */
  readonly unreadable: string | undefined;
  /** What the daemon would refuse of them and nothing given replaces, each in one line. */
  readonly refused: ReadonlyMap<Name, RudderError>;
}

/** @param program with all options of the daemon, parsed */
export function readNodeOptions(program: Command, path = DEFAULTS_FILE): NodeOptions {
  const given: Record<string, unknown> = {};
  const file: Record<string, unknown> = {};
  const defaults: Record<string, unknown> = {};
  const refused = new Map<Name, RudderError>();
  const { variables, unreadable } = readVariables(path);
  for (const option of program.options) {
    const name = option.attributeName();
    const isGiven = ['cli', 'env'].includes(program.getOptionValueSource(name) ?? '');
    const value = program.getOptionValue(name);
    if (value !== undefined) (isGiven ? given : defaults)[name] = value;
    const variable = variableOf(option);
    const text = variables.get(variable);
    // A variable that is there but empty is not given.
    if (text === undefined || text === '') continue;
    try {
      file[name] = parsed(option, text);
    } catch (error) {
      const line = `${path} has ${variable} wrong: ${messageOf(error)} Correct it there`;
      if (!isGiven) refused.set(name as Name, new RudderError('usage', line, { cause: error }));
    }
  }
  return {
    given,
    file,
    defaults,
    raw: { ...defaults, ...file, ...given } as unknown as RawDaemonOptions,
    unreadable,
    refused,
  };
}

/** @throws RudderError `usage` if one of these options is wrong in the settings of the service */
export function refuseWrong({ refused }: NodeOptions, names: readonly Name[]): void {
  for (const name of names) {
    const refusal = refused.get(name);
    if (refusal !== undefined) throw refusal;
  }
}

function parsed({ parseArg }: Option, text: string): unknown {
  return parseArg === undefined ? text : parseArg(text, undefined);
}

function readVariables(path: string): { variables: Map<string, string>; unreadable: string | undefined } {
  try {
    return { variables: parseEnvironmentFile(readFileSync(path, 'utf8')), unreadable: undefined };
  } catch (error) {
    const isAbsent = ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');
    return { variables: new Map(), unreadable: isAbsent ? undefined : messageOf(error) };
  }
}
