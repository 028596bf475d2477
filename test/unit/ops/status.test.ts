import { describe, expect, it } from 'vitest';
import type { Status } from '../../../src/ops/status.js';
import { isAlive, problemsOf, warningsOf } from '../../../src/ops/status-problems.js';
import { createStatus } from '../../helpers/status.js';

describe('problemsOf', () => {
  it('finds none in a node that is well, one whose lease is a reservation too', () => {
    expect(problemsOf(createStatus())).toEqual([]);
    expect(
      problemsOf(
        createStatus({
          lease: { ttlSeconds: 60, remainingSeconds: null, key: 'written', recoveries: 0, problem: null },
        }),
      ),
    ).toEqual([]);
  });

  it.each<[string, Partial<Status>, RegExp]>([
    ['a packet path that hangs', { packetPath: { heartbeatSeconds: 8, counters: {} } }, /has not run for 8 s/],
    [
      'a device that is down',
      { device: { name: 'rudder0', mtu: 1472, up: false, repairs: 0 } },
      /rudder0 is down or gone/,
    ],
    ['a host that has lost its underlay', { hostProblem: 'no default route' }, /no default route/],
    [
      'an etcd that is gone',
      {
        registry: {
          kind: 'etcd',
          endpoints: [],
          current: false,
          staleSeconds: 11,
          problem: 'ECONNREFUSED',
          lastContactSeconds: 100,
          certificates: [],
        },
      },
      /etcd has not been watched for 11 s.*: ECONNREFUSED/,
    ],
    [
      'a start that etcd has said nothing to, at once',
      {
        registry: {
          kind: 'etcd',
          endpoints: [],
          current: false,
          staleSeconds: 1,
          problem: 'expired',
          lastContactSeconds: null,
          certificates: [],
        },
      },
      /degraded: .* as last known, since the start etcd has told nothing: expired/,
    ],
    [
      'an own key that is gone, though its TTL is not',
      { lease: { ttlSeconds: 100, remainingSeconds: 90, key: 'gone', recoveries: 0, problem: null } },
      /own lease key is gone/,
    ],
    [
      'an own key that is gone, once',
      { lease: { ttlSeconds: 100, remainingSeconds: 0, key: 'gone', recoveries: 0, problem: null } },
      /own lease key is gone/,
    ],
    [
      'an own key with another address',
      { lease: { ttlSeconds: 100, remainingSeconds: 90, key: 'differs', recoveries: 0, problem: null } },
      /does not say what this node is/,
    ],
    [
      'an own key that etcd does not let us write, with the reason',
      { lease: { ttlSeconds: 100, remainingSeconds: 0, key: 'gone', recoveries: 0, problem: 'etcd denies' } },
      /own lease key is gone .*: etcd denies$/,
    ],
    [
      'a lease that is not renewed, with the reason',
      { lease: { ttlSeconds: 100, remainingSeconds: 19, key: 'written', recoveries: 0, problem: 'etcd denies' } },
      /runs out in 19 s and cannot be renewed: etcd denies$/,
    ],
    [
      'a lease that is not renewed',
      { lease: { ttlSeconds: 100, remainingSeconds: 19, key: 'written', recoveries: 0, problem: null } },
      /runs out in 19 s/,
    ],
  ])('names %s', (_, changes, text) => {
    const problems = problemsOf(createStatus(changes));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(text);
  });

  it('forgives a watch that broke a moment ago, and a quiet one that is up', () => {
    const registry = {
      kind: 'etcd',
      endpoints: [],
      problem: null,
      lastContactSeconds: 9999,
      certificates: [],
    } as const;
    expect(problemsOf(createStatus({ registry: { ...registry, current: false, staleSeconds: 9 } }))).toEqual([]);
    expect(problemsOf(createStatus({ registry: { ...registry, current: true, staleSeconds: 0 } }))).toEqual([]);
  });
});

