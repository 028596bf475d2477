import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences, ROUTES } from './fake-host.js';

const [peer] = createStatus().peers;
const among = (...subnets: string[]) =>
  createStatus({ peers: subnets.map((subnet, i) => ({ ...peer, subnet, nextHop: `10.1.1.${100 + i}` })) });
/** Pings would tell of it too, and they are answered here. */
const without = (dev: string) => ROUTES.filter((route) => route.dev !== dev);
const other = { dst: '10.240.77.0/24', dev: 'tun5' };
const inTable = { dst: 'default', dev: 'tun7', table: '52' };

describe('the routes', () => {
  it.each<[string, Differences, 'problem' | 'warning', RegExp]>([
    [
      'none of ours',
      { routes: without('rudder0') },
      'problem',
      /^no route leads to 10\.240\.0\.0\/16 through rudder0, .*: packets leave by eth0 -> one that is gone comes back/,
    ],
    [
      'none of ours on a host without peers',
      { routes: without('rudder0'), status: createStatus({ peers: [] }) },
      'problem',
      /^no route leads to 10\.240\.0\.0\/16/,
    ],
    [
      'none of ours, which the daemon has withdrawn',
      { routes: without('rudder0'), status: createStatus({ hostProblem: 'cut off' }) },
      'problem',
      /through rudder0.* -> it was withdrawn/,
    ],
    ['none at all', { routes: [] }, 'problem', /^no route leads to .*: packets leave by nowhere/],
    [
      "one to a peer's subnet",
      { routes: [...ROUTES, other] },
      'problem',
      /^10\.240\.77\.0\/24 leads to tun5, .*: packets to 10\.240\.77\.0\/24 do not reach the overlay -> "ip route delete 10\.240\.77\.0\/24"/,
    ],
    [
      "one to a part of a peer's subnet, where no address of the peer's is asked for first",
      { routes: [...ROUTES, { ...other, dst: '10.240.77.128/25' }] },
      'problem',
      /^10\.240\.77\.128\/25 leads to tun5.*packets to 10\.240\.77\.0\/24/,
    ],
    [
      'one that begins where the own subnet begins, and holds a peer',
      { routes: [...ROUTES, { ...other, dst: '10.240.26.0/23' }], status: among('10.240.27.0/24') },
      'problem',
      /^10\.240\.26\.0\/23 leads to tun5.*packets to 10\.240\.27\.0\/24/,
    ],
    [
      'one that holds a peer far down the list',
      {
        routes: [...ROUTES, { ...other, dst: '10.240.96.0/22' }],
        status: among(
          ...Array.from({ length: 100 }, (_, i) => `10.240.${i}.0/24`).filter((one) => !one.startsWith('10.240.26.')),
        ),
      },
      'problem',
      /^10\.240\.96\.0\/22 leads to tun5.*packets to 10\.240\.96\.0\/24, 10\.240\.97\.0\/24, 10\.240\.98\.0\/24, and 1 more do not/,
    ],
    [
      'one where no peer is',
      { routes: [...ROUTES, { ...other, dst: '10.240.3.0/24' }] },
      'warning',
      /^10\.240\.3\.0\/24 leads to tun5.*no peer is there now.* -> .*SubnetMin and SubnetMax/,
    ],
    [
      "one that throws a peer's packets away",
      { routes: [...ROUTES, { dst: '10.240.77.0/24', type: 'blackhole' }] },
      'problem',
      /^10\.240\.77\.0\/24 leads to blackhole \(no device\)/,
    ],
    [
      "an address of this host inside a peer's subnet",
      { routes: [...ROUTES, { dst: '10.240.77.5', type: 'local', dev: 'lo', table: 'local' }] },
      'problem',
      /^10\.240\.77\.5 on lo is an address of this host.* -> "ip address delete 10\.240\.77\.5 dev lo"/,
    ],
    [
      'a rule that leads the whole Network to another table',
      {
        rules: [
          { priority: 5210, table: '52' },
          { priority: 5208, table: '51' },
        ],
        ways: { '10.240.77.0': inTable },
      },
      'problem',
      /^a packet to 10\.240\.77\.0 leaves by tun7 \(table 52\) -> .*"ip rule add to 10\.240\.0\.0\/16 lookup main priority 5207"/,
    ],
    [
      'one that has the first place',
      { rules: [{ priority: 1, table: '52' }], ways: { '10.240.77.0': inTable } },
      'problem',
      /-> see "ip rule show": a rule that leads the overlay away has the first place$/,
    ],
    [
      'a rule that leads a part of it there, where no peer is',
      {
        rules: [{ priority: 5210, dst: '10.240.9.0', dstlen: 24, table: '52' }],
        ways: { '10.240.9.0': inTable, '10.240.9.255': inTable },
      },
      'warning',
      /^a packet to 10\.240\.9\.0 leaves by tun7 \(table 52\)/,
    ],
    [
      'one that leads a part of the own subnet away',
      { routes: [...ROUTES, { dst: '10.240.26.128/25', dev: 'eth0' }] },
      'problem',
      /^10\.240\.26\.128\/25, of this host's own subnet, leads to eth0: containers there are not reached/,
    ],
    [
      'one that leads the own subnet into the overlay',
      { routes: [...ROUTES, { dst: '10.240.26.0/25', dev: 'rudder0' }] },
      'problem',
      /^10\.240\.26\.0\/25, .*leads to rudder0/,
    ],
    ['no way to see them', { printed: { 'ip -4 -j route show': undefined } }, 'warning', /^could not look/],
  ])('%s: is told', async (_, differences, state, text) => {
    const found = (await complaints(differences)).filter(({ check }) => check === 'routes');
    expect(found).toHaveLength(1);
    expect(found[0].state).toBe(state);
    expect(found[0].text).toMatch(text);
  });

  it.each<[string, Differences]>([
    ['a wider one, which ours goes before', { routes: [...ROUTES, { dst: '10.0.0.0/8', dev: 'wg0' }] }],
    ['one of a container, as CNI plugins make them', { routes: [...ROUTES, { dst: '10.240.26.7', dev: 'veth7' }] }],
    [
      'addresses of the own bridge and device',
      {
        routes: [
          ...ROUTES,
          { dst: '10.240.26.1', type: 'local', dev: 'docker0', table: 'local' },
          { dst: '10.240.26.0', type: 'local', dev: 'rudder0', table: 'local' },
          { dst: '10.240.26.255', type: 'broadcast', dev: 'docker0', table: 'local' },
          { dst: '10.240.255.255', type: 'broadcast', dev: 'rudder0', table: 'local' },
        ],
      },
    ],
    ['one in a table that no rule leads to', { routes: [...ROUTES, { ...other, table: '99' }] }],
  ])('%s: harms nobody', async (_, differences) => {
    expect(await complaints(differences)).toEqual([]);
  });

  it('are said to be right for what was asked', async () => {
    const said = async (differences: Differences) =>
      (await examine(createHost(differences))).find(({ check }) => check === 'routes')?.detail;
    expect(await said({})).toBe('packets to 1 peer leave by rudder0');
    expect(await said({ status: createStatus({ peers: [] }) })).toBe('packets to 10.240.0.0/16 leave by rudder0');
  });

  it('are not asked for as a container where forwarding is off for its bridge, which is told', async () => {
    const files = { '/proc/sys/net/ipv4/conf/docker0/forwarding': '0' };
    const found = await complaints({ files, containerRoute: { type: 'unreachable' } });
    expect(found.map(({ check }) => check)).toEqual(['forwarding']);
  });
});

describe('a plain route to a peer on the link', () => {
  const direct = { dst: '10.240.77.0/24', dev: 'eth0', gateway: peer.nextHop, protocol: '80' };
  const echoes = { dst: '10.240.0.0/16', type: 'unreachable', protocol: '80', table: '8285' };
  const withRoute = (route: typeof direct): Differences => ({
    routes: [...ROUTES, route, echoes],
    containerRoute: 'as the host',
    files: { '/proc/sys/net/ipv4/conf/eth0/rp_filter': '0' },
    status: createStatus({ backend: { type: 'udp', kernel: null, direct: 1 } }),
  });

  it('is as good as the device, if it is of ours and leads to that peer', async () => {
    const findings = await examine(createHost(withRoute(direct)));
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([]);
    expect(findings.find(({ check }) => check === 'routes')?.detail).toBe('packets to 1 peer leave by eth0');
  });

  it.each([
    ['of another', { ...direct, protocol: '3' }],
    ['to another host', { ...direct, gateway: '10.1.1.99' }],
  ])('is none that is %s', async (_, route) => {
    const [{ check, text }] = await complaints(withRoute(route));
    expect([check, text]).toEqual(['routes', expect.stringContaining('10.240.77.0/24 leads to eth0')]);
  });
});
