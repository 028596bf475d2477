import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addDaemonOptions } from '../../../src/cli/daemon-options.js';
import { manPage, nodeOptions, settingsFile } from '../../../src/cli/reference.js';
import { addRegistryOptions } from '../../../src/cli/registry-options.js';

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const unit = read('systemd/rudder.service');
const parsed = () => addDaemonOptions(addRegistryOptions(new Command())).parse([], { from: 'user' }).opts();

afterEach(() => vi.unstubAllEnvs());

describe('/etc/default/rudder', () => {
  const file = settingsFile(unit);
  const settings = [...file.matchAll(/^# (.+)\n#(RUDDERD_\w+)=(.*)$/gm)];

  it('has every option as a variable with a line of help, and sets none', () => {
    expect(settings.map(([, , name]) => name)).toEqual(nodeOptions().map(({ envVar }) => envVar));
    expect(file.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([]);
  });

  it('changes nothing if every line is made to count, but for what the unit sets', () => {
    const usual = parsed();
    for (const [, , name, value] of settings) vi.stubEnv(name, value);
    expect(parsed()).toEqual({ ...usual, subnetProposal: true });
  });
});

describe('the manual page', () => {
  const page = manPage(read('docs/rudder.8'));

  it('lists every option with its default', () => {
    for (const { long } of nodeOptions()) expect(page).toContain(`\n.BI ${long!.replaceAll('-', '\\-')} "`);
    expect(page).toContain('how long a silent node keeps its subnet, such as 24h or 90s. Default: 24h.\n');
    expect(page.indexOf('.SH OPTIONS')).toBeLessThan(page.indexOf('.BI \\-\\-etcd\\-endpoints'));
    expect(page.indexOf('.BI \\-\\-log\\-level')).toBeLessThan(page.indexOf('.SH FILES'));
  });

  it('tells of every command', () => {
    const { stdout } = { stdout: execFileSync('node', ['dist/cli/main.js', '--help'], { encoding: 'utf8' }) };
    const commands = [...stdout.slice(stdout.indexOf('Commands:')).matchAll(/^ {2}([a-z-]+)/gm)].map(
      ([, name]) => name,
    );
    expect(commands).toContain('docker');
    const described = page.slice(page.indexOf('.SH DESCRIPTION'), page.indexOf('.SH OPTIONS'));
    expect(commands.filter((name) => name !== 'help' && !described.includes(`\n.B ${name}\n`))).toEqual([]);
  });

  it('is refused without a place for the options', () => {
    expect(() => manPage('.TH RUDDER 8\n')).toThrow('where the options go');
  });
});
