import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import type { Unready } from '../../../src/cli/doctor/host.js';
import type { CheckStep } from '../../../src/control/etcd/checkup.js';
import { warningsOf } from '../../../src/ops/status-problems.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences, docker, ENDPOINT, ETCD, unit } from './fake-host.js';

const RUDDER = 'systemctl show rudder.service';
const DOCKER = 'systemctl show docker.service';

/** What is said of one thing; nothing else is wrong. */
async function only(check: string, differences: Differences) {
  const found = await complaints(differences);
  expect(found.map((finding) => finding.check)).toEqual([check]);
  return found[0];
}

describe('a node that encrypts', () => {
  const [peer] = createStatus().peers;
  const backend = { type: 'wireguard', kernel: null, direct: null, cipher: 'avx2' };
  const trying = (tryingSeconds: number) =>
    createStatus({
      backend,
      peers: [
        { ...peer, session: { state: 'trying', handshakeSeconds: null, tryingSeconds, endpoint: '10.1.1.77:51820' } },
      ],
    });

  it('names a peer that does not answer its handshakes', async () => {
    const said = (await complaints({ status: trying(20) })).find(({ check }) => check === 'handshake');
    expect(said).toMatchObject({
      state: 'problem',
      text: expect.stringMatching(
        /^beta \(10\.1\.1\.77\) at 10\.1\.1\.77:51820 has not answered a handshake for 20 s -> is rudder running there/,
      ),
    });
  });

  it('names one that was asked from time to time, in vain', async () => {
    const session = { state: 'none', handshakeSeconds: 900, tryingSeconds: null, endpoint: '10.1.1.77:51820' } as const;
    const health = { ...peer.health, state: 'silent' } as const;
    const handshake = async (changes: object) =>
      (await complaints({ status: createStatus({ backend, peers: [{ ...peer, session, health, ...changes }] }) })).find(
        ({ check }) => check === 'handshake',
      );
    expect((await handshake({}))?.text).toMatch(/at 10\.1\.1\.77:51820 has not answered the last handshakes -> /);
    // It answers handshakes, and no echo.
    expect(await handshake({ session: { ...session, state: 'up' } })).toBeUndefined();
  });

  it('does not speak of one that was asked a moment ago', async () => {
    expect((await complaints({ status: trying(6) })).map(({ check }) => check)).not.toContain('handshake');
  });
});

describe('a node that is ready', () => {
  it('warns of what its status warns of', async () => {
    const status = createStatus({ warnings: ['the network config in etcd is changed: SubnetLen 25'] });
    expect(await only('daemon', { status })).toMatchObject({
      state: 'warning',
      text: expect.stringMatching(/SubnetLen 25/),
    });
  });

  it('says of each warning what to do, and sends nobody to a log that says no more', async () => {
    const status = createStatus();
    const { registry, peers, firewall } = status;
    const sealed = { type: 'wireguard', kernel: null, direct: null, cipher: 'avx2', clockBehindSeconds: 60 };
    const ending = [{ file: '/etc/rudder/node.pem', subject: 'CN=node', notAfter: '2020-01-01T00:00:00.000Z' }];
    const whose = { host: null, version: null, backend: null, nextHop: null };
    const ignored = { ...whose, key: '10.240.9.0-26', problem: 'its subnet is smaller' };
    const ill = createStatus({
      backend: sealed,
      registry: { ...registry, endpoints: ['http://10.1.1.5:2379'], certificates: ending },
      config: { state: 'changed', detail: 'SubnetLen 24 becomes 26' },
      ignoredLeases: { count: 1, first: [ignored] },
      firewall: { ...firewall, problem: 'nft is not installed' },
      peers: [
        { ...peers[0], problem: 'its address lies in the overlay' },
        { ...peers[0], subnet: '10.240.128.0/20' },
      ],
    });
    const warnings = warningsOf(ill);
    expect(warnings).toHaveLength(8);
    const said = await complaints({ status: { ...ill, warnings } });
    for (const warning of warnings) {
      const found = said.find(({ check, text }) => check === 'daemon' && text.startsWith(`${warning} -> `));
      expect(found, warning).toBeDefined();
      if (!warning.startsWith('the firewall')) expect(found!.text).not.toMatch(/-> see (the|its) log/);
    }
    expect(said.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/ etcd is spoken to without TLS .* -> let it serve https:.*docs\/encryption\.md$/),
    );
  });

  it('warns of a daemon of another version', async () => {
    expect(await only('daemon', { version: '1.2.4' })).toMatchObject({
      state: 'warning',
      text: 'runs with version 1.2.3, and this command is of 1.2.4 -> systemctl restart rudder',
    });
  });

  it.each<[string, Record<string, string> | undefined, RegExp]>([
    ['is a service', {}, /-> see the log: journalctl -u rudder$/],
    ['is no service, as in a container', undefined, /-> see its log: it is no service here/],
    ['is not the service, which is stopped', { ActiveState: 'inactive' }, /-> see its log: it is no service here/],
  ])('and %s has its log where that is', async (_, changes, remedy) => {
    const printed = { [RUDDER]: changes && unit(changes) };
    const found = await only('daemon', { status: createStatus({ problems: ['x'] }), printed });
    expect(found.text).toMatch(remedy);
  });
});

