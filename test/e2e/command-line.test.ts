import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { RUDDER } from './cli.js';

const directory = mkdtempSync(join(tmpdir(), 'rudder-command-line-'));

/** Without a lab, an etcd or a daemon: none of these lines may get so far as to ask for one. */
async function rudder(...args: string[]): Promise<{ code: number | undefined; stdout: string; stderr: string }> {
  // Nothing listens on port 1.
  const env = { RUDDERD_ETCD_ENDPOINTS: 'http://127.0.0.1:1', RUDDERD_SUBNET_FILE: join(directory, 'subnet.env') };
  const result = await execa(process.execPath, [RUDDER, ...args], { reject: false, timeout: 20_000, env });
  return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

afterAll(() => rmSync(directory, { recursive: true }));

/** All commands below one, as its help lists them. */
async function commandsBelow(path: readonly string[]): Promise<string[][]> {
  const { stdout } = await rudder(...path, '--help');
  const [, rest = ''] = stdout.split('\nCommands:\n');
  const names = [...rest.split('\n\n')[0].matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => [...path, name]);
  return [...names, ...(await Promise.all(names.map(commandsBelow))).flat()];
}

const commands = [[], ...(await commandsBelow([]))];
const titled = commands.map((path) => ({ command: ['rudder', ...path].join(' '), path }));

it('the commands are these', () => {
  expect(titled.map(({ command }) => command).sort()).toEqual(
    `rudder, rudder bugreport, rudder cleanup, rudder completion, rudder config, rudder config get, rudder config history, rudder config set, rudder connectivity, rudder connectivity test, rudder docker, rudder docker disable, rudder docker enable, rudder docker follow, rudder doctor, rudder events,
    rudder help, rudder init, rudder join, rudder keys, rudder keys rotate, rudder lab, rudder lab down, rudder lab exec, rudder lab node, rudder lab status, rudder lab up, rudder leases, rudder leases release, rudder leases reserve,
    rudder log-level, rudder netcheck, rudder peers, rudder ping, rudder publish, rudder status, rudder up, rudder version`.split(
      /,\s+/,
    ),
  );
});

describe.concurrent.each(titled)('$command', ({ command, path }) => {
  it('has a help with an example of itself', async () => {
    const { code, stdout, stderr } = await rudder(...path, '--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: ${command} `));
    expect(stdout.split('\nExample:\n')[1]).toContain(
      `  ${path[0] === 'cleanup' ? 'systemctl stop rudder; ' : ''}${command} `.trimEnd(),
    );
  });

  it('names an option that it does not know', async () => {
    const needed = command === 'rudder leases reserve' ? ['--for', '10.1.1.7'] : [];
    expect(await rudder(...path, ...needed, '--bogus')).toEqual({
      code: EXIT_CODES.usage,
      stdout: '',
      stderr: `rudder: unknown option '--bogus'. See ${command} --help`,
    });
  });
});

describe.concurrent('one clear line and the documented exit code', () => {
  it.each<[string, keyof typeof EXIT_CODES, RegExp]>([
    ['bogus', 'usage', /unknown command "bogus": expected one of init, up, join, status, .*\. See rudder --help/],
    ['statu', 'usage', /unknown command "statu": expected one of init, up, join, status, /],
    ['lab bogus', 'usage', /unknown command "bogus": expected one of up, down, .*\. See rudder lab --help/],
    ['leases bogus', 'usage', /unknown command "bogus": expected one of reserve, release\. See rudder leases --help/],
    ['status now', 'usage', /too many arguments, the first is "now": expected 0\. See rudder status --help/],
    ['init {} {}', 'usage', /too many arguments, the first is "\{\}": expected 1\. See rudder init --help/],
    ['init', 'usage', /missing required argument 'json'\. See rudder init --help/],
    ['init nonsense', 'network-config', /"nonsense" is not valid, expected JSON/],
    ['log-level', 'usage', /missing required argument 'level'/],
    ['log-level loud', 'usage', /'loud' is invalid .* choices are fatal, error, .*\. See rudder log-level --help/],
    ['completion csh', 'usage', /'csh' is invalid .* choices are bash, zsh, fish\./],
    ['leases reserve 10.240.1.0/24', 'usage', /required option '--for <node>' not specified/],
    [
      'leases reserve 10.240.1.0/24 --for 127.0.0.1',
      'usage',
      /'127\.0\.0\.1' is invalid\. Expected the IPv4 address of a host/,
    ],
    ['leases release', 'usage', /missing required argument 'subnet'/],
    ['lab node fly n1', 'usage', /'fly' is invalid .* choices are start, stop, /],
    ['lab node kill', 'usage', /missing required argument 'member'/],
    ['lab exec n1', 'usage', /missing required argument 'command'/],
    ['lab up --nodes 0', 'usage', /'0' is invalid\. Expected a whole number from 1 to 200\. See rudder lab up --help/],
    ['lab up --nodes 3 --underlay veth', 'usage', /--nodes 3 is given with --underlay veth: expected 2/],
    ['lab status --name none-such', 'lab', /"none-such"/],
    ['lab exec n1 --name none-such -- true', 'lab', /"none-such"/],
    ['--mtu', 'usage', /option '--mtu <bytes>' argument missing\. See rudder --help/],
    [
      '--lease-ttl 24',
      'usage',
      /'24' is invalid\. Expected a time with its unit, such as 24h or 24s\. See rudder --help/,
    ],
    ['lab up --ttl 24', 'usage', /'24' is invalid\. Expected a time with its unit, .* See rudder lab up --help/],
    ['help bogus', 'usage', /unknown command "bogus": expected one of init, up, join, status, .*\. See rudder help/],
    ['help leases reserve now', 'usage', /unknown command "now": expected nothing more\. See rudder help/],
    ['--ip-masq --no-firewall', 'usage', /--ip-masq and --no-firewall are both given: expected one of them/],
    ['--etcd-certfile x', 'usage', /--etcd-certfile is given without --etcd-keyfile/],
    ['leases --etcd-username u', 'usage', /--etcd-username is given without --etcd-password/],
    ['--etcd-password p --etcd-password-file f --etcd-username u', 'usage', /are both given: expected one of them/],
    ['leases', 'registry-unavailable', /http:\/\/127\.0\.0\.1:1 cannot be reached/],
    ['config history', 'registry-unavailable', /http:\/\/127\.0\.0\.1:1 cannot be reached/],
    ['leases reserve 10.240.1.0/24 --for 10.1.1.7', 'registry-unavailable', /cannot be reached/],
    [
      'status',
      'not-running',
      /no rudder answers on .*: expected a running daemon; start it \(a service with "systemctl start/,
    ],
    ['status --json', 'not-running', /no rudder answers on /],
    ['log-level debug', 'not-running', /no rudder answers on /],
  ])('rudder %s', async (line, kind, pattern) => {
    const { code, stdout, stderr } = await rudder(...line.split(' '));
    expect(stderr).toMatch(new RegExp(`^rudder: .*${pattern.source}`));
    expect(stderr.split('\n')).toHaveLength(1);
    expect({ code, stdout }).toEqual({ code: EXIT_CODES[kind], stdout: '' });
  });

  it('rudder with a word as long as a book', async () => {
    const { code, stderr } = await rudder('x'.repeat(50_000));
    expect(code).toBe(EXIT_CODES.usage);
    expect(stderr.length).toBeLessThan(400);
  });
});

describe.concurrent('help and version, however one asks', () => {
  it.each([
    ['-h', '--help'],
    ['help', '--help'],
    ['help status', 'status --help'],
    ['status -h', 'status --help'],
    ['help leases reserve', 'leases reserve --help'],
    ['lab up -h', 'lab up --help'],
    ['-V', '--version'],
    ['version', '--version'],
  ])('rudder %s says what rudder %s says', async (line, other) => {
    const answer = await rudder(...line.split(' '));
    expect(answer).toEqual(await rudder(...other.split(' ')));
    expect(answer).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^(Usage: rudder |\d+\.\d+)/) });
  });
});

describe('a variable that is no setting', () => {
  const env = { RUDDERD_ETCD_ENDPOINT: 'http://127.0.0.1:2', RUDDERD_NOTHING: '' };
  const warning =
    'rudder: warning: the variable "RUDDERD_ETCD_ENDPOINT" is no setting, did you mean RUDDERD_ETCD_ENDPOINTS?\n';

  it('is warned of by a command', async () => {
    const { stderr } = await execa(process.execPath, [RUDDER, 'lab', 'status', '--name', 'none-such'], {
      reject: false,
      env,
    });
    expect(stderr.split('rudder: there')[0]).toBe(warning);
  });

  it.each(['version', 'completion bash', 'help'])('is nothing to rudder %s', async (line) => {
    const { stderr } = await execa(process.execPath, [RUDDER, ...line.split(' ')], { env });
    expect(stderr).toBe('');
  });
});

it('rudder lab alone prints its help', async () => {
  expect(await rudder('lab')).toEqual(await rudder('lab', '--help'));
});
