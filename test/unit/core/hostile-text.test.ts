import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../src/backend/config.js';
import { settingsOf } from '../../../src/backend/kinds.js';
import { parseIpv4, parseSubnet, parseSubnetKey } from '../../../src/core/address-text.js';
import { chooseSubnet, fitsConfig } from '../../../src/core/allocator.js';
import { MAX_MESSAGE_LENGTH, RudderError } from '../../../src/core/errors.js';
import { isUnusableAsHost } from '../../../src/core/ipv4.js';
import { parseLease, parseLeaseValue } from '../../../src/core/lease.js';
import { isLeasable, MAX_MTU, MIN_MTU, type NetworkConfig } from '../../../src/core/network-config.js';
import { contains, formatSubnet, formatSubnetKey, subnetCount } from '../../../src/core/subnet.js';

/** Whatever bytes somebody put into etcd: a valid value, or one clear line; never another error. */
const RUNS = { numRuns: 3000 };
const CONFIG = parseNetworkConfig('{"Network":"10.240.0.0/16"}');

/** One line for a person: not empty, not long, nothing that moves a terminal's cursor. */
function expectLine(text: string): void {
  expect(text.length).toBeGreaterThan(10);
  expect(text.length).toBeLessThan(MAX_MESSAGE_LENGTH / 2);
  expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u);
  expect(text).not.toMatch(/\bat .*\.[jt]s:\d/); // of a stack
}

const anyBytes = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString());
const long = fc
  .tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 5 }), fc.integer({ min: 1, max: 20_000 }))
  .map(([text, times]) => text.repeat(times));
const anyText = fc.oneof(anyBytes, fc.string({ unit: 'binary' }), long);
const deep = fc.integer({ min: 1, max: 20_000 }).map((depth) => '['.repeat(depth) + ']'.repeat(depth));

const number = fc.oneof(fc.integer({ min: -5, max: 70_000 }), fc.double(), fc.constantFrom(0, 1e300, -0));
const addressText = fc.oneof(
  fc.ipV4(),
  fc.constantFrom(
    '10.240.1.0',
    '10.240.255.0',
    '0.0.0.0',
    '255.255.255.255',
    '10.1.1.7',
    '127.0.0.1',
    '::1',
    '010.1.1.1',
  ),
  anyText,
);
const subnetText = fc
  .tuple(addressText, fc.constantFrom('/', '-', '', '&'), fc.oneof(fc.integer({ min: -1, max: 40 }), anyText))
  .map(([address, separator, length]) => `${address}${separator}${length}`);
const field = fc.oneof(fc.jsonValue(), anyText, number, addressText, subnetText, fc.constant(null));

/** Any of these letters in either case, as Go's JSON takes them. */
const anyCase = (name: string) =>
  fc.nat(2 ** name.length - 1).map((bits) => [...name].map((c, i) => ((bits >> i) & 1 ? c.toUpperCase() : c)).join(''));

