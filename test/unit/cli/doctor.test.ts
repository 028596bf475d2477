import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import { ip } from '../../helpers/path.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences, ENDPOINT, ETCD, NOW, savedRules } from './fake-host.js';

const insertBefore = (start: string, line: string) => (lines: string[]) =>
  lines.flatMap((one) => (one.startsWith(start) ? [line, one] : [one]));
const FIREWALL = createStatus().firewall;

describe('rudder doctor', () => {
  it('finds nothing on a host that is well, and says so check by check', async () => {
    const findings = await examine(createHost());
    expect(findings.map(({ check }) => check)).toEqual([
      'permissions',
      'daemon',
      'etcd',
      'subnet file',
      'forwarding',
      'rp_filter',
      'firewall',
      'routes',
      'container route',
      'docker',
      'container way',
      'path MTU',
      'overlay',
      'clock',
    ]);
    expect(findings.every(({ state, remedy }) => state === 'ok' && remedy === '')).toBe(true);
  });

  it.each<[string, Differences, string, 'problem' | 'warning', RegExp]>([
    ['no root', { isRoot: false }, 'permissions', 'problem', /run as root/],
    ['no TUN driver', { exists: async () => false }, 'permissions', 'problem', /modprobe tun/],
    ['a node that is not ready', { status: createStatus({ problems: ['x'] }) }, 'daemon', 'problem', /^x -> /],
    ['no subnet file', { files: { '/run/rudder/subnet.env': undefined } }, 'subnet file', 'problem', /missing/],
    [
      'a stale subnet file',
      { files: { '/run/rudder/subnet.env': 'RUDDER_SUBNET=10.240.9.1/24' } },
      'subnet file',
      'problem',
      /says 10\.240\.9\.1\/24, the lease is 10\.240\.26\.0\/24/,
    ],
    [
      'a subnet file of another prefix length',
      { files: { '/run/rudder/subnet.env': 'RUDDER_SUBNET=10.240.26.1/25\nRUDDER_MTU=1472' } },
      'subnet file',
      'problem',
      /says 10\.240\.26\.1\/25, the lease is 10\.240\.26\.0\/24/,
    ],
    [
      'a subnet file of another MTU',
      { files: { '/run/rudder/subnet.env': 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1500' } },
      'subnet file',
      'problem',
      /says MTU 1500, the overlay carries 1472/,
    ],
    [
      'forwarding off',
      { files: { '/proc/sys/net/ipv4/ip_forward': '0' } },
      'forwarding',
      'problem',
      /sysctl -w net\.ipv4\.ip_forward=1/,
    ],
    [
      'a strict rp_filter',
      {
        files: {
          '/proc/sys/net/ipv4/conf/all/rp_filter': '1',
          '/proc/sys/net/ipv4/conf/rudder0/rp_filter': '0',
        },
      },
      'rp_filter',
      'warning',
      /rp_filter=2/,
    ],
    [
      'a strict rp_filter where peers are to be reached without the tunnel',
      {
        status: createStatus({ backend: { type: 'udp', kernel: null, direct: 1 } }),
        files: { '/proc/sys/net/ipv4/conf/eth0/rp_filter': '1' },
      },
      'rp_filter',
      'warning',
      /^is strict on eth0: two hosts.* -> .*eth0\.rp_filter=2/,
    ],
    [
      'a firewall that cannot be kept',
      {
        status: createStatus({
          firewall: { kept: false, checks: 1, repairs: 0, problem: 'no iptables', forwarding: null, settings: null },
        }),
      },
      'firewall',
      'problem',
      /no iptables -> see the log: journalctl -u rudder; or/,
    ],
    [
      'no firewall program',
      {
        failing: ['--version'],
        status: createStatus({
          firewall: { kept: false, checks: 1, repairs: 0, problem: 'no iptables', forwarding: null, settings: null },
        }),
      },
      'firewall',
      'problem',
      /no iptables -> install iptables and nftables/,
    ],
    [
      'a rule of somebody else before ours, which the daemon says is first',
      { printed: { 'iptables-save': savedRules(insertBefore('-A FORWARD -j RUDDER', '-A FORWARD -j KUBE-FORWARD')) } },
      'firewall',
      'problem',
      /"-j KUBE-FORWARD" comes before RUDDER-FORWARD in FORWARD of table filter/,
    ],
    [
      "the operator's rule before ours, which the daemon would put behind",
      { printed: { 'iptables-save': savedRules(insertBefore('-A FORWARD -j RUDDER', '-A FORWARD -j SITE-RULES')) } },
      'firewall',
      'problem',
      /"-j SITE-RULES" comes before RUDDER-FORWARD/,
    ],
    [
      'a rule of ours that somebody has changed',
      {
        printed: {
          'iptables-save': savedRules((lines) =>
            lines.map((line) => line.replace('-d 10.240.26.0/24 -i rudder0', '-i rudder0')),
          ),
        },
      },
      'firewall',
      'problem',
      /RUDDER-FORWARD in table filter has other rules.*/,
    ],
    [
      'a translation that is not kept off',
      { printed: { 'iptables-save': savedRules((lines) => lines.slice(0, lines.indexOf('*nat'))) } },
      'firewall',
      'problem',
      /RUDDER-POSTROUTING is not in table nat/,
    ],
    [
      'a table that iptables cannot read',
      { printed: { 'iptables-save': `# Table \`nat' is incompatible, use 'nft' tool.\n${savedRules()}` } },
      'firewall',
      'problem',
      /iptables cannot read table "nat"/,
    ],
    [
      'no nft table of ours',
      { printed: { 'nft --terse list table ip rudder': undefined } },
      'firewall',
      'problem',
      /the nft table "ip rudder" is not there/,
    ],
    [
      'no rule of ours, which the daemon says it keeps',
      {
        printed: {
          'iptables-save': savedRules((lines) => lines.filter((line) => line !== '-A FORWARD -j RUDDER-FORWARD')),
        },
      },
      'firewall',
      'problem',
      /FORWARD of table filter has no rule for RUDDER-FORWARD/,
    ],
    ['no look at the rules', { printed: { 'iptables-save': undefined } }, 'firewall', 'warning', /tells nothing/],
    [
      'a firewall of which nobody knows what passes',
      { status: createStatus({ firewall: { ...FIREWALL, forwarding: null } }) },
      'firewall',
      'warning',
      /nft does not tell/,
    ],
    [
      'a policy rule that takes the overlay elsewhere',
      { rules: [{ priority: 5210, table: '52' }], containerRoute: { dev: 'tun7', table: '52' } },
      'container route',
      'problem',
      /routed to tun7 \(table 52\).*"ip rule add to 10\.240\.0\.0\/16 lookup main priority 5209"/,
    ],
    [
      'an overlay that a rule throws away',
      { containerRoute: { type: 'blackhole' } },
      'container route',
      'problem',
      /routed to blackhole \(no device\)/,
    ],
    [
      'somebody else who drops what containers send',
      { failing: ['netns exec'], suspects: async () => ['inet corp forward (forward 10: reject)'] },
      'container way',
      'problem',
      /answers this host, but not a container.*inet corp forward \(forward 10: reject\).*docs\/firewalls\.md/,
    ],
    [
      'a container that has the address of the try',
      { taken: true },
      'container way',
      'warning',
      /10\.240\.26\.254, which it would take, is in use -> try again/,
    ],
    ['no netns for a try', { failing: ['netns add'] }, 'container way', 'warning', /could not look: "ip netns add/],
    [
      'a name server that only the overlay reaches',
      { nameservers: async () => [ip('10.240.3.53')] },
      'name servers',
      'warning',
      /10\.240\.3\.53 is reached through the overlay only/,
    ],
    [
      'a peer that is skipped',
      { status: createStatus({ peers: [{ ...createStatus().peers[0], problem: 'it lies inside' }] }) },
      'peers',
      'problem',
      /10\.240\.77\.0\/24 on beta \(10\.1\.1\.77\) is skipped: it lies inside/,
    ],
    [
      'a firewall that somebody rewrites',
      { status: createStatus({ firewall: { ...FIREWALL, repairs: 50 } }) },
      'firewall',
      'warning',
      /50 times/,
    ],
    [
      'a lossy path',
      { lossy: ['-M'] },
      'path MTU',
      'warning',
      /of full packets to beta \(10\.1\.1\.77\) 1 of 3 is lost/,
    ],
    [
      'a lossy overlay',
      { lossy: ['10.240.77.0'], bridge: [] },
      'overlay',
      'warning',
      /to 10\.240\.77\.0 .* 1 of 3 is lost/,
    ],
    [
      'a lossy way of containers',
      { lossy: ['netns exec'] },
      'container way',
      'warning',
      /of a container's packets to 10\.240\.77\.0 1 of 3 is lost/,
    ],
    ...(['rudder0', 'docker0'] as const).map((name): [string, Differences, string, 'problem', RegExp] => [
      `forwarding off for ${name} alone`,
      { files: { [`/proc/sys/net/ipv4/conf/${name}/forwarding`]: '0' } },
      'forwarding',
      'problem',
      new RegExp(`off for ${name}: packets of containers .*sysctl -w net/ipv4/conf/${name}/forwarding=1`),
    ]),
    [
      'forwarding off for the underlay alone',
      { files: { '/proc/sys/net/ipv4/conf/eth0/forwarding': '0' } },
      'forwarding',
      'warning',
      /off for eth0: what answers containers from outside/,
    ],
    ['a path with a smaller MTU', { failing: ['-M'] }, 'path MTU', 'problem', /1500 bytes are too many/],
    ['a path that drops ICMP', { failing: ['10.1.1.77'] }, 'path MTU', 'warning', /allow ICMP/],
    ['a peer that does not answer', { failing: ['10.240.77.0'] }, 'overlay', 'problem', /UDP port 8285/],
    [
      'one of a cluster with a port of its own',
      { failing: ['10.240.77.0'], status: createStatus({ node: { ...createStatus().node, port: 8999 } }) },
      'overlay',
      'problem',
      /UDP port 8999/,
    ],
    [
      'no way to see the routes',
      { printed: { 'ip -4 -j rule show': undefined } },
      'routes',
      'warning',
      /could not look/,
    ],
    [
      'no /proc/sys',
      { files: { '/proc/sys/net/ipv4/conf/all/rp_filter': undefined } },
      'rp_filter',
      'warning',
      /could not look/,
    ],
    [
      'another time',
      { clockOf: async () => new Date(NOW - 90_000) },
      'clock',
      'warning',
      /is 90 s ahead of that of http:\/\/10\.1\.1\.1:2379 -> run an NTP/,
    ],
    [
      'another time of one member of several',
      {
        etcd: { ...ETCD, endpoints: [ENDPOINT, 'http://10.1.1.2:2379'] },
        clockOf: async (url) => new Date(NOW + (url.includes('10.1.1.2') ? 90_000 : 0)),
      },
      'clock',
      'warning',
      /is 90 s behind that of http:\/\/10\.1\.1\.2:2379 -> the clock there is wrong/,
    ],
    ['no time', { clockOf: async () => undefined }, 'clock', 'warning', /is etcd running/],
  ])('finds %s', async (_, differences, check, state, text) => {
    const found = await complaints(differences);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ check, state });
    expect(found[0].text).toMatch(text);
  });

  it('says what it can without a daemon', async () => {
    const found = await complaints({ status: undefined, printed: { 'systemctl show rudder.service': undefined } });
    expect(found).toEqual([
      { check: 'daemon', state: 'problem', text: expect.stringMatching(/start it, or .*no rudder\.service here/) },
    ]);
  });

  it('says nothing of peers that it cannot ask, and nothing good either', async () => {
    const found = await complaints({ failing: ['127.0.0.1'] });
    expect(found.map(({ check, text }) => [check, /"ping" does not work here/.test(text)])).toEqual([
      ['path MTU', true],
      ['overlay', true],
    ]);
    const [peer] = createStatus().peers;
    for (const peers of [[], [{ ...peer, reserved: true }]]) {
      const findings = await examine(createHost({ status: createStatus({ peers }) }));
      expect(findings.map(({ check }) => check)).not.toContain('overlay');
      expect(findings.every(({ state }) => state === 'ok')).toBe(true);
    }
    const skipped = createStatus({ peers: [{ ...peer, problem: 'x' }] });
    expect((await examine(createHost({ status: skipped }))).map(({ check }) => check)).not.toContain('overlay');
  });

  it('says nothing of containers where there is no bridge for them', async () => {
    const findings = await examine(createHost({ bridge: [] }));
    expect(findings.filter(({ check }) => check.startsWith('container'))).toEqual([]);
  });

  it('lists the addresses of the host once', async () => {
    const asked: string[] = [];
    const { run, ...rest } = createHost();
    const findings = await examine({
      ...rest,
      run: (command, args) => {
        asked.push([command, ...args].join(' '));
        return run(command, args);
      },
    });
    expect(findings.every(({ state }) => state === 'ok')).toBe(true);
    expect(asked.filter((line) => line.includes('address show'))).toHaveLength(1);
  });
});

it('says one short line about a subnet file of any bytes', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.tuple(fc.string({ unit: 'binary' }), fc.nat(30_000)).map(([part, times]) => `X_SUBNET=${part.repeat(times)}`),
  );
  await fc.assert(
    fc.asyncProperty(text, async (written) => {
      for (const { text: line } of await complaints({ files: { '/run/rudder/subnet.env': written } })) {
        expect(line.length).toBeLessThan(200);
        expect(line).not.toMatch(/\p{Cc}/u);
      }
    }),
  );
});
