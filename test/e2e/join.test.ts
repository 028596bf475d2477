import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, etcdUrl, namespaceOf } from '../../src/lab/names.js';
import type { LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { RUDDER } from './cli.js';

const NAME = 'test-join';
const KEY = '/coreos.com/network/config';

/** What goes on and ends well takes a service: test/machines/join.test.ts. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'nft'], 'rudder join, where it cannot be', () => {
  let lab: LabState;
  let directory: string;
  const settingsFile = () => join(directory, 'default/rudder');

  /** On a host with these settings, and without a service. @param inside what else it runs in */
  async function rudder(args: readonly string[], settings: string, inside: readonly string[] = []) {
    writeFileSync(settingsFile(), settings);
    const script = `mount --bind ${directory}/default /etc/default && exec "$@"`;
    const namespaces = [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, 'unshare', '-m', 'sh', '-c', script, 'sh'];
    const result = await execa('nsenter', [...namespaces, ...inside, process.execPath, RUDDER, ...args], {
      reject: false,
      timeout: 30_000,
      env: { RUDDERD_SUBNET_FILE: join(directory, 'subnet.env') },
    });
    expect(readFileSync(settingsFile(), 'utf8'), 'the settings are as they were').toBe(settings);
    return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }

  async function expectRefusal(
    kind: keyof typeof EXIT_CODES,
    pattern: RegExp,
    args: readonly string[],
    settings = '',
    inside: readonly string[] = [],
  ): Promise<string> {
    const { code, stdout, stderr } = await rudder(['join', ...args], settings, inside);
    expect(stderr).toMatch(pattern);
    expect(stderr).toMatch(/^rudder: [^\n]+$/);
    expect(code).toBe(EXIT_CODES[kind]);
    return stdout;
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}' });
  });
  afterAll(() => labDown(NAME));
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-join-'));
    mkdirSync(join(directory, 'default'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const OTHER = 'RUDDERD_ETCD_ENDPOINTS=http://10.9.9.9:2379\n';

  it.each<[string, keyof typeof EXIT_CODES, RegExp, string[], string?, string[]?]>([
    ['no address', 'usage', /missing required argument 'address'/, []],
    ['what is no address', 'usage', /address "ftp:\/\/x": .*expected the address of etcd, such as/, ['ftp://x']],
    ['two schemes', 'usage', /not a mixture/, ['http://a,https://b']],
    ['endpoints twice', 'usage', /--etcd-endpoints is given with join: .*address/, ['a', '--etcd-endpoints=http://b']],
    [
      'an option of the node',
      'usage',
      /--mtu is given with join: .* RUDDERD_MTU to \/etc\/default/,
      ['a', '--mtu=1400'],
    ],
    ['a password', 'usage', /expected --etcd-password-file/, ['a', '--etcd-username=u', '--etcd-password=p']],
    ['a CA for http', 'usage', /--etcd-cafile is given for http:/, ['http://a', '--etcd-cafile=/x']],
    ['a wrong setting', 'usage', /has RUDDERD_MTU wrong: /, ['a'], 'RUDDERD_MTU=big\n'],
    [
      "another cluster's",
      'config-exists',
      /another cluster's etcd, http:\/\/10\.9\.9\.9:2379, .*--force/,
      ['a'],
      OTHER,
    ],
    ['nobody', 'usage', /run as user 65534: expected root; use sudo/, ['a'], '', ['setpriv', '--reuid=65534']],
    ['no etcd', 'registry-unavailable', /nobody listens on 127\.0\.0\.1:1; is etcd running/, ['127.0.0.1:1']],
    ['no such name', 'registry-unavailable', /name does not resolve: .*name servers$/, ['no-such-host.invalid']],
  ])('%s', async (_, kind, pattern, args, settings, inside) => {
    await expectRefusal(kind, pattern, args, settings, inside);
  });

  it('the same endpoint with another prefix is another cluster', async () => {
    const settings = `RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}\nRUDDERD_ETCD_PREFIX=/other\n`;
    await expectRefusal(
      'config-exists',
      /another cluster's etcd, .*prefix \/other: it is left/,
      [etcdUrl(lab)],
      settings,
    );
  });

  it('an etcd without a network config, with the command that creates one', async () => {
    await etcdctl(lab, 'del', KEY);
    try {
      const command = `rudder init '{"Network":"10\\.240\\.0\\.0/16"}' --etcd-endpoints ${etcdUrl(lab)}`;
      await expectRefusal('network-config', new RegExp(`there is no key ${KEY}; create it: ${command}$`), [
        etcdUrl(lab),
      ]);
      await etcdctl(lab, 'put', KEY, '{"Network":"10.240.0.0"}');
      await expectRefusal('network-config', /Network "10\.240\.0\.0" is not valid.*rudder config set/, [etcdUrl(lab)]);
    } finally {
      await etcdctl(lab, 'put', KEY, '{"Network":"10.240.0.0/16"}');
    }
  });

  it.each<[string, keyof typeof EXIT_CODES, RegExp, string[]]>([
    [
      'no TUN',
      'device',
      /\/dev\/net\/tun is missing; run "modprobe tun"/,
      ['sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh'],
    ],
    [
      'no iptables',
      'firewall',
      /there is no command iptables and no command nft; apt-get install iptables nftables/,
      ['env', 'PATH=/nowhere'],
    ],
  ])('a host with %s', async (_, kind, pattern, inside) => {
    await expectRefusal(kind, pattern, [etcdUrl(lab)], '', inside);
  });

  it('a host where somebody has the port of the tunnel', async () => {
    const script = `require('node:dgram').createSocket('udp4').bind(8285, () => console.log('there'))`;
    const holder = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, process.execPath, '-e', script]);
    await once(holder.stdout, 'data');
    try {
      const port = /UDP port 8285 is taken by \S+ \(process \d+\).*Backend\.Port/;
      const stdout = await expectRefusal('socket', port, [etcdUrl(lab)]);
      // All was looked at before, so that an operator learns of all at once.
      expect(stdout).toMatch(/^ok +permissions: .*\nok +firewall: .*\nok +etcd: .*\nPROBLEM +tunnel port: /m);
    } finally {
      holder.kill();
      await once(holder, 'exit');
    }
  });

  it.each([
    ['', []],
    [OTHER, ['--force']],
  ])('a host without the service: what to do instead, and nothing is written', async (settings, flags) => {
    const command = `start the node by hand with "rudder --etcd-endpoints ${etcdUrl(lab)}"`;
    const pattern = new RegExp(
      `there is no rudder\\.service on this host, .*nothing was written.*${command}, or install`,
    );
    const stdout = await expectRefusal('not-running', pattern, [etcdAddress(lab), ...flags], settings);
    expect(stdout).toMatch(/^ok +tunnel port: UDP port 8285 is free$/m);
  });

  it('a host where a node runs that is no service', async () => {
    const stateDir = join(directory, 'state');
    const options = [
      `--etcd-endpoints=${etcdUrl(lab)}`,
      `--state-dir=${stateDir}`,
      '--healthz-port=0',
      '--cleanup-on-exit',
    ];
    const line = [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, process.execPath, RUDDER, ...options];
    const env = { ...process.env, RUDDERD_SUBNET_FILE: join(directory, 'subnet.env') };
    const daemon = spawn('nsenter', line, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    await once(daemon.stdout, 'data');
    try {
      await expectRefusal('usage', /a rudder answers on .* that rudder\.service has not started/, [etcdUrl(lab)]);
    } finally {
      daemon.kill('SIGTERM');
      await once(daemon, 'exit');
    }
  });
});
