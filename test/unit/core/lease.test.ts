import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { isUnusableAsHost } from '../../../src/core/ipv4.js';
import { formatLeaseValue, isPortMapped, parseLease, parseLeaseValue } from '../../../src/core/lease.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';
import { formatSubnetKey, subnetAt } from '../../../src/core/subnet.js';
import { udp } from '../../helpers/leases.js';

const config = parseCommonConfig('{"Network":"10.240.0.0/16"}');
const KEY = '10.240.26.0-24';
const reach = { publicIp: parseIpv4('10.1.1.140')!, nodeId: 'node-1', backend: udp() };
const ours = formatLeaseValue(reach);

/** The problem's text, after checks that hold for all: one line for a log. */
function problemOf(key: string, value: string): string {
  const result = parseLease(config, key, value);
  if (!('problem' in result)) throw new Error(`accepted as a lease: ${JSON.stringify(result)}`);
  expect(result.problem.length).toBeLessThanOrEqual(300);
  expect(result.problem).not.toMatch(/[\n\r\u2028\u2029]/);
  return result.problem;
}

describe('formatLeaseValue', () => {
  it('writes the bytes that flannel decodes', () => {
    expect(formatLeaseValue({ ...reach, nodeId: '8c7ad0e5-0a6a-4bd1-a0c9-51d5d4bb1f6a' })).toBe(
      '{"PublicIP":"10.1.1.140","PublicIPv6":null,"BackendType":"udp","BackendData":{"NodeID":"8c7ad0e5-0a6a-4bd1-a0c9-51d5d4bb1f6a"}}',
    );
  });

  it('has what the backend says beside the node id', () => {
    const data = { VNI: 1, VtepMAC: '0e:11:22:33:44:55' };
    const value = formatLeaseValue({ ...reach, backend: { type: 'vxlan', data } });
    expect(JSON.parse(value)).toMatchObject({ BackendType: 'vxlan', BackendData: { NodeID: 'node-1', ...data } });
    expect(JSON.parse(ours).BackendData).toEqual({ NodeID: 'node-1' });
  });

  it('names its node, and the version that this runs', () => {
    const value = formatLeaseValue({ ...reach, host: 'node-1.example', version: '0.2.0-rc.1' });
    expect(JSON.parse(value).BackendData).toEqual({
      NodeID: 'node-1',
      HostName: 'node-1.example',
      Version: '0.2.0-rc.1',
    });
    expect(parseLease(config, KEY, value)).toMatchObject({
      host: 'node-1.example',
      version: '0.2.0-rc.1',
      backend: udp(),
    });
  });

  it.each<[unknown, unknown]>([
    ['', ''],
    ['-a', '1 2'],
    ['a\u001b[31mb', '1\n'],
    ['10.1.1.7', 'x'.repeat(61)],
    ['a'.repeat(254), null],
    [7, {}],
  ])('calls no node %j, nor its version %j', (HostName, Version) => {
    const value = JSON.stringify({ PublicIP: '10.1.1.140', BackendType: 'udp', BackendData: { HostName, Version } });
    expect(parseLease(config, KEY, value)).toMatchObject({ host: undefined, version: undefined, backend: udp() });
  });

  it('is read back with its key', () => {
    const hosts = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).filter((address) => !isUnusableAsHost(address));
    const numbers = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(hosts, fc.string({ minLength: 1 }), numbers, fc.boolean(), (publicIp, nodeId, number, portMapped) => {
        const subnet = subnetAt(config.network, 24, number);
        const reach = { publicIp, nodeId, backend: udp(portMapped) };
        const lease = parseLease(config, formatSubnetKey(subnet), formatLeaseValue(reach));
        expect(lease).toEqual({ subnet, ...reach });
        expect(!('problem' in lease) && isPortMapped(lease)).toBe(portMapped);
      }),
    );
  });
});

