import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { chooseSubnet, fitsConfig } from '../../../src/core/allocator.js';
import { formatIpv4, isUnusableAsHost } from '../../../src/core/ipv4.js';
import { type NetworkConfig, parseCommonConfig } from '../../../src/core/network-config.js';
import { formatSubnet, type Subnet, subnetAt, subnetCount, subnetNumber, subnetOf } from '../../../src/core/subnet.js';

const net = (text: string): Subnet => parseSubnet(text)!;
const config = parseCommonConfig('{"Network":"10.240.0.0/16"}');
const lowest = () => 0;
const highest = () => 1 - Number.EPSILON;

/** What is chosen, as text. */
function choose(from: NetworkConfig, taken: string[], random: () => number, preferred?: string): string | undefined {
  const chosen = chooseSubnet(from, taken.map(net), preferred === undefined ? undefined : net(preferred), random);
  return chosen && formatSubnet(chosen);
}

describe('fitsConfig', () => {
  const bounded = parseCommonConfig('{"Network":"10.240.0.0/16","SubnetMin":"10.240.8.0","SubnetMax":"10.240.9.0"}');

  it.each([
    [config, '10.240.1.0/24', true],
    [config, '10.240.255.0/24', true],
    [config, '10.240.0.0/24', false], // the first subnet is skipped
    [config, '10.241.1.0/24', false],
    [config, '10.239.1.0/24', false],
    [config, '10.240.1.0/25', false],
    [config, '10.240.4.0/22', false],
    [bounded, '10.240.7.0/24', false],
    [bounded, '10.240.8.0/24', true],
    [bounded, '10.240.9.0/24', true],
    [bounded, '10.240.10.0/24', false],
  ])('case %#: %o, %s is %s', (from, subnet, expected) => {
    expect(fitsConfig(from, net(subnet))).toBe(expected);
  });
});

describe('chooseSubnet', () => {
  it('chooses among the first 100, from SubnetMin on', () => {
    expect(choose(config, [], lowest)).toBe('10.240.1.0/24');
    expect(choose(config, [], highest)).toBe('10.240.100.0/24');
  });

  it('takes the first subnet only if SubnetMin says so', () => {
    const all = parseCommonConfig('{"Network":"10.240.0.0/16","SubnetMin":"10.240.0.0"}');
    expect(choose(all, [], lowest)).toBe('10.240.0.0/24');
  });

  it('counts only free ones towards the 100', () => {
    const taken = ['10.240.1.0/24', '10.240.3.0/24', '10.240.50.0/24'];
    expect(choose(config, taken, lowest)).toBe('10.240.2.0/24');
    expect(choose(config, taken, highest)).toBe('10.240.103.0/24');
  });

  it.each([
    ['10.240.0.0/22', '10.240.4.0/24'],
    ['10.240.0.0/17', '10.240.128.0/24'],
    ['10.240.1.16/28', '10.240.2.0/24'],
    ['10.240.1.255/32', '10.240.2.0/24'],
    ['10.241.0.0/16', '10.240.1.0/24'],
    // Nobody's: no node was ever given the whole Network, and one stray key must not stop a cluster.
    ['10.240.0.0/16', '10.240.1.0/24'],
    ['10.0.0.0/8', '10.240.1.0/24'],
    ['0.0.0.0/0', '10.240.1.0/24'],
  ])('with %s taken begins at %s', (taken, expected) => {
    expect(choose(config, [taken], lowest)).toBe(expected);
  });

  it('prefers a free subnet that fits, also beyond the first 100', () => {
    expect(choose(config, ['10.240.199.0/24', '10.240.201.0/24'], lowest, '10.240.200.0/24')).toBe('10.240.200.0/24');
  });

  it.each([
    ['taken', '10.240.200.0/24', ['10.240.200.0/24']],
    ['inside a taken one', '10.240.200.0/24', ['10.240.192.0/20']],
    ['partly taken', '10.240.200.0/24', ['10.240.200.64/30']],
    ['of another length', '10.240.200.0/25', []],
    ['out of bounds', '10.240.0.0/24', []],
    ['of another network', '10.9.9.0/24', []],
  ])('does not take a preferred subnet that is %s', (_, preferred, taken) => {
    expect(choose(config, taken, lowest, preferred)).toBe('10.240.1.0/24');
  });

  it('says that the network is full', () => {
    const tiny = parseCommonConfig('{"Network":"192.168.7.16/28"}');
    const taken = ['192.168.7.20/30', '192.168.7.28/30', '192.168.7.24/30'];
    expect(choose(tiny, taken, lowest)).toBeUndefined();
    expect(choose(tiny, taken, lowest, '192.168.7.24/30')).toBeUndefined();
    expect(choose(tiny, taken.slice(1), highest)).toBe('192.168.7.20/30');
  });
});

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const addresses = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

