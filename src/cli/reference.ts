import { Command, type Option } from 'commander';
import { addDaemonOptions } from './daemon-options.js';
import { addRegistryOptions } from './registry-options.js';

/**
 * What packages bring as reference, made of the options that there are, so that it cannot drift: scripts/package calls
 * these, no command does.
 */

/** The options of a node. */
export function nodeOptions(): readonly Option[] {
  return addDaemonOptions(addRegistryOptions(new Command())).options;
}

/**
 * /etc/default/rudder: every setting with its default, commented out.
 * @param unit text of rudder.service, which has other defaults for some
 */
export function settingsFile(unit: string): string {
  const ofUnit = new Map([...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  const settings = nodeOptions().map((option) => {
    const name = option.envVar!;
    return `# ${helpOf(option)}\n#${name}=${ofUnit.get(name) ?? defaultOf(option)}\n`;
  });
  return [HEADER, ...settings].join('\n');
}

const HEADER = `# Settings of rudder.service; "man rudder" has all of them too. They count from the next start on: systemctl restart rudder.
# What stands behind a # is the default, and nothing if there is none. Everybody can read this file: give etcd's password
# in one of its own.
`;

function helpOf({ description, argChoices }: Option): string {
  return argChoices === undefined ? description : `${description}: one of ${argChoices.join(', ')}`;
}

function defaultOf({ defaultValue, defaultValueDescription }: Option): string {
  return defaultValueDescription ?? String(defaultValue ?? '');
}

/** The page of rudder(8) with the list of options at its place. @throws if it has none */
export function manPage(page: string): string {
  if (!MARK.test(page)) throw new Error('the manual page has no line that says where the options go');
  const list = nodeOptions().map((option) => {
    const byDefault = defaultOf(option);
    const [flag, value = ''] = option.flags.split(' ');
    const help = `${helpOf(option)}.${byDefault === '' ? '' : ` Default: ${byDefault}.`}`;
    return `.TP\n.BI ${roff(flag)} "${value && ` ${roff(value.replace(/[<>]/g, ''))}`}"\n${roff(help)}\n`;
  });
  return page.replace(MARK, () => list.join(''));
}

const MARK = /^\.\\" OPTIONS\n/m;

/** A line cannot start with a full stop or an apostrophe, and a hyphen is no minus. */
const roff = (text: string) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/, '\\&')
    .replaceAll('"', '\\(dq');