/** JSON whose keys are those that matter, with values of every kind; sometimes cut or changed somewhere. */
function objectText(fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<string> {
  const entries = Object.entries(fields).map(([name, value]) =>
    fc.option(fc.tuple(anyCase(name), value), { nil: undefined }),
  );
  const stray = fc.tuple(fc.constantFrom('__proto__', 'constructor', 'toString', ''), field);
  const whole = fc
    .tuple(...entries, fc.option(stray, { nil: undefined }))
    .map((list) => list.filter((entry) => entry !== undefined))
    .map(
      (list) =>
        `{${list.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value) ?? 'null'}`).join(',')}}`,
    );
  const damaged = fc
    .tuple(whole, fc.nat(), fc.string({ maxLength: 3 }))
    .map(([text, at, put]) => text.slice(0, at % (text.length + 1)) + put + text.slice((at % (text.length + 1)) + 1));
  return fc.oneof({ weight: 5, arbitrary: whole }, damaged);
}

const configText = fc.oneof(
  {
    weight: 3,
    arbitrary: objectText({
      network: fc.constantFrom('10.240.0.0/16', '10.0.0.0/8', '192.168.0.0/28', '172.16.0.1/12'),
      subnetlen: fc.integer({ min: 18, max: 31 }),
      backend: fc.record({ tYpe: fc.constantFrom('udp', 'UDP'), Port: fc.nat(70_000) }, { requiredKeys: [] }),
    }),
  },
  objectText({
    network: fc.oneof(subnetText, fc.constantFrom('10.240.0.0/16', '10.0.0.0/8', '192.168.0.0/28'), field),
    subnetlen: fc.oneof(number, fc.integer({ min: 8, max: 30 }), field),
    subnetmin: field,
    subnetmax: field,
    backend: fc.oneof(
      fc.record({ Type: fc.constantFrom('udp', 'UDP', 'vxlan', ''), Port: number, MTU: number }, { requiredKeys: [] }),
      field,
    ),
  }),
  anyText,
  deep,
  fc.json(),
);

const leaseText = fc.oneof(
  {
    weight: 3,
    arbitrary: objectText({
      publicip: fc.ipV4(),
      publicipv6: fc.constant(null),
      backenddata: fc.record({ NodeID: field }),
    }),
  },
  objectText({
    publicip: fc.oneof(addressText, field),
    publicipv6: field,
    backendtype: fc.oneof(fc.constantFrom('udp', 'UDP', 'vxlan'), field),
    backenddata: fc.oneof(fc.record({ NodeID: field }), field),
  }),
  anyText,
  deep,
  fc.json(),
);

function expectValid(config: NetworkConfig): void {
  const { network, subnetLength, subnetMin, subnetMax } = config;
  const { tunnel, mtu } = settingsOf(config);
  const port = tunnel!.port;
  expect(network.prefixLength).toBeGreaterThanOrEqual(8);
  expect(isUnusableAsHost(network.address)).toBe(false);
  expect(subnetLength).toBeLessThanOrEqual(30);
  expect(subnetCount(network, subnetLength)).toBeGreaterThanOrEqual(4);
  expect(contains(network, subnetMin) && contains(network, subnetMax)).toBe(true);
  expect(subnetMin >>> 0).toBeLessThanOrEqual(subnetMax >>> 0);
  expect(Number.isInteger(port) && port > 0 && port < 65_536).toBe(true);
  if (mtu !== undefined) expect(Number.isInteger(mtu) && mtu >= MIN_MTU && mtu <= MAX_MTU).toBe(true);
  const chosen = chooseSubnet(config, [], undefined, () => 0);
  expect(chosen !== undefined && fitsConfig(config, chosen)).toBe(true);
}

describe('a network config of any bytes', () => {
  it('is valid in all its parts, or refused in one line', () => {
    const seen = { valid: 0, refused: 0 };
    fc.assert(
      fc.property(configText, (text) => {
        let config: NetworkConfig;
        try {
          config = parseNetworkConfig(text);
        } catch (error) {
          expect(error).toBeInstanceOf(RudderError);
          expect((error as RudderError).code).toBe('network-config');
          expectLine((error as RudderError).message);
          seen.refused++;
          return;
        }
        expectValid(config);
        seen.valid++;
      }),
      RUNS,
    );
    // A property that only ever meets garbage proves nothing.
    expect(Math.min(seen.valid, seen.refused)).toBeGreaterThan(20);
  });
});

const keyText = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 255 }).map((octet) => `10.240.${octet}.0-24`) },
  subnetText,
  fc.tuple(subnetText, subnetText).map(([v4, v6]) => `${v4}&${v6}`),
  fc.constantFrom('0.0.0.0-0', '10.240.5.0-24&2001:db8::-64', '10.240.0.0-16', '10.240.5.1-24', '10.240.05.0-24'),
  anyText,
);

describe('a lease of any key and any value', () => {
  it('is a lease of this network, or refused in one line', () => {
    const seen = { valid: 0, refused: 0 };
    fc.assert(
      fc.property(keyText, leaseText, (key, value) => {
        const lease = parseLease(CONFIG, key, value);
        if ('problem' in lease) {
          expectLine(lease.problem);
          seen.refused++;
          return;
        }
        expect(formatSubnetKey(lease.subnet)).toBe(key);
        expect(contains(CONFIG.network, lease.subnet.address)).toBe(true);
        expect(lease.subnet.prefixLength).toBe(CONFIG.subnetLength);
        expect(isUnusableAsHost(lease.publicIp) || isLeasable(CONFIG, lease.publicIp)).toBe(false);
        seen.valid++;
      }),
      RUNS,
    );
    expect(Math.min(seen.valid, seen.refused)).toBeGreaterThan(20);
  });

  it('has a value of bounded length', () => {
    const value = JSON.stringify({ PublicIP: '10.1.1.1', BackendData: { NodeID: 'x'.repeat(70_000) } });
    expect(parseLeaseValue(value)).toEqual({ problem: expect.stringMatching(/^value of 70\d+ characters is longer/) });
  });

  it('has a key that names one subnet, and no subnet two keys', () => {
    fc.assert(
      fc.property(keyText, (key) => {
        const subnet = parseSubnetKey(key);
        if (subnet !== undefined) expect(key.split('&')[0]).toBe(formatSubnetKey(subnet));
      }),
      RUNS,
    );
  });

  it('never takes the whole network', () => {
    fc.assert(
      fc.property(fc.array(keyText, { maxLength: 50 }), (keys) => {
        const taken = keys.flatMap((key) => parseSubnetKey(key) ?? []).filter(({ prefixLength }) => prefixLength <= 16);
        expect(chooseSubnet(CONFIG, taken, undefined, () => 0)).toBeDefined();
      }),
    );
  });
});

describe('address text of any bytes', () => {
  it('is an address as it is written, or none', () => {
    fc.assert(
      fc.property(fc.oneof(addressText, subnetText), (text) => {
        const address = parseIpv4(text);
        if (address !== undefined) expect(formatSubnet({ address, prefixLength: 32 })).toBe(`${text}/32`);
        const subnet = parseSubnet(text);
        if (subnet !== undefined) expect(contains(subnet, subnet.address)).toBe(true);
      }),
      RUNS,
    );
  });
});
