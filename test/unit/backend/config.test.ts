import { describe, expect, it } from 'vitest';
import { differencesOf, parseNetworkConfig } from '../../../src/backend/config.js';
import { settingsOf } from '../../../src/backend/kinds.js';
import { RudderError } from '../../../src/core/errors.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';
import { formatSubnet } from '../../../src/core/subnet.js';

/** The config as a user would write it. */
function parse(value: unknown) {
  const config = parseNetworkConfig(typeof value === 'string' ? value : JSON.stringify(value));
  return {
    network: formatSubnet(config.network),
    subnetLength: config.subnetLength,
    min: formatIpv4(config.subnetMin),
    max: formatIpv4(config.subnetMax),
    port: settingsOf(config).tunnel?.port,
    mtu: settingsOf(config).mtu,
  };
}

function errorOf(value: unknown): RudderError {
  try {
    parse(value);
  } catch (error) {
    if (error instanceof RudderError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(value)}`);
}

const Network = '10.240.0.0/16';
const defaults = {
  network: Network,
  subnetLength: 24,
  min: '10.240.1.0',
  max: '10.240.255.0',
  port: 8285,
  mtu: undefined,
};

describe('defaults', () => {
  it('are udp on port 8285 and /24 without the first', () => {
    expect(parse({ Network })).toEqual(defaults);
  });

  it.each([
    ['10.0.0.0/8', 24, '10.0.1.0', '10.255.255.0'],
    ['192.168.0.0/16', 24, '192.168.1.0', '192.168.255.0'],
    ['10.1.0.0/22', 24, '10.1.1.0', '10.1.3.0'],
    ['10.1.0.0/23', 25, '10.1.0.128', '10.1.1.128'],
    ['10.1.0.0/24', 26, '10.1.0.64', '10.1.0.192'],
    ['10.1.1.0/27', 29, '10.1.1.8', '10.1.1.24'],
    ['10.1.1.16/28', 30, '10.1.1.20', '10.1.1.28'],
    ['223.255.255.240/28', 30, '223.255.255.244', '223.255.255.252'],
  ])('for Network %s are /%i from %s to %s', (network, subnetLength, min, max) => {
    expect(parse({ Network: network })).toMatchObject({ network, subnetLength, min, max });
  });
});

describe('reading', () => {
  it('takes every key', () => {
    const Backend = { Type: 'udp', Port: 7890, MTU: 1400 };
    const config = { Network, SubnetLen: 26, SubnetMin: '10.240.0.0', SubnetMax: '10.240.9.64', Backend };
    expect(parse(config)).toEqual({
      network: Network,
      subnetLength: 26,
      min: '10.240.0.0',
      max: '10.240.9.64',
      port: 7890,
      mtu: 1400,
    });
  });

  it('matches keys and the backend type in any case', () => {
    const config = { NETWORK: Network, subnetlen: 25, backend: { TYPE: 'UDP', pORT: 1, mtu: 68 } };
    expect(parse(config)).toMatchObject({ network: Network, subnetLength: 25, port: 1, mtu: 68 });
  });

  it('takes null for absent', () => {
    const absent = { SubnetLen: null, SubnetMin: null, SubnetMax: null };
    expect(parse({ Network, ...absent, Backend: null })).toEqual(defaults);
    expect(parse({ Network, Backend: { Type: null, Port: null, MTU: null } })).toEqual(defaults);
  });

  it('ignores unknown keys', () => {
    expect(parse({ Network, EnableIPv6: false, Backend: { Type: 'udp', VNI: 1 } })).toEqual(defaults);
  });

  it('clears host bits of Network', () => {
    expect(parse({ Network: '10.240.7.9/16' })).toEqual(defaults);
  });

  it.each([
    [{ SubnetLen: 18 }, { subnetLength: 18, min: '10.240.64.0', max: '10.240.192.0' }],
    [{ SubnetLen: 30 }, { subnetLength: 30, min: '10.240.0.4', max: '10.240.255.252' }],
    [{ SubnetMin: '10.240.0.0' }, { min: '10.240.0.0', max: '10.240.255.0' }],
    [
      { SubnetMin: '10.240.5.0', SubnetMax: '10.240.5.0' },
      { min: '10.240.5.0', max: '10.240.5.0' },
    ],
    [{ Backend: { Port: 65535, MTU: 65507 } }, { port: 65535, mtu: 65507 }],
  ])('accepts the bound %j', (part, expected) => {
    expect(parse({ Network, ...part })).toMatchObject(expected);
  });

  it('compares bounds above 127.255.255.255 as unsigned', () => {
    const config = { Network: '192.0.0.0/8', SubnetLen: 16, SubnetMin: '192.5.0.0', SubnetMax: '192.200.0.0' };
    expect(parse(config)).toMatchObject({ min: '192.5.0.0', max: '192.200.0.0' });
  });
});

describe('an error', () => {
  it.each<[name: string, value: string, config: unknown]>([
    ['JSON', '""', ''],
    ['JSON', 'Network=10.0.0.0', 'Network=10.0.0.0'],
    ['JSON', '{"Network"', '{"Network"'],
    ['value', '[]', '[]'],
    ['value', 'null', 'null'],
    ['value', '42', '42'],
    ['Network', '{}', {}],
    ['Network', '{"Network":null}', { Network: null }],
    ['Network', '{"Network":10}', { Network: 10 }],
    ['Network', '""', { Network: '' }],
    ['Network', '"10.240.0.0"', { Network: '10.240.0.0' }],
    ['Network', '"10.240.0.0/33"', { Network: '10.240.0.0/33' }],
    ['Network', '"10.240.0.0/29"', { Network: '10.240.0.0/29' }],
    ['Network', '"0.0.0.0/0"', { Network: '0.0.0.0/0' }],
    ['Network', '"127.0.0.0/8"', { Network: '127.0.0.0/8' }],
    ['Network', '"224.0.0.0/8"', { Network: '224.0.0.0/8' }],
    ['Network', '"10.0.0.0/7"', { Network: '10.0.0.0/7' }],
    ['Network', '"10.240.0.0/32"', { Network: '10.240.0.0/32' }],
    ['Network', '"fc00::/64"', { Network: 'fc00::/64' }],
    ['SubnetLen', '17', { Network, SubnetLen: 17 }],
    ['SubnetLen', '31', { Network, SubnetLen: 31 }],
    ['SubnetLen', '16', { Network, SubnetLen: 16 }],
    ['SubnetLen', '0', { Network, SubnetLen: 0 }],
    ['SubnetLen', '29', { Network: '10.0.0.0/28', SubnetLen: 29 }],
    ['SubnetLen', '-1', { Network, SubnetLen: -1 }],
    ['SubnetLen', '33', { Network, SubnetLen: 33 }],
    ['SubnetLen', '24.5', { Network, SubnetLen: 24.5 }],
    ['SubnetLen', '"24"', { Network, SubnetLen: '24' }],
    ['SubnetMin', '"10.241.0.0"', { Network, SubnetMin: '10.241.0.0' }],
    ['SubnetMin', '"10.240.1.16"', { Network, SubnetMin: '10.240.1.16' }],
    ['SubnetMin', '"10.240"', { Network, SubnetMin: '10.240' }],
    ['SubnetMin', '7', { Network, SubnetMin: 7 }],
    ['SubnetMin', '"10.240.9.0"', { Network, SubnetMin: '10.240.9.0', SubnetMax: '10.240.8.0' }],
    ['SubnetMax', '"10.239.255.0"', { Network, SubnetMax: '10.239.255.0' }],
    ['SubnetMax', '"10.240.9.1"', { Network, SubnetMax: '10.240.9.1' }],
    ['SubnetMax', 'false', { Network, SubnetMax: false }],
    ['Backend', 'udp', { Network, Backend: 'udp' }],
    ['Backend', '[]', { Network, Backend: [] }],
    ['Backend.Type', '"ipsec"', { Network, Backend: { Type: 'ipsec' } }],
    ['Backend.Type', '""', { Network, Backend: { Type: '' } }],
    ['Backend.Type', '7', { Network, Backend: { Type: 7 } }],
    ['Backend.Port', '0', { Network, Backend: { Port: 0 } }],
    ['Backend.Port', '65536', { Network, Backend: { Port: 65536 } }],
    ['Backend.DirectRouting', '"yes"', { Network, Backend: { DirectRouting: 'yes' } }],
    ['Backend.Port', '"8285"', { Network, Backend: { Port: '8285' } }],
    ['Backend.MTU', '67', { Network, Backend: { MTU: 67 } }],
    ['Backend.MTU', '65508', { Network, Backend: { MTU: 65508 } }],
    ['Backend.VNI', '16777216', { Network, Backend: { Type: 'vxlan', VNI: 2 ** 24 } }],
    ['Backend.VNI', '0', { Network, Backend: { Type: 'vxlan', VNI: 0 } }],
    ['Backend.Port', '65536', { Network, Backend: { Type: 'vxlan', Port: 65536 } }],
    ['Backend.MTU', '117', { Network, Backend: { Type: 'vxlan', MTU: 117 } }],
    ['Backend.DirectRouting', '"yes"', { Network, Backend: { Type: 'vxlan', DirectRouting: 'yes' } }],
  ])('names %s and %s', (name, value, config) => {
    const error = errorOf(config);
    expect(error.code).toBe('network-config');
    expect(error.message).toMatch(/^network config: .+ is not valid, expected .+; .+$/);
    expect(error.message).toContain(name);
    expect(error.message).toContain(value);
  });

  it('of an unknown backend names those that there are', () => {
    expect(errorOf({ Network, Backend: { Type: 'ipsec' } }).message).toContain(
      'expected one of "udp", "vxlan", "wireguard", "host-gw", "alloc"',
    );
  });

  it('is one short line for a huge value', () => {
    for (const config of [
      'x\n'.repeat(500_000),
      { Network: 'x'.repeat(1_000_000) },
      { Network, Backend: 'x'.repeat(9999) },
    ]) {
      const { message } = errorOf(config);
      expect(message.length).toBeLessThan(300);
      expect(message).not.toContain('\n');
    }
  });

  it('says which lengths and addresses would do', () => {
    expect(errorOf({ Network, SubnetLen: 17 }).message).toContain('18 to 30 for Network 10.240.0.0/16');
    expect(errorOf({ Network, SubnetMin: '10.240.1.16' }).message).toContain('such as 10.240.1.0');
  });

  it('names SubnetMax when only that is given and too low', () => {
    const { message } = errorOf({ Network, SubnetMax: '10.240.0.0' });
    expect(message).toContain('SubnetMax "10.240.0.0"');
    expect(message).not.toContain('undefined');
  });

  it.each(['[]', '42', { Network, Backend: 'udp' }])('says "expected" once for %j', (config) => {
    expect(errorOf(config).message).not.toContain('expected expected');
  });

  it('is no stack overflow for JSON nested deeply in a key that is ignored', () => {
    const config = `{"Network":"${Network}","x":${'{"x":'.repeat(50_000)}1${'}'.repeat(50_001)}`;
    expect(parse(config)).toEqual(defaults);
  });
});

describe('what another config would change', () => {
  const change = (before: unknown, after: unknown) =>
    differencesOf(
      parseNetworkConfig(JSON.stringify({ Network, Backend: before })),
      parseNetworkConfig(JSON.stringify({ Network, Backend: after })),
    );

  it('is said with the options of the backend, defaults and spelling apart', () => {
    expect(change({ Type: 'VXLAN' }, { type: 'vxlan', port: 8472, vni: 1, DirectRouting: false })).toEqual([]);
    expect(change({ Type: 'vxlan' }, { Type: 'vxlan', VNI: 2, DirectRouting: true })).toEqual([
      'Backend.VNI 1 becomes 2',
      'Backend.DirectRouting false becomes true',
    ]);
  });

  it('is the type, and what has no meaning in the other one', () => {
    expect(change(undefined, { Type: 'host-gw' })).toEqual([
      'Backend.Type udp becomes host-gw',
      'Backend.Port 8285 becomes of no meaning',
      "Backend.MTU the underlay's becomes of no meaning",
      'Backend.DirectRouting false becomes of no meaning',
    ]);
  });
});
