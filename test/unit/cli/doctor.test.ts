import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import type { Host } from '../../../src/cli/doctor/host.js';
import { ip } from '../../helpers/path.js';
import { createStatus } from '../../helpers/status.js';

const NOW = Date.parse('2026-01-01T00:00:00Z');
const ROUTES = [
  { dst: 'default', dev: 'eth0' },
  { dst: '10.1.1.0/24', dev: 'eth0' },
  { dst: '10.240.0.0/16', dev: 'rudder0' },
  { dst: '10.240.26.0/24', dev: 'docker0' },
];

const BRIDGE = [
  { ifname: 'rudder0', addr_info: [{ local: '10.240.26.0' }] },
  { ifname: 'docker0', addr_info: [{ local: '10.240.26.1' }] },
];
const TO_PEER = { dev: 'rudder0' };

const FILES: Record<string, string> = {
  '/run/rudder/subnet.env': 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1472\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
  '/proc/sys/net/ipv4/conf/rudder0/rp_filter': '2\n',
};

interface Differences extends Partial<Host> {
  readonly files?: Record<string, string | undefined>;
  readonly routes?: { dst: string; type?: string; dev?: string }[];
  /** What holds our subnet. */
  readonly bridge?: { ifname: string; addr_info: { local: string }[] }[];
  /** Where a container's packet to a peer would go. */
  readonly containerRoute?: { type?: string; dev?: string; table?: string } | undefined;
  /** Pings that fail: by a text in their arguments. */
  readonly failing?: string[];
}

/** A host on which all is well, but for the differences. */
function createHost(differences: Differences = {}): Host {
  const {
    files = {},
    routes = ROUTES,
    failing = [],
    bridge = BRIDGE,
    containerRoute = TO_PEER,
    ...changes
  } = differences;
  return {
    isRoot: true,
    status: createStatus(),
    endpoints: ['http://10.1.1.1:2379'],
    now: () => NOW,
    exists: async () => true,
    read: async (path) => ({ ...FILES, ...files })[path],
    async run(_, args) {
      if (args.includes('address')) return JSON.stringify(bridge);
      return JSON.stringify(args.includes('get') ? [containerRoute] : routes);
    },
    // Nobody has the last address of our subnet.
    succeeds: async (_, args) =>
      ![...failing, '10.240.26.254'].some((text) => ` ${args.join(' ')} `.includes(` ${text} `)),
    nameservers: async () => [ip('192.0.2.53')],
    suspects: async () => [],
    dateOf: async () => new Date(NOW + 2000),
    ...changes,
  };
}

const complaints = async (differences: Differences) =>
  (await examine(createHost(differences)))
    .filter(({ state }) => state !== 'ok')
    .map(({ check, state, detail, remedy }) => ({ check, state, text: `${detail} -> ${remedy}` }));

describe('rudder doctor', () => {
  it('finds nothing on a host that is well, and says so check by check', async () => {
    const findings = await examine(createHost());
    expect(findings.map(({ check }) => check)).toEqual([
      'permissions',
      'daemon',
      'subnet file',
      'forwarding',
      'rp_filter',
      'firewall',
      'routes',
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
      /no iptables -> install iptables/,
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
    ['no way to see the routes', { run: async () => undefined }, 'routes', 'warning', /could not look/],
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
    const found = await complaints({ status: undefined });
    expect(found).toEqual([{ check: 'daemon', state: 'problem', text: expect.stringContaining('systemctl start') }]);
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