describe('the process of the node', () => {
  it.each<[string, Unready, Record<string, string> | undefined, RegExp]>([
    ['no service', { is: 'absent' }, undefined, /no rudder answers on \/run\/rudder\/rudder\.sock -> start it/],
    [
      'a stopped one',
      { is: 'absent' },
      { ActiveState: 'inactive', SubState: 'dead', ExecMainCode: '1' },
      /^is stopped -> start it/,
    ],
    [
      'one that somebody has killed',
      { is: 'absent' },
      { ActiveState: 'inactive', ExecMainCode: '2', ExecMainStatus: '9', Result: 'signal' },
      /^is stopped, after signal 9 ->/,
    ],
    [
      'one that ends again and again',
      { is: 'absent' },
      {
        ActiveState: 'activating',
        SubState: 'auto-restart',
        Result: 'exit-code',
        ExecMainCode: '1',
        ExecMainStatus: '4',
        NRestarts: '17',
      },
      /^ends again and again: systemd has restarted it 17 times, last after exit code 4 \(registry-refused\) -> journalctl/,
    ],
    [
      'one that is between two ends',
      { is: 'absent' },
      { ActiveState: 'activating', SubState: 'start', NRestarts: '1' },
      /^ends again and again: systemd has restarted it once -> /,
    ],
    [
      'one that the watchdog has killed',
      { is: 'absent' },
      {
        ActiveState: 'activating',
        SubState: 'auto-restart',
        Result: 'watchdog',
        ExecMainCode: '3',
        ExecMainStatus: '6',
      },
      /last after signal 6 \(watchdog\)/,
    ],
    [
      'one that has failed',
      { is: 'absent' },
      { ActiveState: 'failed', Result: 'exit-code', ExecMainCode: '1', ExecMainStatus: '2' },
      /^has failed: exit code 2 \(usage\) -> journalctl/,
    ],
    [
      'one that has failed before it began',
      { is: 'absent' },
      { ActiveState: 'failed', Result: 'resources' },
      /says "resources"/,
    ],
    [
      'one that is being started',
      { is: 'absent' },
      { ActiveState: 'activating', SubState: 'start-pre' },
      /being started/,
    ],
    [
      'one with another socket',
      { is: 'absent' },
      {},
      /runs, says systemd, but nobody listens on .* give the --subnet-file/,
    ],
    [
      'one that starts',
      { is: 'starting', phase: 'leasing a subnet' },
      {},
      /^is starting: leasing a subnet -> if it stays so/,
    ],
    [
      'one that waits for etcd',
      { is: 'starting', phase: 'waiting for etcd' },
      {},
      /waiting for etcd -> .*when etcd answers.*see below/,
    ],
    [
      'one that starts again and again',
      { is: 'starting', phase: 'waiting for etcd' },
      { NRestarts: '3' },
      /waiting for etcd; systemd has restarted it 3 times -> see the log/,
    ],
    [
      'one that hangs',
      { is: 'silent', seconds: 5 },
      {},
      /^hangs: .*no answer within 5 s -> .*systemctl restart rudder/,
    ],
    ['one that may not be asked', { is: 'not permitted' }, {}, /is for root alone: nothing is known -> run as root/],
    ['one that cannot tell', { is: 'failing', reason: 'too long' }, {}, /^runs, and cannot tell its status: too long/],
    ['something else', { is: 'garbled', reason: 'it is no rudder' }, {}, /^it is no rudder -> systemctl restart/],
    [
      'one that waits for a network config',
      { is: 'starting', phase: 'waiting for the network config' },
      {},
      /network config -> .*has a network config: see below/,
    ],
    [
      'one that hangs and is no service',
      { is: 'silent', seconds: 5 },
      undefined,
      /-> .*restart rudder as it was started/,
    ],
  ])('is told apart: %s', async (_, daemon, changes, text) => {
    const printed = { [RUDDER]: changes && unit(changes) };
    const found = await only('daemon', { status: undefined, daemon, printed });
    expect(found.state).toBe('problem');
    expect(found.text).toMatch(text);
  });

  it('that is ready since a moment ago, and was so before, is told too', async () => {
    const printed = { [RUDDER]: unit({ NRestarts: '12' }) };
    const young = { status: createStatus({ uptimeSeconds: 20 }), printed };
    expect(await only('daemon', young)).toMatchObject({ state: 'warning', text: expect.stringMatching(/12 times/) });
    expect(await complaints({ status: createStatus({ uptimeSeconds: 9000 }), printed })).toEqual([]);
  });

  it('would not start with its settings', async () => {
    const refused = ['/etc/default/rudder has RUDDERD_MTU wrong'];
    const found = await only('settings', { settings: { unreadable: undefined, refused } });
    expect(found).toMatchObject({ state: 'problem', text: expect.stringContaining('RUDDERD_MTU') });
    const hidden = await only('settings', { settings: { unreadable: 'EACCES', refused: [] } });
    expect(hidden).toMatchObject({ state: 'warning', text: expect.stringMatching(/EACCES -> run as root/) });
  });
});

