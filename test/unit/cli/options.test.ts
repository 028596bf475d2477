import { hostname } from 'node:os';
import { Command, CommanderError } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OFFLOADS } from '../../../src/backend/packet-path/tables/offloads.js';
import { addDaemonOptions, toDaemonOptions } from '../../../src/cli/daemon-options.js';
import { addRegistryOptions } from '../../../src/cli/registry-options.js';
import type { EtcdRegistry } from '../../../src/control/open.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { RudderError } from '../../../src/core/errors.js';

const command = () =>
  addDaemonOptions(addRegistryOptions(new Command('rudder')))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, outputError: () => undefined });

const parse = (...argv: string[]) => toDaemonOptions(command().parse(argv, { from: 'user' }).opts());

const etcdOf = (...argv: string[]) => parse(...argv).registry as EtcdRegistry;

function errorOf<E extends Error>(type: abstract new (...args: never[]) => E, argv: string[]): E {
  try {
    parse(...argv);
  } catch (error) {
    if (error instanceof type) return error;
    throw error;
  }
  throw new Error(`accepted: ${argv}`);
}

/** The error of a contradiction between options. */
const contradictionIn = (...argv: string[]) => errorOf(RudderError, argv);

/** The text of commander's error about one option. */
const refusalOf = (...argv: string[]) => errorOf(CommanderError, argv).message;

/** The error text, or nothing if all is well. */
function tryParse(): string {
  try {
    return parse() && '';
  } catch (error) {
    return (error as Error).message;
  }
}

beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('RUDDERD_')) vi.stubEnv(name, undefined);
});
afterEach(() => vi.unstubAllEnvs());

describe('without arguments', () => {
  it('the defaults hold', () => {
    expect(parse()).toEqual({
      registry: {
        kind: 'etcd',
        endpoints: ['http://127.0.0.1:2379'],
        prefix: '/coreos.com/network',
        tls: undefined,
        auth: undefined,
        flags: [],
      },
      store: {
        kind: 'etcd',
        settings: {
          endpoints: ['http://127.0.0.1:2379'],
          prefix: '/coreos.com/network',
          ...{
            cafile: undefined,
            certfile: undefined,
            keyfile: undefined,
            username: undefined,
            passwordFile: undefined,
          },
        },
      },
      underlay: { iface: [], ifaceRegex: [], canReach: undefined },
      nodeName: hostname(),
      publicIp: undefined,
      portMapped: false,
      subnetFile: '/run/rudder/subnet.env',
      subnetEnvPrefix: 'RUDDER',
      subnetProposal: false,
      stateDir: '/var/lib/rudder',
      leaseTtlSeconds: 86_400,
      mtu: undefined,
      offloads: new Set(OFFLOADS),
      checkSource: true,
      cipher: 'auto',
      wireguardImplementation: undefined,
      ipMasq: false,
      firewall: true,
      probes: true,
      summary: true,
      healthz: undefined,
      cleanupOnExit: false,
      logLevel: 'info',
    });
  });
});

