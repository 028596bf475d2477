import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../src/core/address-text.js';
import {
  compareIpv4,
  formatIpv4,
  ipv4FromBytes,
  ipv4ToBytes,
  isUnusableAsHost,
  NO_ADDRESS,
} from '../../../src/core/ipv4.js';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

describe('parseIpv4', () => {
  it.each([
    ['0.0.0.0', NO_ADDRESS],
    ['10.0.0.1', 0x0a000001],
    ['127.255.255.255', 0x7fffffff],
    ['128.0.0.0', -(2 ** 31)],
    ['192.168.0.1', 0xc0a80001 | 0],
    ['255.255.255.255', -1],
  ])('reads %s as a signed integer', (text, address) => {
    expect(parseIpv4(text)).toBe(address);
  });

  it.each([
    '',
    '10',
    '10.0.0',
    '10.0.0.',
    '10..0.1',
    '10.0.0.0.1',
    '10.0.0.256',
    '10.0.0.1000',
    '010.0.0.1',
    '10.0.0.00',
    '0x0a.0.0.1',
    '10.0.0.1/24',
    '10.0.0.-1',
    ' 10.0.0.1',
    '10.0.0.1 ',
    '10.0.0.1\n',
    'localhost',
    '::ffff:10.0.0.1',
    '1'.repeat(100_000),
  ])('refuses %j', (text) => {
    expect(parseIpv4(text)).toBeUndefined();
  });

  it('reads back every formatted address', () => {
    fc.assert(
      fc.property(int32, (address) => {
        expect(parseIpv4(formatIpv4(address))).toBe(address);
      }),
    );
  });

  it('accepts nothing that formats differently', () => {
    const part = fc.oneof(fc.integer({ min: 0, max: 300 }).map(String), fc.constantFrom('', '00', '01', 'a', '1e1'));
    fc.assert(
      fc.property(fc.array(part, { minLength: 3, maxLength: 5 }), (parts) => {
        const text = parts.join('.');
        const legal =
          parts.length === 4 && parts.every((octet) => /^\d+$/.test(octet) && String(Number(octet)) === octet);
        const address = parseIpv4(text);
        expect(address !== undefined).toBe(legal && parts.every((octet) => Number(octet) <= 255));
        if (address !== undefined) expect(formatIpv4(address)).toBe(text);
      }),
    );
  });
});

describe('compareIpv4', () => {
  it('orders as unsigned numbers', () => {
    const addresses = ['192.168.0.1', '10.0.0.1', '255.255.255.255', '0.0.0.0', '127.255.255.255', '128.0.0.0'];
    const sorted = addresses.map((text) => parseIpv4(text)!).sort(compareIpv4);
    expect(sorted.map(formatIpv4)).toEqual([
      '0.0.0.0',
      '10.0.0.1',
      '127.255.255.255',
      '128.0.0.0',
      '192.168.0.1',
      '255.255.255.255',
    ]);
  });

  it('is 0 for equal addresses only', () => {
    fc.assert(
      fc.property(int32, int32, (a, b) => {
        expect(compareIpv4(a, b) === 0).toBe(a === b);
      }),
    );
  });
});

describe('bytes of an address', () => {
  it('are in network order', () => {
    expect([...ipv4ToBytes(parseIpv4('192.168.1.2')!)]).toEqual([192, 168, 1, 2]);
  });

  it('read back as the same signed integer', () => {
    fc.assert(
      fc.property(int32, (address) => {
        expect(ipv4FromBytes(ipv4ToBytes(address))).toBe(address);
      }),
    );
  });
});

describe('isUnusableAsHost', () => {
  it.each([
    '0.0.0.0',
    '0.255.255.255',
    '127.0.0.1',
    '127.255.255.255',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.0',
    '255.255.255.255',
  ])('is true for %s', (text) => {
    expect(isUnusableAsHost(parseIpv4(text)!)).toBe(true);
  });

  it.each([
    '1.0.0.0',
    '10.1.1.140',
    '126.255.255.255',
    '128.0.0.0',
    '192.168.0.1',
    '223.255.255.255',
  ])('is false for %s', (text) => {
    expect(isUnusableAsHost(parseIpv4(text)!)).toBe(false);
  });
});