describe('etcd', () => {
  const OTHER = 'http://10.1.1.2:2379';
  const both = { etcd: { ...ETCD, endpoints: [ENDPOINT, OTHER] } };
  const fails = (step: CheckStep) => ({
    [ENDPOINT]: { failure: { step, reason: 'so it is' } },
  });

  it.each([
    ['resolve', /the name does not resolve: so it is -> .*name servers/],
    ['connect', /there is no connection: so it is -> is etcd running/],
    ['TLS', /TLS is not agreed on: so it is -> .*--etcd-cafile/],
    ['read', /reading fails: so it is -> .*etcdctl endpoint status/],
    ['watch', /reading works, watching fails: so it is -> .*may this user read all keys/],
    ['write', /reading works, writing fails: so it is -> .*etcdctl alarm list/],
  ] as const)('that fails at %s is a problem, and one of several such members is a warning', async (step, text) => {
    const alone = await only('etcd', { probes: fails(step) });
    expect(alone).toMatchObject({ state: 'problem', text: expect.stringMatching(text) });
    expect(await only('etcd', { ...both, probes: fails(step) })).toMatchObject({ state: 'warning' });
    const none = { ...fails(step), [OTHER]: { failure: { step, reason: 'too' } } };
    expect((await complaints({ ...both, probes: none })).map(({ state }) => state)).toEqual(['problem', 'problem']);
  });

  it.each([
    [{ alarms: ['NOSPACE', 'NOSPACE'] }, 'problem', /but it has the alarm NOSPACE ->/],
    [{ writeMs: 900 }, 'warning', /would write in 900 ms: slow/],
    [{ readMs: 501 }, 'warning', /read in 501 ms/],
  ] as const)('that answers with %j is not well', async (probe, state, text) => {
    const found = await only('etcd', { probes: { [ENDPOINT]: probe } });
    expect(found).toMatchObject({ state, text: expect.stringMatching(text) });
  });

  const withConfig = (json: string | undefined, etcd = ETCD) => ({
    etcd,
    probes: { [ENDPOINT]: { config: { json } } },
    status: undefined,
    daemon: { is: 'starting', phase: 'waiting' } as const,
  });
  const ofConfig = async (differences: Differences) =>
    (await complaints(differences)).filter(({ check }) => check === 'network config').map(({ text }) => text);

  it('without a network config is a problem, and the remedy finds the same etcd', async () => {
    expect(await ofConfig(withConfig(undefined))).toEqual([
      `there is no key /coreos.com/network/config -> create it: rudder init '{"Network":"10.240.0.0/16"}'`,
    ]);
    const etcd = { ...ETCD, prefix: '/corp/net', flags: ['--etcd-prefix', '/corp/net'] };
    expect(await ofConfig(withConfig(undefined, etcd))).toEqual([
      expect.stringMatching(/no key \/corp\/net\/config -> create it: rudder init '.*' --etcd-prefix \/corp\/net$/),
    ]);
  });

  it.each(['', '{"Network":"10.0.0.0/99"}', '[]'])('with a network config of %j is one too', async (json) => {
    expect(await ofConfig(withConfig(json))).toEqual([
      expect.stringMatching(
        /^network config.* -> correct the key \/coreos\.com\/network\/config with rudder config set KEY VALUE/,
      ),
    ]);
  });

  it('without one while a node runs is a warning, and one of which nothing was read is not said to be missing', async () => {
    const status = createStatus();
    expect(await only('network config', { ...withConfig(undefined), status })).toMatchObject({ state: 'warning' });
    expect(await complaints({ probes: { [ENDPOINT]: { config: undefined } } })).toEqual([]);
  });

  it('that does not tell of alarms is not said to have none', async () => {
    const findings = await examine(createHost({ probes: { [ENDPOINT]: { alarms: undefined, version: undefined } } }));
    expect(findings.find(({ check }) => check === 'etcd')?.detail).toMatch(/its alarms are not told, the leader$/);
  });

  it('is named where nobody gave it, and why it is not known', async () => {
    const etcd = { ...ETCD, saidBy: 'etcd at x, as /etc/default/rudder says' };
    const findings = await examine(createHost({ etcd }));
    expect(findings.filter(({ check }) => check === 'etcd').map(({ detail }) => detail)[0]).toBe(
      'etcd at x, as /etc/default/rudder says',
    );
    const problem = '--etcd-password-file /x cannot be read';
    expect(await only('etcd', { etcd: { problem } })).toMatchObject({
      state: 'problem',
      text: expect.stringContaining(problem),
    });
  });
});