describe('flags', () => {
  it('say everything', () => {
    const argv = `--iface eth1 --iface eth0,10.1.1.7 --iface-regex ^10\\. --iface-can-reach 10.0.0.1 --node-name n1.example --public-ip 203.0.113.9 --port-mapped
      --subnet-file /run/flannel/subnet.env --subnet-env-prefix FLANNEL --subnet-proposal --cni-conf /c/10-rudder.conflist --state-dir /tmp/s --lease-ttl 90s --mtu 1400
      --disable-offload tun-uso --disable-offload udp-gro --source-check off --cipher portable --wireguard-implementation user --cleanup-on-exit --log-level debug --ip-masq
      --healthz-ip 0.0.0.0 --healthz-port 9478 --etcd-endpoints https://a,https://b:1 --etcd-prefix /x/
      --etcd-username u --etcd-password p`;
    expect(parse(...argv.split(/\s+/))).toEqual({
      registry: {
        kind: 'etcd',
        endpoints: ['https://a:2379', 'https://b:1'],
        prefix: '/x',
        tls: undefined,
        auth: { username: 'u', password: 'p' },
        flags: [
          ...['--etcd-endpoints', 'https://a:2379,https://b:1', '--etcd-prefix', '/x'],
          ...['--etcd-username', 'u', '--etcd-password-file', 'FILE'],
        ],
      },
      store: { kind: 'etcd', settings: { endpoints: ['https://a:2379', 'https://b:1'], prefix: '/x', username: 'u' } },
      underlay: { iface: ['eth1', 'eth0', '10.1.1.7'], ifaceRegex: [/^10\./], canReach: parseIpv4('10.0.0.1') },
      nodeName: 'n1.example',
      publicIp: parseIpv4('203.0.113.9'),
      portMapped: true,
      subnetFile: '/run/flannel/subnet.env',
      subnetEnvPrefix: 'FLANNEL',
      subnetProposal: true,
      cniConf: '/c/10-rudder.conflist',
      stateDir: '/tmp/s',
      leaseTtlSeconds: 90,
      mtu: 1400,
      offloads: new Set(['tun-tso', 'tun-gro-tcp', 'tun-gro-udp', 'udp-gso', 'io-uring']),
      checkSource: false,
      cipher: 'portable',
      wireguardImplementation: 'user',
      ipMasq: true,
      firewall: true,
      probes: true,
      summary: true,
      healthz: { address: '0.0.0.0', port: 9478 },
      cleanupOnExit: true,
      logLevel: 'debug',
    });
  });

  it('leave the firewall alone, unless it is needed to masquerade', () => {
    expect(parse('--no-firewall')).toMatchObject({ firewall: false, ipMasq: false });
    expect(contradictionIn('--no-firewall', '--ip-masq').message).toMatch(/expected one of them/);
  });

  it('name the files of TLS and of the password, which may change', () => {
    const argv = ['--etcd-endpoints=https://a', '--etcd-cafile=/ca'];
    expect(etcdOf(...argv).tls).toEqual({ ca: '/ca' });
    const client = ['--etcd-certfile=/cert', '--etcd-keyfile=/key'];
    expect(etcdOf(...argv, ...client).tls).toEqual({ ca: '/ca', cert: '/cert', key: '/key' });
    const auth = { username: 'me', passwordFile: '/password' };
    expect(etcdOf('--etcd-username=me', '--etcd-password-file=/password').auth).toEqual(auth);
  });

  it.each([
    ['--mtu', '67'],
    ['--mtu', '65508'],
    ['--lease-ttl', '4s'],
    ['--lease-ttl', '366d'],
    ['--source-check', 'loose'],
    ['--cipher', 'aes'],
    ['--wireguard-implementation', 'go'],
    ['--log-level', 'loud'],
    ['--public-ip', '127.0.0.1'],
    ['--iface-can-reach', 'here'],
    ['--iface-regex', '('],
    ['--subnet-env-prefix', 'flannel'],
    ['--etcd-prefix', 'coreos.com'],
    ['--cleanup-on-exit', 'maybe'],
  ])('%s %s is refused by name and value', (flag, value) => {
    const message = refusalOf(flag, value);
    expect(message).toContain(flag);
    expect(message).toContain(`'${value}'`);
    expect(message).not.toContain('\n');
  });

  it('refuse a mixture of schemes', () => {
    expect(refusalOf('--etcd-endpoints', 'http://a,https://b')).toContain('not a mixture');
  });

  // A comma separates interface names, and belongs to a pattern.
  it('leave a pattern with a comma whole', () => {
    expect(parse('--iface-regex', '^10\\.1{1,2}\\.').underlay.ifaceRegex).toEqual([/^10\.1{1,2}\./]);
  });
});

describe('environment', () => {
  it('has a variable for every flag', () => {
    for (const { long, envVar } of command().options) {
      expect(envVar).toBe(`RUDDERD_${long!.slice(2).toUpperCase().replaceAll('-', '_')}`);
    }
  });

  it.each([
    ['true', true],
    ['1', true],
    ['false', false],
    ['0', false],
  ])('RUDDERD_CLEANUP_ON_EXIT=%s is %s', (text, expected) => {
    vi.stubEnv('RUDDERD_CLEANUP_ON_EXIT', text);
    expect(parse().cleanupOnExit).toBe(expected);
  });

  it('is parsed and checked as flags are', () => {
    vi.stubEnv('RUDDERD_IFACE', 'eth1,eth0');
    vi.stubEnv('RUDDERD_LEASE_TTL', '7d');
    const iface = ['eth1', 'eth0'];
    expect(parse()).toMatchObject({ underlay: { iface }, leaseTtlSeconds: 604_800 });
    vi.stubEnv('RUDDERD_MTU', 'big');
    expect(refusalOf()).toContain('RUDDERD_MTU');
  });

  it('yields to a flag', () => {
    vi.stubEnv('RUDDERD_IFACE', 'eth1');
    vi.stubEnv('RUDDERD_MTU', '1400');
    vi.stubEnv('RUDDERD_CLEANUP_ON_EXIT', 'true');
    const options = parse('--iface', 'eth0', '--mtu', '1300', '--cleanup-on-exit', 'false');
    expect(options).toMatchObject({ underlay: { iface: ['eth0'] }, mtu: 1300, cleanupOnExit: false });
  });

  it('ignores the names of subnet.env', () => {
    vi.stubEnv('RUDDER_MTU', '1300');
    expect(parse().mtu).toBeUndefined();
  });
});

