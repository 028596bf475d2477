import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, nodePaths } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-bad-input';
const CONFIG_KEY = '/coreos.com/network/config';
const GOOD_CONFIG = '{"Network":"10.240.0.0/16"}';
/** A daemon that should have ended, and did not, is ended by this. */
const DEADLINE_MS = 15_000;

interface Ending {
  readonly code: number | undefined;
  readonly stderr: string;
}

describeWith(['root', 'tun', 'etcd'], 'bad input', () => {
  let lab: LabState;
  let before: string;

  /** Everything that a half-configured host would show. */
  async function hostState(): Promise<string> {
    const paths = nodePaths(lab, lab.nodes[0]);
    const shown = await execIn(lab, 'n1', [
      'sh',
      '-c',
      'ip -o link; ip -4 -o address; ip -4 route show table all; ss -lunH',
    ]);
    const leases = await etcdctl(lab, 'get', '--prefix', '/coreos.com/network/subnets/');
    return `${shown}\n${leases}\n${existsSync(paths.subnetFile)}`;
  }

  async function run(
    args: readonly string[],
    env: Record<string, string> = {},
    wrapper: string[] = [],
  ): Promise<Ending> {
    const command = [...wrapper, ...daemonCommand(lab, lab.nodes[0], args)];
    const result = await execa('nsenter', [`--net=/run/netns/rudder-${NAME}-n1`, ...command], {
      reject: false,
      timeout: DEADLINE_MS,
      env,
    });
    return { code: result.exitCode, stderr: result.stderr };
  }

  /** One line, with the exit status of that kind of error, and no stack trace. */
  function expectLine(ending: Ending, kind: keyof typeof EXIT_CODES, pattern: RegExp): void {
    expect(ending.stderr).toMatch(pattern);
    expect(ending.stderr.trim().split('\n')).toHaveLength(1);
    expect(ending.stderr).toMatch(/^rudder: /);
    expect(ending.code).toBe(EXIT_CODES[kind]);
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: GOOD_CONFIG });
  });
  afterAll(() => labDown(NAME));
  beforeEach(async () => {
    before = await hostState();
  });
  afterEach(async () => {
    expect(await hostState(), 'the host is as it was').toBe(before);
  });

  it.each([
    ['an unknown flag', ['--bogus'], /unknown option '--bogus'/],
    ['a sub-command that does not exist', ['launch'], /unknown command "launch": expected one of init, /],
    ['a URL without scheme', ['--etcd-endpoints=10.0.0.1:2379'], /"10\.0\.0\.1:2379" is not like http:\/\/host:2379/],
    ['a mixture of schemes', ['--etcd-endpoints=http://a:1,https://b:1'], /not a mixture/],
    ['an MTU that is no number', ['--mtu=big'], /'big' is invalid\. Expected a whole number from 68 to 65507/],
    [
      'a public address that is none',
      ['--public-ip=300.1.1.1'],
      /'300\.1\.1\.1' is invalid\. Expected the IPv4 address of a host/,
    ],
    ['a TTL that is none', ['--lease-ttl=soon'], /'soon' is invalid\. Expected a time from 5s/],
    ['a source check that is none', ['--source-check=maybe'], /Allowed choices are strict, off/],
    [
      'a value of 100,000 characters',
      [`--mtu=${'9'.repeat(100_000)}`],
      /^.{0,300}\.\.\.' is invalid\. Expected a whole.{0,100}$/,
    ],
    ['half a client certificate', ['--etcd-certfile=/etc/hostname'], /--etcd-certfile is given without --etcd-keyfile/],
  ])('%s', async (_, args, pattern) => {
    expectLine(await run(args), 'usage', pattern);
  });

  it('a bad environment variable, which it names', async () => {
    expectLine(await run([], { RUDDERD_MTU: '1e9' }), 'usage', /value '1e9' from env 'RUDDERD_MTU' is invalid/);
  });

  it.each([
    ['the daemon', [], 20, 128],
    ['the daemon', [], 255, 256],
    ['a sub-command', ['status'], 20, 128],
    ['a sub-command', ['leases', 'list'], 64, 128],
    ['a sub-command', ['doctor'], 127, 128],
  ])('too few open files for %s', async (_, args, limit, least) => {
    const ending = await run(args, {}, ['prlimit', `--nofile=${limit}:${limit}`]);
    expectLine(
      ending,
      'limit',
      new RegExp(`limit of open files ${limit}: expected at least ${least}; raise it with "ulim`),
    );
  });

  it('open files of somebody else that leave too few', async () => {
    const opening = 'for i in $(seq 10 99); do eval "exec $i</dev/null"; done; exec "$@"';
    const ending = await run([], {}, ['prlimit', '--nofile=160:160', 'bash', '-c', opening, 'bash']);
    expectLine(
      ending,
      'limit',
      /limit of open files 160 reached \(reading the program\): expected at least 256; raise it/,
    );
  });

  it('an unknown interface, naming those there are', async () => {
    const address = nodeAddress(lab, lab.nodes[0]);
    expectLine(
      await run(['--iface=eth9']),
      'interface',
      new RegExp(`"eth9": expected eth0 \\(${address}\\); correct --iface`),
    );
  });

  it('a CA file that is not there', async () => {
    const args = [`--etcd-endpoints=https://${etcdAddress(lab)}:2379`, '--etcd-cafile=/nonexistent.pem'];
    expectLine(await run(args), 'file', /cannot read --etcd-cafile \/nonexistent\.pem/);
  });

  it('TLS to a plain port', async () => {
    const ending = await run([`--etcd-endpoints=https://${etcdAddress(lab)}:2379`]);
    expectLine(ending, 'registry-refused', /does not speak TLS; use http:\/\//);
  });

  it('a subnet file in a place that cannot be written', async () => {
    expectLine(
      await run(['--subnet-file=/proc/nowhere/subnet.env']),
      'file',
      /cannot write the subnet file \/proc\/nowhere\/subnet\.env/,
    );
  });

  it('a state directory that cannot be written', async () => {
    expectLine(
      await run(['--state-dir=/proc/nowhere']),
      'file',
      /cannot write the node key \/proc\/nowhere\/node\.key/,
    );
  });

  it('no permission for the TUN device', async () => {
    const ending = await run([], {}, ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin']);
    expectLine(ending, 'device', /rudder0: no permission for \/dev\/net\/tun, expected the capability CAP_NET_ADMIN/);
  });

  it('a TUN device whose mode does not let this user open it', async () => {
    const closed = join(nodePaths(lab, lab.nodes[0]).directory, 'closed');
    writeFileSync(closed, '', { mode: 0 });
    const script = `mount --bind ${closed} /dev/net/tun && exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"`;
    const ending = await run([], {}, ['unshare', '--mount', 'sh', '-c', script, 'sh']);
    expectLine(
      ending,
      'device',
      /rudder0: this user may not open \/dev\/net\/tun, expected mode 0666; run "chmod 0666/,
    );
  });

  it('a port that is in use', async () => {
    const script = "require('dgram').createSocket('udp4').bind(8285, '0.0.0.0', () => console.log('bound'))";
    const other = spawn('nsenter', [`--net=/run/netns/rudder-${NAME}-n1`, process.execPath, '-e', script]);
    await once(createInterface({ input: other.stdout }), 'line');
    expectLine(await run([]), 'socket', /:8285: the port is in use/);
    other.kill('SIGKILL');
    await once(other, 'exit');
  });

  it('no default route', async () => {
    const route = await execIn(lab, 'n1', ['ip', 'route', 'show', 'default']);
    await execIn(lab, 'n1', ['ip', 'route', 'delete', 'default']);
    expectLine(await run([]), 'interface', /no IPv4 default route .*: expected eth0 .*; choose one with --iface/);
    await execIn(lab, 'n1', ['ip', 'route', 'add', ...route.trim().split(' ')]);
  });

  it('an address that --iface-can-reach cannot reach', async () => {
    const route = await execIn(lab, 'n1', ['ip', 'route', 'show', 'default']);
    await execIn(lab, 'n1', ['ip', 'route', 'delete', 'default']);
    expectLine(await run(['--iface-can-reach=8.8.8.8']), 'interface', /no route to --iface-can-reach 8\.8\.8\.8/);
    await execIn(lab, 'n1', ['ip', 'route', 'add', ...route.trim().split(' ')]);
  });

  it.each([
    ['a Network of 10.240.0.0/33', '{"Network":"10.240.0.0/33"}', /Network "10\.240\.0\.0\/33" is not valid/],
    [
      'a SubnetLen outside its range',
      '{"Network":"10.240.0.0/16","SubnetLen":31}',
      /SubnetLen 31 is not valid, expected 18 to 30/,
    ],
    [
      'a SubnetMin outside Network',
      '{"Network":"10.240.0.0/16","SubnetMin":"10.99.0.0"}',
      /SubnetMin "10\.99\.0\.0" is not valid/,
    ],
    ['a config that is not JSON', 'Network: 10.240.0.0/16', /"Network: 10\.240\.0\.0\/16" is not valid, expected JSON/],
    [
      'an unknown backend type',
      '{"Network":"10.240.0.0/16","Backend":{"Type":"ipsec"}}',
      /Backend\.Type "ipsec" is not valid/,
    ],
  ])('%s', async (_, config, pattern) => {
    await etcdctl(lab, 'put', CONFIG_KEY, config);
    expectLine(await run([]), 'network-config', pattern);
    await etcdctl(lab, 'put', CONFIG_KEY, GOOD_CONFIG);
  });

  it.each([
    ['{"Network":"10.240.0.0/40"}', /Network "10\.240\.0\.0\/40" is not valid/],
    ['{"Network":"10.240.0.7/16"}', /expected "10\.240\.0\.0\/16"/],
    ['{"Network":"10.240.0.0/16","SubnetLenght":26}', /unknown key "SubnetLenght", did you mean SubnetLen\?/],
  ])('the network config %s given to rudder init', async (json, pattern) => {
    expectLine(await run(['init', json]), 'network-config', pattern);
    expect((await etcdctl(lab, 'get', CONFIG_KEY)).trim().split('\n')[1]).toBe(GOOD_CONFIG);
  });

  it('rudder init with another config than the one there, which stays', async () => {
    expectLine(
      await run(['init', '{"Network":"10.99.0.0/16"}']),
      'config-exists',
      /holds another config, \{"Net.*16"\}:/,
    );
    expect((await run(['init', '{ "network": "10.240.0.0/16" }'])).code).toBe(0);
    expect((await etcdctl(lab, 'get', CONFIG_KEY)).trim().split('\n')[1]).toBe(GOOD_CONFIG);
  });

  // Last, since it changes the lab's etcd.
  it('a wrong etcd password, which is not shown', async () => {
    await etcdctl(lab, 'user', 'add', 'root:right');
    await etcdctl(lab, 'user', 'grant-role', 'root', 'root');
    await etcdctl(lab, 'auth', 'enable');
    const wrong = await run(['--etcd-username=root'], { RUDDERD_ETCD_PASSWORD: 'wr0ng-secret' });
    const none = await run([]);
    await etcdctl(lab, '--user=root:right', 'auth', 'disable');
    expectLine(wrong, 'registry-refused', /does not accept the password of user "root"/);
    expect(wrong.stderr).not.toContain('wr0ng-secret');
    expectLine(none, 'registry-refused', /wants a user/);
  });
});