describe('Docker', () => {
  const bridge = (local: string, prefixlen = 24) => [
    { ifname: 'rudder0', addr_info: [{ local: '10.240.26.0', prefixlen: 16 }] },
    { ifname: 'docker0', addr_info: [{ local, prefixlen }] },
  ];
  const notOurs = { [DOCKER]: unit({ DropInPaths: '' }) };
  const silent = (changes: Record<string, string> | undefined) => ({
    printed: { 'docker version': undefined, [DOCKER]: changes && unit(changes) },
  });

  it.each<[string, Differences, 'problem' | 'warning', RegExp]>([
    [
      'on another subnet, though it is told to take ours',
      { bridge: bridge('172.17.0.1', 16) },
      'problem',
      /docker0 is on 172\.17\.0\.1\/16, and not on 10\.240\.26\.0\/24 -> systemctl restart docker/,
    ],
    [
      'on another subnet, of which nobody told it',
      { bridge: bridge('172.17.0.1', 16), printed: notOurs },
      'warning',
      /not on 10\.240\.26\.0\/24 -> .*rudder docker enable/,
    ],
    ['on a part of our subnet', { bridge: bridge('10.240.26.1', 25) }, 'problem', /is on 10\.240\.26\.1\/25/],
    ['without an address', { bridge: [{ ifname: 'docker0', addr_info: [] }] }, 'problem', /docker0 has no address/],
    ['with a larger MTU', { printed: { 'docker network': docker('1500') } }, 'problem', /MTU 1500, .* carries 1472/],
    [
      'with the MTU of nobody',
      { printed: { 'docker network': '{"IPAM":{"Config":[{"Subnet":"10.240.26.0/24"}]}}' } },
      'problem',
      /MTU 1500/,
    ],
    [
      'that gives its containers addresses of another subnet',
      { printed: { 'docker network': docker('1472', { Subnet: '172.17.0.0/16', Gateway: '172.17.0.1' }) } },
      'problem',
      /its containers get addresses of 172\.17\.0\.0\/16, and not of 10\.240\.26\.0\/24 -> systemctl restart docker/,
    ],
    [
      'that does so, of which nobody told it',
      { printed: { ...notOurs, 'docker network': docker('1472', { Subnet: '10.240.26.0/25' }) } },
      'warning',
      /addresses of 10\.240\.26\.0\/25, and not of .* -> .*rudder docker enable/,
    ],
    [
      'whose containers send to nobody',
      { printed: { 'docker network': docker('1472', { Subnet: '10.240.26.0/24', Gateway: '10.240.26.9' }) } },
      'problem',
      /its containers send by 10\.240\.26\.9, and its bridge docker0 is on 10\.240\.26\.1\/24/,
    ],
    ['that tells of no addresses', { printed: { 'docker network': docker('1472', {}) } }, 'warning', /could not look/],
    ['that tells nothing', { printed: { 'docker network': undefined } }, 'warning', /could not look/],
    ['that tells rubbish', { printed: { 'docker network': 'x' } }, 'warning', /could not look/],
    ['that hangs', silent({}), 'problem', /runs, says systemd, but does not answer/],
    ['that waits', silent({ ActiveState: 'activating' }), 'warning', /is being started, or waits/],
    ['that has failed', silent({ ActiveState: 'failed', Result: 'exit-code' }), 'problem', /has failed: exit-code/],
    ['that is stopped', silent({ ActiveState: 'inactive' }), 'warning', /is stopped -> systemctl start docker/],
    ['without systemd, and silent', silent(undefined), 'problem', /does not answer on \/var\/run\/docker\.sock/],
  ])('%s is told', async (_, differences, state, text) => {
    const found = await only('docker', differences);
    expect(found).toMatchObject({ state, text: expect.stringMatching(text) });
  });

  it('with a smaller MTU is well', async () => {
    expect(await complaints({ printed: { 'docker network': docker('1400') } })).toEqual([]);
  });

  it.each<[string, Differences]>([
    ['that is not there', { ...silent(undefined), exists: async (path) => !path.includes('docker') }],
    [
      'of another network namespace',
      {
        bridge: [{ ifname: 'cni0', addr_info: [{ local: '10.240.26.1', prefixlen: 24 }] }],
        files: { '/proc/sys/net/ipv4/conf/cni0/forwarding': '1' },
      },
    ],
  ])('%s is nothing to tell of', async (_, differences) => {
    const findings = await examine(createHost(differences));
    expect(findings.filter(({ check, state }) => check === 'docker' || state !== 'ok')).toEqual([]);
  });
});