describe('warningsOf', () => {
  const sealed = { type: 'wireguard', kernel: null, direct: null, cipher: 'avx2' };
  const over = (url: string, backend: Status['backend'] = sealed) =>
    warningsOf(createStatus({ backend, registry: { ...createStatus().registry, endpoints: [url] } }));

  it('tells that encryption is worth as much as the way to etcd is', () => {
    expect(over('http://10.1.1.5:2379')).toEqual([
      'packets are encrypted, but etcd is spoken to without TLS (http://10.1.1.5:2379): who can change that can read them all',
    ]);
    for (const url of ['https://10.1.1.5:2379', 'http://127.0.0.1:2379', 'http://localhost:2379', 'http://[::1]:2379'])
      expect(over(url), url).toEqual([]);
    expect(over('http://localhost.example:2379')).toHaveLength(1);
    expect(over('http://10.1.1.5:2379', { type: 'udp', kernel: null, direct: null, cipher: null })).toEqual([]);
  });

  it('tells of a clock that was set back, which peers do not believe', () => {
    const backend = { ...sealed, clockBehindSeconds: 3600 };
    expect(warningsOf(createStatus({ backend }))).toEqual([
      'the clock is 3600 s behind what peers were told before it was set back',
    ]);
  });

  it('tells of a firewall that is not kept, and of peers that are skipped', () => {
    const status = createStatus();
    const firewall = { ...status.firewall, kept: false, problem: 'nft is not installed' };
    expect(warningsOf({ ...status, firewall })).toEqual(['the firewall rules are not kept: nft is not installed']);
    const peers = status.peers.map((peer) => ({ ...peer, problem: 'its subnet overlaps' }));
    expect(warningsOf({ ...status, peers })).toEqual([expect.stringMatching(/skipped: .*: its subnet overlaps/)]);
  });

  it('tells of a certificate that ends within 14 days, of a node that is ready', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    const notAfter = (days: number) => new Date(now + days * 86_400_000).toISOString();
    const ending = (days: number) => {
      const certificates = [{ file: '/etc/rudder/client.pem', subject: 'CN=node', notAfter: notAfter(days) }];
      return createStatus({ registry: { ...createStatus().registry, certificates } });
    };
    expect(warningsOf(ending(15), now)).toEqual([]);
    expect(warningsOf(ending(13), now)).toEqual([
      expect.stringMatching(
        /^the certificate "CN=node" in \/etc\/rudder\/client\.pem expires in 13 days, on 2026-01-14/,
      ),
    ]);
    expect(warningsOf(ending(-1), now)).toEqual([expect.stringMatching(/has expired, on 2025-12-31/)]);
    expect(problemsOf(ending(-1))).toEqual([]);
  });

  it('finds none in a node that is well, or that has not been told its config yet', () => {
    expect(warningsOf(createStatus())).toEqual([]);
    expect(warningsOf(createStatus({ config: { state: 'unknown', detail: null } }))).toEqual([]);
  });

  it.each(['changed', 'invalid', 'deleted'] as const)('names a config that is %s, of a node that is ready', (state) => {
    const status = createStatus({ config: { state, detail: 'SubnetLen 24 becomes 26: a restart applies it' } });
    expect(warningsOf(status)).toEqual([`the network config in etcd is ${state}: ${status.config.detail}`]);
    expect(problemsOf(status)).toEqual([]);
  });
});

describe('leases of nodes with another network config', () => {
  const peer = { ...createStatus().peers[0], subnet: '10.240.64.0/22', nextHop: '10.1.1.64' };
  const ignored = (n: number) => ({
    key: `10.240.${n}.0-26`,
    host: null,
    version: null,
    backend: 'udp',
    nextHop: `10.1.1.${n}`,
    problem: 'is smaller',
  });

  it('that are ignored are named, some of many, and the node is ready', () => {
    const one = createStatus({ ignoredLeases: { count: 1, first: [ignored(1)] } });
    expect(warningsOf(one)).toEqual(['1 lease is ignored: 10.240.1.0-26 of 10.1.1.1: is smaller']);
    expect(problemsOf(one)).toEqual([]);
    const many = createStatus({ ignoredLeases: { count: 99, first: [1, 2, 3, 4].map(ignored) } });
    expect(warningsOf(many)[0]).toMatch(/^99 leases are ignored: .*10\.1\.1\.3: is smaller; and 96 more$/);
  });

  it('that are larger are named too: such a node does not send here', () => {
    const status = createStatus({ peers: [...createStatus().peers, peer] });
    expect(warningsOf(status)).toEqual([
      expect.stringMatching(/^1 peer has a larger subnet than this node's \/24.*: 10\.240\.64\.0\/22 of 10\.1\.1\.64$/),
    ]);
  });
});

describe('isAlive', () => {
  it('is about the packet path only', () => {
    expect(isAlive(createStatus({ device: { name: 'rudder0', mtu: 1472, up: false, repairs: 0 } }))).toBe(true);
    expect(isAlive(createStatus({ packetPath: { heartbeatSeconds: 6, counters: {} } }))).toBe(false);
  });
});
