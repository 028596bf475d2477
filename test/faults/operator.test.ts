import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn, setConnected } from '../../src/lab/network.js';
import { addContainer, daemonCommand, logLines, nodePaths, startNode } from '../../src/lab/nodes.js';
import { signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, httpOf, statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-operator';
const PORT = '9478';
/** The promise for every cause. */
const READINESS_DEADLINE_MS = 15_000;

/** What an operator sees that takes long to come about or to be looked at: `e2e/observe` has the rest. */
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
  const isReady = () =>
    waitFor('/readyz to answer 200', async () => (await get('/readyz')).code === 200, READINESS_DEADLINE_MS);

  it.each<[string, string[][], string[][], RegExp]>([
    [
      "a route to a part of a peer's subnet",
      [['ip', 'route', 'add', 'PEER', 'dev', 'lo']],
      [['ip', 'route', 'delete', 'PEER', 'dev', 'lo']],
      /^PROBLEM +routes: PEER leads to lo, inside 10\.240\.0\.0\/16: packets to 10\.240\.\d+\.0\/24 do not reach/m,
    ],
    [
      'a route that takes a part of the own subnet',
      [['ip', 'route', 'add', 'OWN', 'dev', 'eth0']],
      [['ip', 'route', 'delete', 'OWN', 'dev', 'eth0']],
      /^PROBLEM +routes: OWN, of this host's own subnet, leads to eth0/m,
    ],
    [
      'a rule that leads the overlay to another table',
      [
        ['ip', 'route', 'add', 'default', 'dev', 'lo', 'table', '77'],
        ['ip', 'rule', 'add', 'to', '10.240.0.0/16', 'lookup', '77'],
      ],
      [
        ['ip', 'rule', 'delete', 'to', '10.240.0.0/16', 'lookup', '77'],
        ['ip', 'route', 'flush', 'table', '77'],
      ],
      /^PROBLEM +routes: a packet to 10\.240\.\d+\.0 leaves by lo \(table 77\)/m,
    ],
    [
      'no forwarding by the bridge of the containers alone',
      [['sysctl', '-qw', 'net.ipv4.conf.docker0.forwarding=0']],
      [['sysctl', '-qw', 'net.ipv4.conf.docker0.forwarding=1']],
      /^PROBLEM +forwarding: IPv4 forwarding is off for docker0/m,
    ],
  ])('has the doctor find %s, as the kernel says', async (_, spoil, mend, text) => {
    const [own, peer] = labStatus(lab).map((row) => row.subnet.replace('.1/24', '.128/25'));
    const fill = (word: string) => word.replace('PEER', peer).replace('OWN', own);
    for (const command of spoil) await execIn(lab, 'n1', command.map(fill));
    const ill = await cli(lab, first, 'doctor');
    for (const command of mend) await execIn(lab, 'n1', command.map(fill));
    expect(ill.stdout).toMatch(new RegExp(fill(text.source), 'm'));
    expect((await cli(lab, first, 'doctor')).stdout).not.toMatch(/^PROBLEM/m);
  });

  it('sees a node that is cut off from etcd as not ready, alive, and ready again', { timeout: 90_000 }, async () => {
    await setConnected(lab, 'n1', false);
    // The lease of the lab is short, so that it may run out first.
    const problems = await waitFor(
      '/readyz to tell of etcd',
      async () => {
        const { problems: found } = JSON.parse((await get('/readyz')).body) as { problems: string[] };
        return found.some((text) => /etcd has not been watched|lease runs out/.test(text)) && found;
      },
      2 * READINESS_DEADLINE_MS,
    );
    expect(problems.length).toBeGreaterThan(0);
    expect((await get('/healthz')).code).toBe(200);
    await setConnected(lab, 'n1', true);
    await isReady();
  });

  const leaseOf = async (subnet: string) => {
    const rows = JSON.parse((await cli(lab, first, 'leases', '--json')).stdout) as Record<string, unknown>[];
    return rows.find((row) => row.subnet === subnet);
  };

  it("makes a reservation of a running node's own lease, which stays its lease", async () => {
    const [own] = labStatus(lab).map((row) => row.subnet.replace('.1/', '.0/'));
    expect((await cli(lab, first, 'leases', 'reserve', own, '--for', nodeAddress(lab, first))).code).toBe(0);
    await waitFor('the node to know', async () => (await statusOf(lab, first)).lease.remainingSeconds === null, 10_000);
    const recoveries = async () => (await statusOf(lab, first)).lease.recoveries;
    const before = await recoveries();
    const gone = () =>
      logLines(lab, lab.nodes[1]).filter(({ msg, subnet }) => msg === 'peer removed' && subnet === own);
    const goneBefore = gone().length;
    const releasedAt = performance.now();
    const released = await cli(lab, first, 'leases', 'release', own);
    expect(released).toMatchObject({ code: 0, stdout: expect.stringMatching(/: an ordinary lease, which ends in/) });
    await waitFor(
      'the node to take it over',
      async () => (await statusOf(lab, first)).lease.remainingSeconds !== null,
      10_000,
    );
    expect((await statusOf(lab, first)).node.subnet).toBe(own);
    expect(await recoveries()).toBe(before);
    // Its peers never saw it gone, and a lease it stays: the lab's TTL is short.
    const ttl = (await statusOf(lab, first)).lease.ttlSeconds!;
    await waitFor('two TTLs to pass', () => performance.now() > releasedAt + 2000 * ttl, 3000 * ttl);
    expect((await leaseOf(own))?.ttlSeconds).toBeGreaterThan(0);
    expect(gone()).toHaveLength(goneBefore);
  });

  it('has the doctor tell a node apart that hangs, may not be asked, starts or has ended', {
    timeout: 90_000,
  }, async () => {
    const daemonLine = async (...args: string[]) =>
      (await cli(lab, first, 'doctor', ...args)).stdout.split('\n').filter((line) => line.includes(' daemon: '));
    signalProcess(first.process!, 'SIGSTOP');
    const hanging = await daemonLine();
    signalProcess(first.process!, 'SIGCONT');
    expect(hanging).toEqual([expect.stringMatching(/^PROBLEM +daemon: hangs: somebody listens on .*rudder\.sock/)]);

    const asNobody = [
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      ...daemonCommand(lab, first),
      'doctor',
    ];
    const { stdout } = await execa(asNobody[0], asNobody.slice(1), { reject: false });
    expect(stdout).toMatch(
      /^PROBLEM +daemon: the control socket .* is for root alone: nothing is known\n +-> run as root/m,
    );

    const directory = `${nodePaths(lab, first).directory}/other`;
    const elsewhere = [`--subnet-file=${directory}/subnet.env`, `--state-dir=${directory}`];
    expect(await daemonLine(...elsewhere)).toEqual([
      expect.stringMatching(/daemon: no rudder answers on .*other\/rudder/),
    ]);
    const nowhere = '--etcd-endpoints=http://127.0.0.1:1';
    const starting = execIn(lab, 'n1', ['timeout', '20', ...daemonCommand(lab, first), ...elsewhere, nowhere]);
    starting.catch(() => undefined);
    await waitFor(
      'it to start',
      async () => /is starting: waiting for etcd/.test(`${await daemonLine(...elsewhere)}`),
      15_000,
    );
    const etcd = (await cli(lab, first, 'doctor', ...elsewhere, nowhere)).stdout;
    expect(etcd).toMatch(
      /^PROBLEM +etcd: http:\/\/127\.0\.0\.1:1: there is no connection: nobody listens on 127\.0\.0\.1:1$/m,
    );
    await starting.catch(() => undefined);
    await isReady();
  });
});
