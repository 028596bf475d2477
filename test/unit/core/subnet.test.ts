import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet, parseSubnetKey } from '../../../src/core/address-text.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';
import {
  contains,
  formatSubnet,
  formatSubnetKey,
  maskOf,
  subnetAt,
  subnetCount,
  subnetNumber,
  subnetOf,
} from '../../../src/core/subnet.js';

const subnets = fc
  .record({ address: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), length: fc.integer({ min: 0, max: 32 }) })
  .map(({ address, length }) => subnetOf(address, length));

describe('maskOf', () => {
  it.each([
    [0, '0.0.0.0'],
    [1, '128.0.0.0'],
    [8, '255.0.0.0'],
    [16, '255.255.0.0'],
    [22, '255.255.252.0'],
    [24, '255.255.255.0'],
    [31, '255.255.255.254'],
    [32, '255.255.255.255'],
  ])('/%i is %s', (length, mask) => {
    expect(formatIpv4(maskOf(length))).toBe(mask);
  });
});

describe('parseSubnet', () => {
  it.each([
    ['10.240.0.0/16', '10.240.0.0/16'],
    ['10.240.26.7/24', '10.240.26.0/24'],
    ['192.168.255.255/17', '192.168.128.0/17'],
    ['10.1.2.3/32', '10.1.2.3/32'],
    ['10.1.2.3/0', '0.0.0.0/0'],
  ])('reads %s as %s', (text, expected) => {
    expect(formatSubnet(parseSubnet(text)!)).toBe(expected);
  });

  it.each([
    '',
    '10.240.0.0',
    '10.240.0.0/',
    '/16',
    '10.240.0.0/33',
    '10.240.0.0/-1',
    '10.240.0.0/016',
    '10.240/16',
  ])('refuses %j', (text) => {
    expect(parseSubnet(text)).toBeUndefined();
  });

  it.each([
    '10.240.0.0/16/16',
    '10.240.0.0-16',
    '10.240.0.0/ 16',
    '10.240.0.0/1.6',
    '10.240.0.0/x',
    'fc00::/64',
  ])('refuses %j', (text) => {
    expect(parseSubnet(text)).toBeUndefined();
  });

  it('reads back every formatted subnet', () => {
    fc.assert(
      fc.property(subnets, (subnet) => {
        expect(parseSubnet(formatSubnet(subnet))).toEqual(subnet);
      }),
    );
  });
});

describe('parseSubnetKey', () => {
  it('reads the form of a lease key', () => {
    expect(parseSubnetKey('10.240.26.0-24')).toEqual(parseSubnet('10.240.26.0/24'));
  });

  it("reads the IPv4 half of flannel's dual-stack key", () => {
    expect(parseSubnetKey('10.5.34.0-24&2001:db8::-64')).toEqual(parseSubnet('10.5.34.0/24'));
  });

  it.each([
    '',
    'config',
    '10.240.26.0',
    '10.240.26.0/24',
    '10.240.26.1-24', // host bits
    '10.240.26.0-8', // host bits
    '10.240.26.0-33',
    '10.240.26.0-024',
    '10.240.26.0-24-24',
    '10.240.26.0-24&',
    '10.240.26.0-24&fc00::',
    '10.240.26.0-24&fc00::-64&fc01::-64',
    '10.240.26.0-24&10.240.27.0-24/x',
    ' 10.240.26.0-24',
  ])('refuses %j', (text) => {
    expect(parseSubnetKey(text)).toBeUndefined();
  });

  it('reads back every formatted key', () => {
    fc.assert(
      fc.property(subnets, (subnet) => {
        expect(parseSubnetKey(formatSubnetKey(subnet))).toEqual(subnet);
      }),
    );
  });

  it('gives each subnet one key only', () => {
    const lengths = fc.integer({ min: 0, max: 32 });
    fc.assert(
      fc.property(subnets, lengths, (subnet, length) => {
        const key = `${formatIpv4(subnet.address)}-${length}`;
        const parsed = parseSubnetKey(key);
        if (parsed === undefined) expect(subnetOf(subnet.address, length).address).not.toBe(subnet.address);
        else expect(formatSubnetKey(parsed)).toBe(key);
      }),
    );
  });
});

describe('contains', () => {
  it.each([
    ['10.240.0.0/16', '10.240.0.0', true],
    ['10.240.0.0/16', '10.240.255.255', true],
    ['10.240.0.0/16', '10.241.0.0', false],
    ['10.240.0.0/16', '10.239.255.255', false],
    ['192.168.128.0/17', '192.168.127.255', false],
    ['192.168.128.0/17', '192.168.255.255', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['10.1.1.1/32', '10.1.1.1', true],
    ['10.1.1.1/32', '10.1.1.0', false],
  ])('%s holds %s: %s', (subnet, address, expected) => {
    expect(contains(parseSubnet(subnet)!, parseIpv4(address)!)).toBe(expected);
  });
});

describe('numbering of subnets', () => {
  it.each([
    ['10.240.0.0/16', 24, 26, '10.240.26.0/24'],
    ['10.240.0.0/16', 24, 255, '10.240.255.0/24'],
    ['192.168.0.0/20', 22, 3, '192.168.12.0/22'],
    ['127.0.0.0/7', 9, 2, '127.0.0.0/9'], // 126.0.0.0/7, near where signed numbers wrap
    ['0.0.0.0/0', 8, 200, '200.0.0.0/8'],
    ['255.255.255.240/28', 30, 3, '255.255.255.252/30'],
  ])('in %s, /%i number %i is %s', (network, length, number, expected) => {
    expect(formatSubnet(subnetAt(parseSubnet(network)!, length, number))).toBe(expected);
    expect(subnetNumber(parseSubnet(network)!, length, parseSubnet(expected)!.address)).toBe(number);
  });

  it.each([
    ['10.240.0.0/16', 24, 256],
    ['10.240.0.0/28', 30, 4],
    ['10.0.0.0/8', 30, 2 ** 22],
    ['0.0.0.0/0', 30, 2 ** 30],
  ])('%s holds subnets of /%i: %i', (network, length, count) => {
    expect(subnetCount(parseSubnet(network)!, length)).toBe(count);
  });

  it('finds the number of every address of a subnet', () => {
    fc.assert(
      fc.property(
        subnets.filter((subnet) => subnet.prefixLength <= 28),
        fc.integer({ min: 2, max: 10 }),
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        (network, deeper, where, host) => {
          const length = Math.min(30, network.prefixLength + deeper);
          const number = Math.floor(where * subnetCount(network, length));
          const subnet = subnetAt(network, length, number);
          const address = (subnet.address + Math.floor(host * 2 ** (32 - length))) | 0;
          expect(contains(network, address)).toBe(true);
          expect(contains(subnet, address)).toBe(true);
          expect(subnetNumber(network, length, address)).toBe(number);
        },
      ),
    );
  });
});
