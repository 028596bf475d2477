import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RUDDER } from './cli.js';

/** What the sourced script offers for the last of these words, which bash has cut at "=" as it does. */
const ASK = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rudder; printf '%s\\n' "\${COMPREPLY[@]}"`;

describe('the completion of bash', () => {
  let directory: string;
  let script: string;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-completion-'));
    script = join(directory, 'rudder.bash');
    writeFileSync(script, (await execa(process.execPath, [RUDDER, 'completion', 'bash'])).stdout);
    for (const name of ['subnet.env', 'other.txt']) writeFileSync(join(directory, name), '');
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  async function offered(...words: string[]): Promise<string[]> {
    const { stdout, stderr } = await execa('bash', ['--norc', '-c', ASK, 'bash', script, 'rudder', ...words], {
      cwd: directory,
    });
    expect(stderr).toBe('');
    return stdout.split('\n').filter((line) => line !== '');
  }

  it.each([
    [['le'], ['leases']],
    [
      ['leases', ''],
      ['reserve', 'release'],
    ],
    [['leases', 'reserve', '--f'], ['--for']],
    [
      ['lab', 'node', 'pa'],
      ['pause', 'partition'],
    ],
    [['log-level', 'd'], ['debug']],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [
      ['--source-check', ''],
      ['strict', 'off'],
    ],
    [['--log-level', '=', 'w'], ['warn']],
    [
      ['--log-level', '='],
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    ],
    // A value is no command, however it is called.
    [['--iface', 'lab', 'st'], ['status']],
    [['--iface', '=', 'lab', 'st'], ['status']],
    [
      ['--etcd-endpoints', 'http://10.1.1.10:2379', 'leases', 're'],
      ['reserve', 'release'],
    ],
    [['--mtu', ''], []],
    [['status', '--subnet-file', 'sub'], ['subnet.env']],
    [['lab', 'exec', 'n1', '--', '--v'], []],
    [['bogus'], []],
    [
      ['help', 'l'],
      ['log-level', 'leases', 'lab'],
    ],
    [
      ['help', 'leases', ''],
      ['reserve', 'release'],
    ],
    [['help', 'status', ''], []],
    [['ver'], ['version']],
    [['status', '-h'], ['-h']],
  ])('of %j offers %j', async (words, expected) => {
    expect(await offered(...words)).toEqual(expected);
  });

  it('offers every flag of rudder and every command that its help shows', async () => {
    const { stdout } = await execa(process.execPath, [RUDDER, '--help']);
    const [options, rest] = stdout.split('\nCommands:\n');
    const [commands] = rest.split('\n\n');
    const flags = [...options.matchAll(/^ {2}(?:(-[a-zA-Z]), )?(--[a-z-]+)/gm)].flatMap(([, short, long]) =>
      short === undefined ? [long] : [long, short],
    );
    expect(flags).toEqual(expect.arrayContaining(['--iface', '-h', '--help', '-V', '--version']));
    expect((await offered('-')).sort()).toEqual(flags.sort());
    expect(await offered('')).toEqual([...commands.matchAll(/^ {2}([a-z-]+)/gm)].map(([, command]) => command));
  });

  it('offers with a command those flags of rudder that it heeds', async () => {
    expect(await offered('status', '--')).toEqual(['--json', '--help', '--subnet-file']);
    expect(await offered('leases', 'release', '--etcd-ca')).toEqual(['--etcd-cafile']);
    expect(await offered('config', 'get', '--etcd-ca')).toEqual(['--etcd-cafile']);
    expect(await offered('config', 'set', '--y')).toEqual(['--yes-renumber']);
    expect(await offered('lab', 'up', '--m')).toEqual([]);
  });
});
