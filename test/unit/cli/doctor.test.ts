import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import { ip } from '../../helpers/path.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences, NOW, ROUTES } from './fake-host.js';

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
      'docker',
      'container route',
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
      'a firewall that cannot be kept',
      {
        status: createStatus({
          firewall: { kept: false, checks: 1, repairs: 0, problem: 'no iptables', forwarding: null },
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
          firewall: { kept: false, checks: 1, repairs: 0, problem: 'no iptables', forwarding: null },
        }),
      },
      'firewall',
      'problem',
      /no iptables -> install iptables and nftables/,
    ],
    [
      'a rule of somebody else before ours, which the daemon says is first',
      { printed: { 'iptables-save': '-A FORWARD -j KUBE-FORWARD\n-A FORWARD -j RUDDER-FORWARD\n' } },
      'firewall',
      'problem',
      /"-A FORWARD -j KUBE-FORWARD" comes before RUDDER-FORWARD/,
    ],
    [
      'no rule of ours, which the daemon says it keeps',
      { printed: { 'iptables-save': '-A FORWARD -j DOCKER-USER\n' } },
      'firewall',
      'problem',
      /no rule for RUDDER-FORWARD/,
    ],
    ['no look at the rules', { printed: { 'iptables-save': undefined } }, 'firewall', 'warning', /tells nothing/],
    [
      'no route of ours',
      { routes: ROUTES.filter(({ dev }) => dev !== 'rudder0') },
      'routes',
      'problem',
      /no route leads to 10\.240\.0\.0\/16 through rudder0/,
    ],
    [
      'a firewall of which nobody knows what passes',
      { status: createStatus({ firewall: { kept: true, checks: 9, repairs: 0, problem: null, forwarding: null } }) },
      'firewall',
      'warning',
      /nft does not tell/,
    ],
    [
      'a policy rule that takes the overlay elsewhere',
      { containerRoute: { dev: 'tun7', table: '52' } },
      'container route',
      'problem',
      /routed to tun7 \(table 52\).*ip rule add to 10\.240\.0\.0\/16 lookup main/,
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
      /10\.240\.77\.0\/24 is skipped: it lies inside/,
    ],
    [
      'a firewall that somebody rewrites',
      { status: createStatus({ firewall: { kept: true, checks: 99, repairs: 50, problem: null, forwarding: null } }) },
      'firewall',
      'warning',
      /50 times/,
    ],
    [
      'a route into the overlay',
      { routes: [...ROUTES, { dst: '10.240.3.0/24', dev: 'tun5' }] },
      'routes',
      'problem',
      /10\.240\.3\.0\/24 leads to tun5/,
    ],
    [
      'a route around the overlay',
      { routes: [...ROUTES, { dst: '10.0.0.0/8', dev: 'wg0' }] },
      'routes',
      'problem',
      /10\.0\.0\.0\/8 leads to wg0/,
    ],
    ['a path with a smaller MTU', { failing: ['-M'] }, 'path MTU', 'problem', /1500 bytes are too many/],
    ['a path that drops ICMP', { failing: ['10.1.1.77'] }, 'path MTU', 'warning', /allow ICMP/],
    ['a peer that does not answer', { failing: ['10.240.77.0'] }, 'overlay', 'problem', /UDP port 8285/],
    [
      'no way to see the routes',
      { printed: { 'ip -4 -j route show': undefined } },
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
    ['another time', { dateOf: async () => new Date(NOW - 90_000) }, 'clock', 'warning', /is 90 s away/],
    ['no time', { dateOf: async () => undefined }, 'clock', 'warning', /is etcd running/],
  ])('finds %s', async (_, differences, check, state, text) => {
    const found = await complaints(differences);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ check, state });
    expect(found[0].text).toMatch(text);
  });

  it('says what it can without a daemon', async () => {
    const found = await complaints({ status: undefined, printed: { 'systemctl show rudder.service': undefined } });
    expect(found).toEqual([{ check: 'daemon', state: 'problem', text: expect.stringContaining('systemctl start') }]);
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
