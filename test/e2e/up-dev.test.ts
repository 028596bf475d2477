import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { RUDDER } from './cli.js';

const NAME = 'test-up-dev';
const READY = /^rudder: ready: /m;

describeWith(['root', 'tun', 'etcd'], 'rudder up --dev', () => {
  let lab: LabState;
  let directory: string;
  let running: ChildProcess | undefined;
  let told = '';

  const command = (args: readonly string[]) => [
    ...[process.execPath, RUDDER, ...args],
    ...[`--subnet-file=${join(directory, 'subnet.env')}`, `--state-dir=${join(directory, 'state')}`],
  ];
  /** In the namespace of a laptop that is in no cluster. @param inside what else it runs in */
  async function rudder(args: readonly string[], inside: readonly string[] = []) {
    const result = await execa('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, ...inside, ...command(args)], {
      reject: false,
      timeout: 20_000,
    });
    return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }
  async function start(...args: string[]): Promise<void> {
    const { PATH } = process.env;
    const line = [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, ...command(['up', '--dev', ...args])];
    const child = spawn('nsenter', line, { env: { PATH }, stdio: ['ignore', 'ignore', 'pipe'] });
    running = child;
    told = '';
    child.stderr!.on('data', (data: Buffer) => {
      told += data;
    });
    await waitFor('the node to be ready', () => READY.test(told) || child.exitCode !== null, 20_000);
    expect(told).toMatch(READY);
  }
  async function stop(): Promise<number | null> {
    const child = running!;
    running = undefined;
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    const [code] = await ended;
    return code;
  }
  const links = () => execIn(lab, 'n1', ['ip', '-br', 'link']);

  beforeAll(async () => {
    // Without a config: nothing in its etcd is of use to anybody.
    lab = await createLab({ name: NAME, nodes: 1 });
  });
  afterAll(() => labDown(NAME));
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-up-dev-'));
  });
  afterEach(async () => {
    if (running !== undefined) await stop();
    rmSync(directory, { recursive: true });
  });

  it('is a node, says what it is not, serves the page, and leaves nothing', async () => {
    await start();
    expect(told).toMatch(/^rudder: one node without a cluster: it has no etcd and no peers, .* can join it$/m);
    expect(told).toContain('rudder: the page: http://127.0.0.1:9478/\n');
    const before = readFileSync(join(directory, 'subnet.env'), 'utf8');
    expect(before).toMatch(/^RUDDER_SUBNET=10\.240\.\d+\.1\/24\nRUDDER_MTU=1472\n/);
    expect(await links()).toContain('rudder0');
    const status = await rudder(['status']);
    expect(status).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ready +yes\n/) });
    expect(status.stdout).toMatch(/^embedded +one node without a cluster \(rudder up --dev\): no other can join it$/m);
    const page = `fetch('http://127.0.0.1:9478/').then(async (a) => console.log(a.status, await a.text()))`;
    expect(await execIn(lab, 'n1', [process.execPath, '-e', page])).toMatch(/^200 <!doctype html>/i);

    // Commands about a cluster do not go and ask somebody else's.
    for (const line of [['leases'], ['config', 'get'], ['leases', 'release', '10.240.1.0/24']]) {
      expect(await rudder(line)).toEqual({
        code: EXIT_CODES.usage,
        stdout: '',
        stderr: expect.stringMatching(/^rudder: the node that runs here belongs to no etcd.*--etcd-endpoints/),
      });
    }
    expect((await rudder(['doctor'])).stdout).toMatch(/^ok +etcd: none is needed: one node without a cluster/m);

    expect(await stop()).toBe(0);
    expect(existsSync(join(directory, 'subnet.env'))).toBe(false);
    expect(await links()).not.toContain('rudder0');
    expect(await execIn(lab, 'n1', ['iptables-save'])).not.toContain('RUDDER');

    await start();
    expect(readFileSync(join(directory, 'subnet.env'), 'utf8')).toBe(before);
  });

  it('leaves nothing either if Ctrl-C comes twice', async () => {
    await start();
    const child = running!;
    running = undefined;
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    // The first has to be noticed before the next one counts as another: until then the kernel has them as one.
    const again = setInterval(() => child.kill('SIGINT'), 5);
    const [code] = await ended;
    clearInterval(again);
    expect(code).toBe(0);
    expect(await links()).not.toContain('rudder0');
    expect(await execIn(lab, 'n1', ['iptables-save'])).not.toContain('RUDDER');
    expect(existsSync(join(directory, 'subnet.env'))).toBe(false);
  });

  it('takes the flags of the daemon, and another network', async () => {
    await start('--network', '10.99.0.0/16', '--mtu', '1400', '--healthz-port', '0', '--cleanup-on-exit=false');
    expect(told).not.toContain('the page');
    const env = readFileSync(join(directory, 'subnet.env'), 'utf8');
    expect(env).toMatch(/^RUDDER_SUBNET=10\.99\.\d+\.1\/24\nRUDDER_MTU=1400\n/);
    expect(await stop()).toBe(0);
    expect(await links()).toContain('rudder0');
    // Which it has no etcd to ask for.
    const { code, stdout, stderr } = await rudder(['cleanup']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^removed rudder0 /m);
    expect(stdout).not.toMatch(/etcd/);
  });

  it.each<[string, string[], string[], keyof typeof EXIT_CODES, RegExp]>([
    ['without --dev', ['up'], [], 'usage', /^rudder: rudder up is given without --dev: expected it, .*rudder join/],
    ['an etcd', ['up', '--dev', '--etcd-prefix=/x'], [], 'usage', /^rudder: --etcd-prefix is given with --dev/],
    ['Kubernetes', ['up', '--dev', '--kube-subnet-mgr'], [], 'usage', /^rudder: --kube-subnet-mgr is given with --dev/],
    ['a network', ['up', '--dev', '--network=10.0.0.0'], [], 'network-config', /Network "10\.0\.0\.0" is not valid/],
    ['its inside', ['up', '--dev', '--network=10.9.9.1/16'], [], 'network-config', /expected "10\.9\.0\.0\/16"/],
    ['a backend', ['up', '--dev', '--backend=ipsec'], [], 'usage', /'ipsec' is invalid.*udp, /],
    ['a port', ['up', '--dev', '--healthz-port=99999'], [], 'usage', /'99999' is invalid/],
    [
      'no root',
      ['up', '--dev'],
      ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'],
      'device',
      /^rudder: a node takes the capability CAP_NET_ADMIN, which this user has not: expected root; run "sudo \.\/rudder up --dev"$/,
    ],
  ])('%s', async (_, args, inside, kind, pattern) => {
    const { code, stdout, stderr } = await rudder(args, inside);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(pattern);
    expect({ code, stdout }).toEqual({ code: EXIT_CODES[kind], stdout: '' });
  });

  it.each<[string, string, keyof typeof EXIT_CODES, RegExp]>([
    ['no TUN', 'mount -t tmpfs none /dev/net && exec "$@"', 'device', /\/dev\/net\/tun.*modprobe tun/],
    ['no interface', 'ip route del default; exec "$@"', 'interface', /no IPv4 default route.*--iface/],
  ])('%s', async (_, script, kind, pattern) => {
    const routes = await execIn(lab, 'n1', ['ip', 'route', 'show', 'default']);
    try {
      const { code, stderr } = await rudder(['up', '--dev'], ['unshare', '-m', 'sh', '-c', script, 'sh']);
      expect(stderr.trim().split('\n').at(-1)).toMatch(pattern);
      expect(code).toBe(EXIT_CODES[kind]);
      expect(await links()).not.toContain('rudder0');
    } finally {
      await execIn(lab, 'n1', ['sh', '-c', `ip route replace ${routes.trim()} || true`]);
    }
  });

  it('a port of the page, and a port of the tunnel, that somebody has', async () => {
    const holding = [
      `require('node:net').createServer().listen(9478, '127.0.0.1', () => console.log('there'))`,
      `require('node:dgram').createSocket('udp4').bind(8285, () => console.log('there'))`,
    ];
    const patterns = [/cannot listen on 127\.0\.0\.1:9478: somebody listens there already.*--healthz-port/, /8285/];
    for (const [i, script] of holding.entries()) {
      const holder = spawn('nsenter', [
        `--net=/run/netns/${namespaceOf(lab, 'n1')}`,
        ...[process.execPath, '-e', script],
      ]);
      await once(holder.stdout, 'data');
      try {
        const { code, stderr } = await rudder(['up', '--dev']);
        expect(stderr.trim().split('\n').at(-1)).toMatch(patterns[i]);
        expect(code).toBe(EXIT_CODES.socket);
      } finally {
        holder.kill();
        await once(holder, 'exit');
      }
    }
  });
});