describe('a lease', () => {
  const lease = { subnet: parseSubnet('10.240.26.0/24'), publicIp: parseIpv4('10.1.1.140') };

  it('of ours has a node id', () => {
    expect(parseLease(config, KEY, ours)).toEqual({ ...lease, nodeId: 'node-1', backend: udp() });
  });

  // flannel's udp backend writes no BackendData at all, and zod 4 counts a missing key as a violation of z.unknown().
  it.each([
    ['of its udp backend', '{"PublicIP":"10.1.1.140","PublicIPv6":null}', { type: '', data: {} }],
    ['before dual stack', '{"PublicIP":"10.1.1.140"}', { type: '', data: {} }],
    ['with a type', '{"PublicIP":"10.1.1.140","PublicIPv6":null,"BackendType":"udp"}', udp()],
    ['with an empty type', '{"PublicIP":"10.1.1.140","BackendType":""}', { type: '', data: {} }],
    ['with null data', '{"PublicIP":"10.1.1.140","PublicIPv6":null,"BackendType":"udp","BackendData":null}', udp()],
    ['with an IPv6 address', '{"PublicIP":"10.1.1.140","PublicIPv6":"2001:db8::1"}', { type: '', data: {} }],
    ['with null type', '{"PublicIP":"10.1.1.140","BackendType":null,"BackendData":null}', { type: '', data: {} }],
    ['with keys in other case', '{"publicIP":"10.1.1.140","backendtype":"UDP","BACKENDDATA":{}}', udp()],
    ['with unknown keys', '{"PublicIP":"10.1.1.140","BackendData":{"x":1},"More":[]}', { type: '', data: { x: 1 } }],
    ['of another backend', '{"PublicIP":"10.1.1.140","BackendType":"host-gw"}', { type: 'host-gw', data: {} }],
    [
      'of vxlan',
      '{"PublicIP":"10.1.1.140","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0e:11:22:33:44:55"}}',
      { type: 'vxlan', data: { VNI: 1, VtepMAC: '0e:11:22:33:44:55' } },
    ],
  ])('of flannel %s has no node id', (_, value, backend) => {
    expect(parseLease(config, KEY, value)).toEqual({ ...lease, nodeId: undefined, backend });
    expect(parseLeaseValue(value)).toEqual({ publicIp: lease.publicIp, nodeId: undefined, backend });
  });

  it.each([
    '{}',
    'null',
    '"text"',
    '[1]',
    '7',
    '{"NodeID":""}',
    '{"NodeID":7}',
    '{"NodeID":null}',
    '{"PortMapped":"true"}',
    '{"PortMapped":1}',
  ])('with BackendData %s has no node id and no mapped ports', (data) => {
    const read = parseLease(config, KEY, `{"PublicIP":"10.1.1.140","BackendData":${data}}`);
    expect(read).toMatchObject({ ...lease, nodeId: undefined });
    expect(!('problem' in read) && isPortMapped(read)).toBe(false);
  });

  it('is none under a dual-stack key, which would be a second name of its subnet', () => {
    expect(parseLease(config, `${KEY}&2001:db8::-64`, ours)).toMatchObject({
      problem: expect.stringContaining('dual-stack'),
    });
  });
});

describe('a lease of a node with another network config', () => {
  it.each([
    '10.240.24.0-22',
    '10.240.128.0-17',
  ])('is one if it is larger: %s is several entries of our table', (key) => {
    expect(parseLease(config, key, ours)).toMatchObject({
      subnet: parseSubnet(key.replace('-', '/')),
      nodeId: 'node-1',
    });
  });
});

