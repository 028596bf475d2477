import { expect, it } from 'vitest';
import { addressOf, readConfig } from '../../../src/cli/leases.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { formatLeaseValue } from '../../../src/core/lease.js';
import { udp } from '../../helpers/leases.js';

const lease = (third: number, host: string | undefined) => ({
  name: `10.240.${third}.0-24`,
  value: formatLeaseValue({ publicIp: parseIpv4(`10.1.1.${third}`)!, nodeId: `n${third}`, host, backend: udp() }),
  ttlSeconds: 60,
});
const leases = [
  lease(1, 'alpha'),
  lease(2, 'beta'),
  lease(3, 'beta'),
  lease(4, undefined),
  { ...lease(5, 'x'), value: '{' },
];

it('finds the address of a node by its name, in any case', () => {
  expect(addressOf(leases, 'Alpha')).toBe(parseIpv4('10.1.1.1'));
});

it.each([
  ['gamma', /"gamma" is the name of no node with a lease: expected a node's public address/],
  ['beta', /"beta" is the name of several nodes, at 10\.1\.1\.2, 10\.1\.1\.3/],
])('has none for %s', (name, problem) => {
  expect(() => addressOf(leases, name)).toThrow(problem);
});

it('a config that is not there is made where it belongs', async () => {
  const missing = (configPlace: Parameters<typeof readConfig>[0]['configPlace']) =>
    readConfig({ configPlace, getConfig: async () => undefined });
  await expect(missing({ key: '/x/config' })).rejects.toThrow(
    /^there is no network config in etcd: expected one; create it with rudder init /,
  );
  await expect(missing({ key: '/f/net-conf.json', isFile: true })).rejects.toThrow(
    /^there is no network config \/f\/net-conf.json: expected one; mount the ConfigMap there, or name another file/,
  );
});
