import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import {
  addContainer,
  daemonCommand,
  logLines,
  nodePaths,
  readSubnetEnv,
  startNode,
  stopNode,
} from '../../src/lab/nodes.js';
import { signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, httpOf, RUDDER, statusOf } from './cli.js';
import { ping } from './traffic.js';

const NAME = 'test-observe';
const PORT = '9478';
/** The promise of the issue for every cause. */
const READINESS_DEADLINE_MS = 15_000;

describeWith(['root', 'tun', 'etcd', 'iptables'], 'an operator', () => {
  let lab: LabState;
  let first: LabNode;

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
    first = lab.nodes[0];
    for (const node of lab.nodes) await startNode(lab, node, [`--healthz-port=${PORT}`]);
    for (const node of lab.nodes) await addContainer(lab, node);
  });
  afterAll(() => labDown(NAME));

  const get = (path: string) => httpOf(lab, `http://127.0.0.1:${PORT}${path}`);

  const readStatus = () => statusOf(lab, first);

  async function turns(code: number): Promise<string[]> {
    await waitFor(`/readyz to answer ${code}`, async () => (await get('/readyz')).code === code, READINESS_DEADLINE_MS);
    return JSON.parse((await get('/readyz')).body).problems;
  }

  it('sees what a node is, whom it knows and what it carried', async () => {
    const [, peer] = labStatus(lab);
    await ping(lab, 'c1', peer.containerAddress);
    const status = await readStatus();
    expect(status).toMatchObject({
      device: { name: 'rudder0', mtu: 1472, up: true },
      registry: { current: true },
      firewall: { kept: true, repairs: 0, problem: null },
      problems: [],
    });
    expect(status.node.subnet).toBe(labStatus(lab)[0].subnet.replace('.1/', '.0/'));
    expect(status.lease.remainingSeconds).toBeGreaterThan(0);
    expect(status.peers).toHaveLength(1);
    expect(status.peers[0]).toMatchObject({
      subnet: peer.subnet.replace('.1/', '.0/'),
      nextHop: nodeAddress(lab, lab.nodes[1]),
      outPackets: 1,
      outBytes: 84,
      inPackets: 1,
      inBytes: 84,
    });
    expect(status.peers[0].heardSecondsAgo).toBeLessThan(30);
  });

  it('reads the same as text, with an exit status that says ready', async () => {
    const { code, stdout } = await cli(lab, first, 'status');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ready +yes$/m);
    expect(stdout).toMatch(/^offloads +all on$/m);
    expect(stdout).toContain(nodeAddress(lab, lab.nodes[1]));
  });

  it('is told in one line when no daemon runs', async () => {
    const absent = { ...first, number: 9 };
    const { code, stdout, stderr } = await cli(lab, absent, 'status');
    expect(code).toBe(EXIT_CODES['not-running']);
    expect(stdout).toBe('');
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toContain('no rudder answers on');
  });

  it('finds the control socket closed to anybody but root', () => {
    const socket = nodePaths(lab, first).subnetFile.replace('subnet.env', 'rudder.sock');
    expect(statSync(socket).mode & 0o777).toBe(0o600);
  });

  it('scrapes metrics, and finds nothing else on that port', async () => {
    const { code, body } = await get('/metrics');
    expect(code).toBe(200);
    expect(body).toMatch(/^rudder_packets_total\{direction="out"\} [1-9]/m);
    expect(body).toMatch(/^rudder_ready 1$/m);
    expect((await get('/elsewhere')).code).toBe(404);
    expect((await get('/log-level')).code).toBe(404);
  });

  it('finds that what it made the daemon allocate has not made the heap larger', async () => {
    const scrape = `fetch('http://127.0.0.1:${PORT}/metrics').then((r) => r.text())`;
    const script = `(async () => { for (let i = 0; i < 300; i++) await ${scrape}; console.log(await ${scrape}); })()`;
    const metrics = await execIn(lab, 'n1', [process.execPath, '-e', script]);
    const young = /^nodejs_heap_space_size_total_bytes\{space="new"\} (\d+)/m.exec(metrics)?.[1];
    // Left to itself it grows to 32 MB.
    expect(Number(young)).toBeLessThanOrEqual(8 * 2 ** 20);
  });

  it('changes the log level while it runs, by command and by SIGHUP', async () => {
    const levels = () =>
      logLines(lab, first).flatMap((line) => (line.msg === 'log level changed' ? [line.logLevel] : []));
    const told = () => logLines(lab, first).filter((line) => line.msg === 'log level changed').length;
    expect((await cli(lab, first, 'log-level', 'debug')).code).toBe(0);
    expect(levels()).toEqual(['debug']);
    signalProcess(first.process!, 'SIGHUP');
    await waitFor('the signal to count', () => told() === 2, 5000);
    const bad = await cli(lab, first, 'log-level', 'loud');
    expect(bad.code).toBe(EXIT_CODES.usage);
    expect(bad.stderr).toContain('Allowed choices are fatal, error, warn, info, debug, trace');
  });

  it('reads lines and not JSON at a terminal', async () => {
    // script(1) gives a daemon a terminal; this one waits for an etcd that is not there.
    const command = [...daemonCommand(lab, first), '--log-level=debug', '--etcd-endpoints=http://127.0.0.1:1'];
    const directory = '/run/rudder-lab/test-observe/terminal';
    const elsewhere = `--subnet-file=${directory}/subnet.env --state-dir=${directory}`;
    const shown = await execIn(lab, 'n1', [
      'sh',
      '-c',
      `timeout 3 script -qec '${[...command, elsewhere].join(' ')}' /dev/null || true`,
    ]);
    expect(shown).toMatch(/^\[\d\d:\d\d:\d\d\] .*WARN.*waiting for etcd/m);
    expect(shown).not.toContain('"msg"');
  });

  it('is told by the doctor that all is well, and what to do when it is not', async () => {
    const well = await cli(lab, first, 'doctor');
    expect(well.stdout).not.toMatch(/PROBLEM|warning/);
    expect(well.code).toBe(0);
    expect(well.stdout).toMatch(/^ok +overlay: good to 1 peer$/m);
    await execIn(lab, 'n1', ['sysctl', '-qw', 'net.ipv4.ip_forward=0']);
    const ill = await cli(lab, first, 'doctor');
    await execIn(lab, 'n1', ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    expect(ill.code).toBe(EXIT_CODES['not-ready']);
    expect(ill.stdout).toMatch(/^PROBLEM +forwarding: .*\n +-> sysctl -w net\.ipv4\.ip_forward=1/m);
  });

  it('sees a node that loses its device as not ready, and ready again', async () => {
    // Once would be put right by the daemon in a moment.
    const again = 'while [ ! -e /run/rudder-lab/test-observe/enough ]; do ip link set rudder0 down; sleep 0.02; done';
    const taking = execIn(lab, 'n1', ['sh', '-c', again]);
    expect(await turns(503)).toEqual(['rudder0 is down or gone']);
    await waitFor(
      'status to say so',
      async () => (await cli(lab, first, 'status')).code === EXIT_CODES['not-ready'],
      READINESS_DEADLINE_MS,
    );
    writeFileSync('/run/rudder-lab/test-observe/enough', '');
    await taking;
    await turns(200);
  });

  const rows = async () => JSON.parse((await cli(lab, first, 'leases', '--json')).stdout) as Record<string, unknown>[];

  it('lists, reserves and releases leases', async () => {
    const leased = labStatus(lab).map((row) => row.subnet.replace('.1/', '.0/'));
    const [own] = leased;
    const [spare, another] = [200, 201, 202, 203].map((n) => `10.240.${n}.0/24`).filter((one) => !leased.includes(one));
    const address = nodeAddress(lab, first);
    expect(await rows()).toHaveLength(2);
    expect((await rows()).find((row) => row.subnet === own)).toMatchObject({ publicIp: address, problem: null });

    const reserved = await cli(lab, first, 'leases', 'reserve', spare, '--for', '172.30.0.9');
    expect(reserved).toMatchObject({ code: 0, stdout: `reserved ${spare} for 172.30.0.9\n` });
    expect(await rows()).toContainEqual(expect.objectContaining({ subnet: spare, ttlSeconds: null, reserved: true }));
    expect((await cli(lab, first, 'leases')).stdout).toMatch(
      new RegExp(`${spare}.*172\\.30\\.0\\.9.*none yet.*reserved`),
    );
    const shown = async () => (await readStatus()).peers.find(({ subnet }) => subnet === spare);
    await waitFor('the node to know of it', async () => (await shown())?.reserved, 5000);
    expect((await cli(lab, first, 'status')).stdout).toMatch(new RegExp(`${spare}.*172\\.30\\.0\\.9.*reserved`));
    // Nobody is there to answer, and that is no problem.
    expect((await cli(lab, first, 'doctor')).stdout).toMatch(/^ok +overlay: good to 1 /m);
    const second = await cli(lab, first, 'leases', 'reserve', another, '--for', '172.30.0.9');
    expect(second).toMatchObject({
      code: EXIT_CODES['lease-conflict'],
      stderr: expect.stringContaining(`172.30.0.9 has the reservation ${spare} already`),
    });
    expect((await cli(lab, first, 'leases', 'reserve', spare, '--for', '172.30.0.9')).code).toBe(0);
    const taken = await cli(lab, first, 'leases', 'reserve', own, '--for', '172.30.0.9');
    expect(taken.code).toBe(EXIT_CODES['lease-conflict']);
    expect(taken.stderr).toContain(`is held by ${address}`);
    expect((await cli(lab, first, 'leases', 'release', spare)).code).toBe(0);
    expect(await rows()).toHaveLength(2);
    const free = await cli(lab, first, 'leases', 'release', spare);
    expect(free).toMatchObject({ code: EXIT_CODES.usage });
    expect(free.stderr).toContain('is free');
    // The first subnet is nobody's unless SubnetMin says so: no node would take it.
    expect((await cli(lab, first, 'leases', 'reserve', '10.240.0.0/24', '--for', '172.30.0.9')).code).toBe(2);
    expect((await cli(lab, first, 'leases', 'reserve', '10.99.0.0/24', '--for', '172.30.0.9')).stderr).toContain(
      'expected a /24 from 10.240.1.0 to 10.240.255.0',
    );
  });

  /** A command that is told nothing but where the control socket would be, on a host with these settings of the service. */
  async function plain(subnetFile: string, settings: string, ...args: string[]) {
    const directory = `${nodePaths(lab, first).directory}/default`;
    mkdirSync(directory, { recursive: true });
    writeFileSync(`${directory}/rudder`, settings);
    const script = `mount --bind ${directory} /etc/default && exec "$@"`;
    const inside = ['unshare', '-m', 'sh', '-c', script, 'sh', process.execPath, RUDDER, ...args];
    const command = [
      'ip',
      'netns',
      'exec',
      namespaceOf(lab, 'n1'),
      'env',
      `RUDDERD_SUBNET_FILE=${subnetFile}`,
      ...inside,
    ];
    const { exitCode, stdout, stderr } = await execa(command[0], command.slice(1), { reject: false });
    return { code: exitCode, stdout, stderr };
  }

  it('need not say where etcd is on a host whose daemon runs, or whose service has settings', async () => {
    const { subnetFile } = nodePaths(lab, first);
    const absent = '/run/rudder-lab/test-observe/absent/subnet.env';
    const settings = `# The cluster's.\nRUDDERD_ETCD_ENDPOINTS="${etcdUrl(lab)}"\n`;
    const byDaemon = await plain(subnetFile, '', 'leases', '--json');
    expect(byDaemon).toMatchObject({ code: 0, stderr: expect.stringContaining('as the running daemon says') });
    expect(JSON.parse(byDaemon.stdout)).toHaveLength(2);
    const bySettings = await plain(absent, settings, 'leases', '--json');
    expect(bySettings).toMatchObject({ code: 0, stderr: expect.stringContaining('as /etc/default/rudder says') });
    const byNobody = await plain(absent, '', 'leases');
    expect(byNobody).toMatchObject({
      code: EXIT_CODES['registry-unavailable'],
      stderr: expect.stringContaining('by default: no daemon runs, and /etc/default/rudder names none'),
    });
    const secret = await plain(
      absent,
      `${settings}RUDDERD_ETCD_USERNAME=u\nRUDDERD_ETCD_PASSWORD_FILE=/absent\n`,
      'leases',
    );
    expect(secret).toMatchObject({
      code: EXIT_CODES.file,
      stderr: expect.stringMatching(/rudder: --etcd-password-file \/absent cannot be read: ENOENT/),
    });
  });

  it('cleans up what a stopped daemon has left, but not under a running one', async () => {
    const refused = await cli(lab, first, 'cleanup');
    expect(refused.code).toBe(EXIT_CODES.usage);
    expect(refused.stderr).toContain('a rudder answers on');
    await stopNode(lab, first);
    const ours = 'ip -o link show rudder0; ip route show 10.240.0.0/16; iptables-save | grep RUDDER';
    const left = () => execIn(lab, 'n1', ['sh', '-c', `${ours} 2>&1; true`]);
    expect(await left()).toContain('RUDDER-FORWARD');
    const key = `/coreos.com/network/subnets/${readSubnetEnv(lab, first).RUDDER_SUBNET.replace('.1/', '.0-')}`;
    const lease = () => etcdctl(lab, 'get', '--keys-only', key);
    expect(await cli(lab, first, 'cleanup', '--keep-lease')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('a lease stays in etcd until its TTL ends, a reservation for ever'),
    });
    expect(await lease()).toContain(key);
    expect(await cli(lab, first, 'cleanup')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^removed lease 10\.240\.\d+\.0\/24 from etcd$/m),
    });
    expect(await lease()).toBe('');
    expect(await left()).not.toMatch(/RUDDER|10\.240\.0\.0|rudder0:/);
    expect(await cli(lab, first, 'cleanup')).toMatchObject({ code: 0, stdout: 'nothing to remove\n' });
  });
});
