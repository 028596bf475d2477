import { Option } from 'commander';

/**
 * Every option can also come from RUDDERD_<FLAG>; RUDDER_ is the prefix inside subnet.env. A variable that is there but
 * empty, as an EnvironmentFile easily has it, is not given.
 */
export function option(flags: string, description: string): Option {
  const made = new Option(flags, description);
  const variable = variableOf(made);
  return process.env[variable] === '' ? made : made.env(variable);
}

export function variableOf(option: Option): string {
  return `RUDDERD_${option.name().toUpperCase().replaceAll('-', '_')}`;
}