/** Any legal config with at most 2^10 subnets. */
const configs = fc
  .record({ address: addresses, length: fc.integer({ min: 8, max: 28 }), deeper: fc.integer({ min: 2, max: 10 }) })
  .filter(({ address }) => !isUnusableAsHost(address))
  .chain(({ address, length, deeper }) => {
    const network = subnetOf(address, length);
    const subnetLength = Math.min(30, length + deeper);
    const number = fc.integer({ min: 0, max: subnetCount(network, subnetLength) - 1 });
    return fc.tuple(number, number).map((bounds): NetworkConfig => {
      const [min, max] = bounds.sort((a, b) => a - b).map((at) => subnetAt(network, subnetLength, at).address);
      const text = { SubnetMin: formatIpv4(min), SubnetMax: formatIpv4(max) };
      return parseCommonConfig(JSON.stringify({ Network: formatSubnet(network), SubnetLen: subnetLength, ...text }));
    });
  });

/** Subnets of any length, most of them near the network. */
const takenIn = ({ network }: NetworkConfig) =>
  fc.array(
    fc.record({ address: addresses, length: fc.integer({ min: 0, max: 32 }), near: unit }).map((made) => {
      const inside = network.address | (made.address & ~subnetOf(-1, network.prefixLength).address) | 0;
      if (made.near < 0.1) return subnetOf(made.address, made.length);
      return subnetOf(inside, Math.max(made.length, Math.min(32, network.prefixLength + 2)));
    }),
    { maxLength: 40 },
  );

/** First and last address, as unsigned numbers. */
function ends(subnet: Subnet): [first: number, last: number] {
  const first = subnet.address >>> 0;
  return [first, first + 2 ** (32 - subnet.prefixLength) - 1];
}

function overlap(a: Subnet, b: Subnet): boolean {
  const [[aFirst, aLast], [bFirst, bLast]] = [ends(a), ends(b)];
  return aFirst <= bLast && bFirst <= aLast;
}

/** All free subnets within the bounds, the slow and plain way. */
function allFree({ network, subnetLength, subnetMin, subnetMax }: NetworkConfig, taken: Subnet[]): Subnet[] {
  const [first, last] = [subnetMin, subnetMax].map((address) => subnetNumber(network, subnetLength, address));
  return Array.from({ length: last - first + 1 }, (_, index) => subnetAt(network, subnetLength, first + index)).filter(
    (subnet) => !taken.some((other) => other.prefixLength > network.prefixLength && overlap(subnet, other)),
  );
}

describe('for any config and any keys', () => {
  const cases = configs.chain((from) => fc.tuple(fc.constant(from), takenIn(from), unit, unit));

  it('the choice is the one of the first 100 free that chance names', () => {
    fc.assert(
      fc.property(cases, ([from, taken, chance]) => {
        const candidates = allFree(from, taken).slice(0, 100);
        const expected = candidates[Math.floor(chance * candidates.length)];
        expect(chooseSubnet(from, taken, undefined, () => chance)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('a preferred subnet is taken exactly if it is free and in bounds', () => {
    fc.assert(
      fc.property(cases, ([from, taken, chance, which]) => {
        const { network, subnetLength } = from;
        const number = Math.floor(which * subnetCount(network, subnetLength));
        const preferred = subnetAt(network, subnetLength, number);
        const free = allFree(from, taken);
        const isFree = free.some((subnet) => subnet.address === preferred.address);
        const candidates = free.slice(0, 100);
        const expected = isFree ? preferred : candidates[Math.floor(chance * candidates.length)];
        expect(chooseSubnet(from, taken, preferred, () => chance)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });
});
