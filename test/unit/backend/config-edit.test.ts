import { describe, expect, it } from 'vitest';
import { editConfig, hasSameKeys, unknownKeysIn } from '../../../src/backend/config-edit.js';
import { parseNewNetworkConfig } from '../../../src/backend/new-config.js';

const edit = (before: object, key: string, text: string) => {
  const { json, dropped } = editConfig(JSON.stringify(before), key, text);
  return { config: JSON.parse(json), dropped };
};
const NETWORK = { Network: '10.240.0.0/16' };

describe('a key of the network config', () => {
  it.each<[string, string, object]>([
    ['SubnetLen', '26', { ...NETWORK, SubnetLen: 26 }],
    ['subnetmin', '10.240.4.0', { ...NETWORK, SubnetMin: '10.240.4.0' }],
    ['NETWORK', '10.9.0.0/16', { Network: '10.9.0.0/16' }],
    ['backend.mtu', '1400', { ...NETWORK, Backend: { MTU: 1400 } }],
    ['Backend.Type', 'vxlan', { ...NETWORK, Backend: { Type: 'vxlan' } }],
    ['SubnetMax', '', NETWORK],
    ['Backend.MTU', '', { ...NETWORK, Backend: {} }],
    ['Backend', '', NETWORK],
  ])('%s is set to %s', (key, text, expected) => {
    expect(edit(NETWORK, key, text)).toEqual({ config: expected, dropped: [] });
  });

  it('keeps its spelling and its place, and of two spellings one is left', () => {
    const { json } = editConfig('{"network":"10.9.0.0/16","SubnetLen":24,"subnetlen":25}', 'SubnetLen', '26');
    expect(json).toBe('{"network":"10.9.0.0/16","SubnetLen":26}');
    expect(edit({ ...NETWORK, backend: { mtu: 1400, MTU: 1300 } }, 'Backend.MTU', '').config).toEqual({
      ...NETWORK,
      backend: {},
    });
  });

  it.each([
    ['true', true],
    ['false', false],
    ['1400', 1400],
    ['null', 'null'],
    ['"1400"', '"1400"'],
    ['{"a":1}', '{"a":1}'],
    ['yes', 'yes'],
  ])('takes %s for %s', (text, value) => {
    expect(edit(NETWORK, 'Backend.MTU', text).config.Backend.MTU).toBe(value);
  });

  it.each([
    ['Backend.MUT', '1400', /unknown key "Backend\.MUT", did you mean MTU\?/],
    ['MTU', '1400', /unknown key "MTU", did you mean Backend\.MTU\?/],
    ['Nonsense', '', /unknown key "Nonsense": expected one of/],
    ['Backend.VNI', '', /unknown key "Backend\.VNI"/],
  ])('%s that nobody knows, set to "%s", is refused when it is checked', (key, text, problem) => {
    const { json } = editConfig(JSON.stringify(NETWORK), key, text);
    expect(() => parseNewNetworkConfig(json)).toThrow(problem);
  });

  it('that nobody knows and that is there can be removed, and is forgiven while another one is set', () => {
    const flannels = { ...NETWORK, EnableIPv4: true };
    expect(edit(flannels, 'enableipv4', '').config).toEqual(NETWORK);
    const { json } = editConfig(JSON.stringify(flannels), 'SubnetLen', '25');
    expect(() => parseNewNetworkConfig(json)).toThrow(/unknown key "EnableIPv4"/);
    expect(parseNewNetworkConfig(json, unknownKeysIn(JSON.stringify(flannels))).subnetLength).toBe(25);
  });

  it('is refused if what is stored is no object, and Backend has no value of its own', () => {
    for (const text of ['nonsense', '[]', 'null', '5'])
      expect(() => editConfig(text, 'SubnetLen', '24')).toThrow(/no JSON object, .* expected the whole config/);
    expect(() => editConfig('{}', 'Backend', 'vxlan')).toThrow(/expected Backend\.Type/);
  });
});

describe('another Backend.Type', () => {
  it('takes the options with it that it does not know, and no others', () => {
    const before = { ...NETWORK, Backend: { Type: 'vxlan', VNI: 7, port: 8472, GBP: true, MTU: 1400 } };
    expect(edit(before, 'Backend.Type', 'UDP')).toEqual({
      config: { ...NETWORK, Backend: { Type: 'UDP', port: 8472, MTU: 1400 } },
      dropped: ['Backend.VNI', 'Backend.GBP'],
    });
    expect(edit(before, 'Backend.Type', '').dropped).toEqual(['Backend.VNI', 'Backend.GBP']);
    expect(edit(before, 'Backend.Type', 'VXLAN').dropped).toEqual([]);
    // It is refused as a whole.
    expect(edit(before, 'Backend.Type', 'vxlam').dropped).toEqual([]);
  });
});

it('two configs have the same keys in any case and order, null counting as absent', () => {
  const one = '{"Network":"10.9.0.0/16","SubnetLen":null,"Backend":{"Type":"udp","MTU":1}}';
  expect(hasSameKeys(one, '{"backend":{"mtu":2,"TYPE":"x"},"network":""}')).toBe(true);
  expect(hasSameKeys(one, '{"Network":"10.9.0.0/16","Backend":{"Type":"udp"}}')).toBe(false);
  expect(hasSameKeys(one, '{"Network":"10.9.0.0/16","SubnetLen":24,"Backend":{"Type":"udp","MTU":1}}')).toBe(false);
});
