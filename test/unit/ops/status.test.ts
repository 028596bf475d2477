import { describe, expect, it } from 'vitest';
import { isAlive, problemsOf, type Status } from '../../../src/ops/status.js';
import { createStatus } from '../../helpers/status.js';

describe('problemsOf', () => {
  it('finds none in a node that is well, one whose lease is a reservation too', () => {
    expect(problemsOf(createStatus())).toEqual([]);
    expect(problemsOf(createStatus({ lease: { ttlSeconds: 60, remainingSeconds: null, recoveries: 0 } }))).toEqual([]);
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
      { etcd: { endpoints: [], current: false, staleSeconds: 11, lastContactSeconds: 100, certificates: [] } },
      /etcd has not been watched for 11 s/,
    ],
    [
      'a lease that is not renewed',
      { lease: { ttlSeconds: 100, remainingSeconds: 19, recoveries: 0 } },
      /runs out in 19 s/,
    ],
  ])('names %s', (_, changes, text) => {
    const problems = problemsOf(createStatus(changes));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(text);
  });

  it('forgives a watch that broke a moment ago, and a quiet one that is up', () => {
    const etcd = { endpoints: [], lastContactSeconds: 9999, certificates: [] };
    expect(problemsOf(createStatus({ etcd: { ...etcd, current: false, staleSeconds: 9 } }))).toEqual([]);
    expect(problemsOf(createStatus({ etcd: { ...etcd, current: true, staleSeconds: 0 } }))).toEqual([]);
  });
});

describe('isAlive', () => {
  it('is about the packet path only', () => {
    expect(isAlive(createStatus({ device: { name: 'rudder0', mtu: 1472, up: false, repairs: 0 } }))).toBe(true);
    expect(isAlive(createStatus({ packetPath: { heartbeatSeconds: 6, counters: {} } }))).toBe(false);
  });
});
