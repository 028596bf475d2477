import { describe, expect, it } from 'vitest';
import { parseNewNetworkConfig, unknownKeys } from '../../../src/backend/new-config.js';
import { RudderError } from '../../../src/core/errors.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';

function refusalOf(json: string): string {
  try {
    parseNewNetworkConfig(json);
  } catch (error) {
    expect(error).toBeInstanceOf(RudderError);
    expect((error as RudderError).code).toBe('network-config');
    return (error as Error).message;
  }
  throw new Error(`accepted: ${json}`);
}

describe('a new network config', () => {
  it.each([
    '{"Network":"10.240.0.0/16"}',
    '{"network":"10.240.0.0/16","SUBNETLEN":26,"Backend":{"type":"udp","PORT":8286,"mtu":1400}}',
    '{"Network":"10.240.0.0/16","SubnetMin":"10.240.8.0","SubnetMax":null,"Backend":null}',
  ])('is accepted if every word has a meaning: %s', (json) => {
    expect(parseNewNetworkConfig(json)).toEqual(parseCommonConfig(json));
  });

  it.each([
    ['{"Network":"10.240.0.0/16","SubnetLenght":26}', 'unknown key "SubnetLenght", did you mean SubnetLen?'],
    ['{"Network":"10.240.0.0/16","Port":8286}', 'unknown key "Port", did you mean Backend.Port?'],
    [
      '{"Network":"10.240.0.0/16","IPv6Network":"fc00::/48"}',
      'unknown key "IPv6Network": expected one of Network, SubnetLen, SubnetMin, SubnetMax, Backend',
    ],
    ['{"Network":"10.240.0.0/16","Backend":{"Typ":"udp"}}', 'unknown key "Backend.Typ", did you mean Type?'],
    [
      '{"Network":"10.240.0.0/16","Backend":{"VNI":1}}',
      'unknown key "Backend.VNI": expected one of Type, Port, MTU, DirectRouting',
    ],
    ['{"Network":"10.240.0.0/16","network":"10.9.0.0/16"}', 'key "network" is given twice'],
    ['{"Network":"10.240.0.0/16","Backend":{"Port":1,"port":2}}', 'key "Backend.port" is given twice'],
    [
      '{"Network":"10.240.7.1/16"}',
      'Network "10.240.7.1/16" is an address inside a /16, whose own is 10.240.0.0: expected "10.240.0.0/16"',
    ],
  ])('%s is refused', (json, reason) => {
    expect(refusalOf(json)).toBe(`network config: ${reason}; correct it, see docs/configuration.md`);
    // What is there already is taken as flannel takes it.
    expect(() => parseCommonConfig(json)).not.toThrow();
  });

  it('that makes no sense is not told to be corrected in etcd, where it is not', () => {
    for (const json of [
      'nonsense',
      '[]',
      'null',
      '{}',
      '{"Network":"10.240.0.0/33"}',
      '{"Network":"10.240.0.0/16","Backend":7}',
    ])
      expect(refusalOf(json)).toMatch(/; correct it, see docs\/configuration\.md$/);
  });
});

it('tells every unknown key', () => {
  expect(unknownKeys('{"Netwrok":1,"Backend":{"Prot":1},"MTU":2}')).toEqual([
    'unknown key "Netwrok", did you mean Network?',
    'unknown key "MTU", did you mean Backend.MTU?',
    'unknown key "Backend.Prot", did you mean Port?',
  ]);
});
