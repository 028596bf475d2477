import type { Option } from 'commander';
import { closest } from '../core/closest.js';
import { quote } from '../core/errors.js';
import { PREFIX, variableOf } from './option.js';

/**
 * Of each variable that looks like a setting and is none, a line. Not its value: it may be a misspelt password's. An empty
 * one is not given, as with the others.
 */
export function unknownVariables(options: readonly Option[], env: NodeJS.ProcessEnv = process.env): string[] {
  const known = options.map(variableOf);
  const flags = known.map((name) => name.slice(PREFIX.length));
  return Object.entries(env)
    .filter(([name, value]) => name.startsWith(PREFIX) && value !== '' && !known.includes(name))
    .map(([name]) => {
      const meant = closest(name.slice(PREFIX.length), flags);
      return `the variable ${quote(name)} is no setting${meant === undefined ? ': see rudder --help' : `, did you mean ${PREFIX}${meant}?`}`;
    })
    .sort();
}
