import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import {
  parseBoolean,
  parseDuration,
  parseEndpoints,
  parseEnvPrefix,
  parseHostAddress,
  parseInterfaces,
  parsePrefix,
  parseRegexes,
  parseWholeNumber,
} from '../../../src/cli/values.js';
import { parseIpv4 } from '../../../src/core/address-text.js';

/** Expects the error that commander turns into one line, and returns its text. */
function refusalOf(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as Error).message;
  }
  throw new Error('accepted');
}

describe('parseWholeNumber', () => {
  const parse = parseWholeNumber(68, 65507);

  it.each([
    ['68', 68],
    ['1472', 1472],
    ['65507', 65507],
  ])('reads %s', (text, value) => {
    expect(parse(text)).toBe(value);
  });

  it.each([
    '',
    '67',
    '65508',
    '-1472',
    '1472.5',
    '1e3',
    '0x600',
    ' 1472',
    '1472 ',
    '1,472',
    '9'.repeat(400),
  ])('refuses %j', (text) => {
    expect(refusalOf(() => parse(text))).toBe('Expected a whole number from 68 to 65507.');
  });
});

describe('parseHostAddress', () => {
  it('reads an address', () => {
    expect(parseHostAddress('203.0.113.9')).toBe(parseIpv4('203.0.113.9'));
  });

  it.each([
    '',
    '0.0.0.0',
    '127.0.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '10.1.1',
    '10.1.1.7/24',
    'host',
    '::1',
  ])('refuses %j', (text) => {
    expect(refusalOf(() => parseHostAddress(text))).toBe('Expected the IPv4 address of a host, such as 10.1.1.7.');
  });
});

describe('parseBoolean', () => {
  it.each([
    ['true', true],
    ['TRUE', true],
    ['1', true],
    ['false', false],
    ['False', false],
    ['0', false],
  ])('reads %s', (text, value) => {
    expect(parseBoolean(text)).toBe(value);
  });

  it.each(['', 'yes', 'no', 'on', '2', '10', 'truefalse', ' true'])('refuses %j', (text) => {
    expect(refusalOf(() => parseBoolean(text))).toBe('Expected true or false.');
  });
});

describe('parseDuration', () => {
  const parse = parseDuration(5, 365 * 86_400);

  it.each([
    ['5s', 5],
    ['90s', 90],
    ['30m', 1800],
    ['24h', 86_400],
    ['7d', 604_800],
    ['365d', 31_536_000],
  ])('reads %s', (text, seconds) => {
    expect(parse(text)).toBe(seconds);
  });

  it.each([
    '',
    's',
    '4s',
    '0h',
    '366d',
    '8761h',
    '-5m',
    '1.5h',
    '5 m',
    '5M',
    '1h30m',
    '24hours',
    '9'.repeat(50),
  ])('refuses %j', (text) => {
    expect(refusalOf(() => parse(text))).toBe('Expected a time from 5s to 31536000s, such as 24h or 90s.');
  });

  it.each(['24', '0', '86400'])('refuses %s without a unit, and says what it may have meant', (text) => {
    expect(refusalOf(() => parse(text))).toBe(`Expected a time with its unit, such as ${text}h or ${text}s.`);
  });
});

describe('parseEndpoints', () => {
  it.each([
    ['http://127.0.0.1:2379', ['http://127.0.0.1:2379']],
    ['https://etcd.example:4001/', ['https://etcd.example:4001']],
    ['http://10.0.0.1', ['http://10.0.0.1:2379']],
    ['http://a:1, http://b:2 ,http://c', ['http://a:1', 'http://b:2', 'http://c:2379']],
    ['https://[fd00::1]', ['https://[fd00::1]:2379']],
    ['https://[fd00::1]:4001', ['https://[fd00::1]:4001']],
  ])('reads %s', (text, endpoints) => {
    expect(parseEndpoints(text)).toEqual(endpoints);
  });

  it.each([
    '',
    '127.0.0.1:2379',
    'etcd',
    'http://',
    'ftp://127.0.0.1:2379',
    'unix:///run/etcd.sock',
    'http://127.0.0.1:2379/v2',
    'http://user:secret@127.0.0.1:2379',
    'http://127.0.0.1:2379?x=1',
    'http://127.0.0.1:99999',
    'http://127.0.0.1:port',
    'http://host name:2379',
    'http://a:2379,',
    'http://a:2379,,http://b:2379',
    'http://a:2379;http://b:2379',
  ])('refuses %j', (text) => {
    expect(refusalOf(() => parseEndpoints(text))).toMatch(
      /^".*" is not like http:\/\/host:2379 or https:\/\/host:2379\.$/,
    );
  });

  it('names the endpoint that is wrong', () => {
    expect(refusalOf(() => parseEndpoints('http://a:2379,b:2379'))).toMatch(/^"b:2379" /);
  });

  it('refuses a mixture of schemes', () => {
    expect(refusalOf(() => parseEndpoints('http://a:2379,https://b:2379'))).toBe(
      'Expected all http:// or all https://, not a mixture.',
    );
  });

  it('refuses or completes an empty port', () => {
    let endpoints = ['http://127.0.0.1:2379'];
    try {
      endpoints = parseEndpoints('http://127.0.0.1:');
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidArgumentError);
    }
    expect(endpoints).toEqual(['http://127.0.0.1:2379']);
  });
});

describe('parsePrefix', () => {
  it.each([
    ['/coreos.com/network', '/coreos.com/network'],
    ['/coreos.com/network//', '/coreos.com/network'],
    ['/a', '/a'],
  ])('reads %s', (text, prefix) => {
    expect(parsePrefix(text)).toBe(prefix);
  });

  it.each(['', '/', '//', 'coreos.com/network', '/with space', '/with\nline'])('refuses %j', (text) => {
    expect(refusalOf(() => parsePrefix(text))).toBe('Expected an etcd path such as /coreos.com/network.');
  });
});

describe('parseEnvPrefix', () => {
  it.each(['RUDDER', 'FLANNEL', 'A', 'NET_2'])('reads %s', (text) => {
    expect(parseEnvPrefix(text)).toBe(text);
  });

  it.each(['', 'flannel', '2NET', '_NET', 'NET-2', 'NET=', 'NET\nX'])('refuses %j', (text) => {
    expect(refusalOf(() => parseEnvPrefix(text))).toBe('Expected capital letters such as FLANNEL.');
  });
});

describe('parseRegexes', () => {
  it('reads a pattern that is not anchored, whole, behind those given before', () => {
    const [first] = parseRegexes('^10\\.1{1,2}\\.');
    expect(first.test('10.11.1.140')).toBe(true);
    expect(parseRegexes('th', [first])).toEqual([first, /th/]);
  });

  it.each(['(', '[', 'a{2,1}', '*'])('refuses %j', (text) => {
    expect(refusalOf(() => parseRegexes(text))).toBe('Expected a regular expression.');
  });
});

describe('parseInterfaces', () => {
  it.each(['eth0', 'enp0s31f6', 'br-abcdef.100@', 'fifteen-letters', '192.168.178.201'])('reads %s', (text) => {
    expect(parseInterfaces(text)).toEqual([text]);
  });

  it('splits at commas and keeps what was given before', () => {
    expect(parseInterfaces('eth1, eth2', ['eth0'])).toEqual(['eth0', 'eth1', 'eth2']);
  });

  it.each(['', 'sixteen-letters-', 'eth 0', 'eth0\n1', '10.0.0.0/8', 'eth0,,eth1'])('refuses %j', (text) => {
    expect(refusalOf(() => parseInterfaces(text))).toBe('Expected an interface name or an IPv4 address.');
  });
});