describe('the flags of etcd for a remedy', () => {
  it('are those that were given, by flag or variable, without the password', () => {
    const files = {
      '--etcd-cafile': '/etc/ca.pem',
      '--etcd-certfile': '/etc/cert.pem',
      '--etcd-keyfile': '/etc/key.pem',
    };
    vi.stubEnv('RUDDERD_ETCD_PREFIX', '/x');
    vi.stubEnv('RUDDERD_ETCD_PASSWORD', 'hunter2');
    const argv = ['--etcd-endpoints=https://a', '--etcd-username=u', ...Object.entries(files).flat()];
    expect(etcdOf(...argv).flags).toEqual([
      ...['--etcd-endpoints', 'https://a:2379', '--etcd-prefix', '/x', ...Object.entries(files).flat()],
      ...['--etcd-username', 'u', '--etcd-password-file', 'FILE'],
    ]);
  });

  it('name the file of the password', () => {
    const file = '/etc/password';
    expect(etcdOf('--etcd-username=u', `--etcd-password-file=${file}`).flags).toEqual([
      ...['--etcd-username', 'u', '--etcd-password-file', file],
    ]);
  });
});

describe('contradiction', () => {
  const https = ['--etcd-endpoints', 'https://a'];

  it.each([
    [
      'cert without key',
      ['--etcd-certfile=c'],
      '--etcd-certfile is given without --etcd-keyfile: expected both or neither',
    ],
    [
      'key without cert',
      ['--etcd-keyfile=k'],
      '--etcd-keyfile is given without --etcd-certfile: expected both or neither',
    ],
    [
      'user without password',
      ['--etcd-username=u'],
      '--etcd-username is given without --etcd-password: expected both or neither',
    ],
    [
      'password without user',
      ['--etcd-password=p'],
      '--etcd-password is given without --etcd-username: expected both or neither',
    ],
    [
      'cert without CA',
      [...https, '--etcd-certfile=c', '--etcd-keyfile=k'],
      '--etcd-certfile is given without --etcd-cafile: expected the CA of etcd too',
    ],
    [
      'CA with http',
      ['--etcd-endpoints=http://a,http://b:1', '--etcd-cafile=ca'],
      '--etcd-cafile is given for http://a:2379,http://b:1: expected https:// endpoints; correct --etcd-endpoints',
    ],
  ])('of %s is told', (_, argv, message) => {
    expect(contradictionIn(...argv)).toMatchObject({ code: 'usage', message });
  });

  it('a password from a file contradicts one that is given', () => {
    const both = contradictionIn('--etcd-username=me', '--etcd-password=x', '--etcd-password-file=/password');
    expect(both.message).toBe('--etcd-password and --etcd-password-file are both given: expected one of them');
    expect(contradictionIn('--etcd-password-file=/password').message).toMatch(/^--etcd-password-file is given without/);
  });

  it('never tells the password', () => {
    expect(contradictionIn('--etcd-password', 'hunter2').message).not.toContain('hunter2');
  });

  // An EnvironmentFile easily has a variable without a value.
  it('an empty variable is not given, whichever it is', () => {
    const unset = parse();
    const names = command().options.flatMap(({ envVar }) => envVar ?? []);
    expect(names).toContain('RUDDERD_IFACE_REGEX');
    expect(names).toContain('RUDDERD_NO_FIREWALL');
    for (const name of names) vi.stubEnv(name, '');
    expect(parse()).toEqual(unset);
  });

  it('an empty pattern, which would match every interface, is refused', () => {
    expect(refusalOf('--iface-regex=')).toMatch(/Expected a regular expression/);
  });

  it.each([
    ['RUDDERD_ETCD_USERNAME', '--etcd-password is given'],
    ['RUDDERD_ETCD_CERTFILE', '--etcd-keyfile is given'],
  ])('of an empty %s is not blamed on the other flag', (variable, wrong) => {
    vi.stubEnv(variable, '');
    expect(tryParse()).not.toContain(wrong);
  });
});