describe('no lease', () => {
  it.each([
    ['', 'is not like "10.240.26.0-24"'],
    ['config', '"config" is not like "10.240.26.0-24"'],
    ['10.240.26.7-24', '"10.240.26.7-24" is not like "10.240.26.0-24"'],
    ['10.241.26.0-24', 'subnet 10.241.26.0/24 is outside Network 10.240.0.0/16'],
    ['10.0.0.0-8', 'subnet 10.0.0.0/8 is outside Network 10.240.0.0/16'],
    ['0.0.0.0-0', 'subnet 0.0.0.0/0 is outside Network 10.240.0.0/16'],
    [
      '10.240.26.128-25',
      'subnet 10.240.26.128/25 is smaller than SubnetLen 24 allows: its node has another network config',
    ],
    ['10.240.0.0-16', 'subnet 10.240.0.0/16 is the whole Network'],
    [`${'x\n'.repeat(500_000)}`, 'is not like "10.240.26.0-24"'],
  ])('by its key (%#)', (key, problem) => {
    expect(problemOf(key, ours)).toContain(problem);
  });

  it.each([
    ['', 'is not JSON with a PublicIP'],
    ['10.1.1.140', 'value "10.1.1.140" is not JSON'],
    ['{"PublicIP":"10.1.1.140"', 'is not JSON'],
    ['null', 'value "null" is not JSON with a PublicIP'],
    ['[]', 'value "[]" is not JSON with a PublicIP'],
    ['7', 'value "7" is not JSON with a PublicIP'],
    ['{"BackendData":null}', 'is not JSON with a PublicIP'],
    ['{"PublicIP":null,"BackendData":null}', 'is not JSON with a PublicIP'],
    ['{"PublicIP":16909060,"BackendData":null}', 'is not JSON with a PublicIP'],
    ['{"PublicIP":["10.1.1.140"],"BackendData":null}', 'is not JSON with a PublicIP'],
    ['{"PublicIP":"","BackendData":null}', 'PublicIP "" is not the IPv4 address of a host'],
    ['{"PublicIP":"10.1.1","BackendData":null}', 'PublicIP "10.1.1" is not the IPv4 address of a host'],
    ['{"PublicIP":"10.1.1.140:80","BackendData":null}', 'PublicIP "10.1.1.140:80" is not the IPv4'],
    ['{"PublicIP":"2001:db8::1","BackendData":null}', 'PublicIP "2001:db8::1" is not the IPv4'],
    ['{"PublicIP":"0.0.0.0","BackendData":null}', 'PublicIP "0.0.0.0" is not the IPv4 address of a host'],
    ['{"PublicIP":"127.0.0.1","BackendData":null}', 'PublicIP "127.0.0.1" is not the IPv4'],
    ['{"PublicIP":"224.0.0.1","BackendData":null}', 'PublicIP "224.0.0.1" is not the IPv4'],
    ['{"PublicIP":"255.255.255.255","BackendData":null}', 'PublicIP "255.255.255.255" is not the IPv4'],
    ['{"PublicIP":"10.1.1.140","BackendType":7,"BackendData":null}', 'is not JSON with a PublicIP'],
  ])('by its value %s', (value, problem) => {
    expect(problemOf(KEY, value)).toContain(problem);
  });

  it.each([
    ['1 MB of anything', 'x'.repeat(1_000_000), 'value of 1000000 characters is longer than 65536'],
    ['1 MB around a good value', ours.replace('node-1', 'n'.repeat(1_000_000)), 'is longer than 65536'],
    ['64 KB of no JSON', 'x\n'.repeat(32 * 1024), 'is not JSON'],
    ['a long PublicIP', `{"PublicIP":"${'9'.repeat(60_000)}","BackendData":0}`, 'is not the IPv4 address of a host'],
  ])('with %s', (_, value, problem) => {
    expect(problemOf(KEY, value)).toContain(problem);
  });

  it('never throws, and tells every problem in one short line', () => {
    const values = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc
        .record({ PublicIP: fc.jsonValue(), BackendType: fc.string(), BackendData: fc.jsonValue() })
        .map((value) => JSON.stringify(value)),
    );
    const keys = fc.oneof(fc.constant(KEY), fc.string({ unit: 'binary', maxLength: 2000 }));
    fc.assert(
      fc.property(keys, values, (key, value) => {
        if ('problem' in parseLease(config, key, value)) problemOf(key, value);
      }),
    );
  });
});

describe('a PublicIP inside the overlay', () => {
  // Its datagrams would be routed into the overlay, and wrapped again and again.
  const config = parseCommonConfig('{"Network":"10.0.0.0/8","SubnetMin":"10.240.0.0","SubnetMax":"10.240.255.0"}');
  const leaseOf = (publicIp: string) => parseLease(config, '10.240.77.0-24', `{"PublicIP":"${publicIp}"}`);

  it.each(['10.240.0.0', '10.240.77.1', '10.240.255.255'])('is none: %s', (publicIp) => {
    expect(leaseOf(publicIp)).toEqual({ problem: `PublicIP ${publicIp} lies inside the overlay` });
  });

  it.each(['10.1.1.77', '10.239.255.255', '10.241.0.0'])('is not one that no subnet can hold: %s', (publicIp) => {
    expect(leaseOf(publicIp)).not.toHaveProperty('problem');
  });
});
