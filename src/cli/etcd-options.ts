import type { Command } from 'commander';
import type { EtcdRegistryOptions } from '../control/open.js';
import { RudderError } from '../core/errors.js';
import { option } from './option.js';
import * as values from './values.js';

/** What commander hands over once the options below are parsed. */
export interface RawEtcdOptions {
  etcdEndpoints: string[];
  etcdPrefix: string;
  etcdCafile?: string;
  etcdCertfile?: string;
  etcdKeyfile?: string;
  etcdUsername?: string;
  etcdPassword?: string;
  etcdPasswordFile?: string;
}

const DEFAULT_ENDPOINTS = ['http://127.0.0.1:2379'];
const DEFAULT_PREFIX = '/coreos.com/network';

export function addEtcdOptions(command: Command): Command {
  return command
    .addOption(
      option('--etcd-endpoints <urls>', 'etcd endpoints, separated by commas')
        .argParser(values.parseEndpoints)
        .default(DEFAULT_ENDPOINTS, DEFAULT_ENDPOINTS.join()),
    )
    .addOption(
      option('--etcd-prefix <path>', 'where config and leases are')
        .argParser(values.parsePrefix)
        .default(DEFAULT_PREFIX),
    )
    .addOption(option('--etcd-cafile <file>', 'CA that signed the certificate of etcd'))
    .addOption(option('--etcd-certfile <file>', 'client certificate, if etcd asks for one'))
    .addOption(option('--etcd-keyfile <file>', 'key of the client certificate'))
    .addOption(option('--etcd-username <name>', 'etcd user'))
    .addOption(
      option('--etcd-password <text>', 'its password; as a flag it shows in the process list, so better a file'),
    )
    .addOption(option('--etcd-password-file <file>', 'file with the password and nothing else'));
}

/**
 * Files are named and not read: they may change, and whoever connects reads them then.
 * @throws RudderError `usage` for contradictions
 */
export function toEtcdRegistry(raw: RawEtcdOptions): EtcdRegistryOptions {
  // Nor is a flag that is given as empty, as a script's unset variable leaves it.
  const [etcdCafile, etcdCertfile, etcdKeyfile, etcdUsername, givenPassword, passwordFile] = [
    raw.etcdCafile,
    raw.etcdCertfile,
    raw.etcdKeyfile,
    raw.etcdUsername,
    raw.etcdPassword,
    raw.etcdPasswordFile,
  ].map((text) => text || undefined);
  if ((etcdCertfile === undefined) !== (etcdKeyfile === undefined)) {
    const [given, missing] = etcdCertfile
      ? ['--etcd-certfile', '--etcd-keyfile']
      : ['--etcd-keyfile', '--etcd-certfile'];
    throw new RudderError('usage', `${given} is given without ${missing}: expected both or neither`);
  }
  if (givenPassword !== undefined && passwordFile !== undefined) {
    throw new RudderError('usage', '--etcd-password and --etcd-password-file are both given: expected one of them');
  }
  if ((etcdUsername === undefined) !== (givenPassword === undefined && passwordFile === undefined)) {
    const passwordFlag = passwordFile === undefined ? '--etcd-password' : '--etcd-password-file';
    const [given, missing] = etcdUsername ? ['--etcd-username', '--etcd-password'] : [passwordFlag, '--etcd-username'];
    throw new RudderError('usage', `${given} is given without ${missing}: expected both or neither`);
  }
  if (etcdCertfile !== undefined && etcdCafile === undefined) {
    throw new RudderError('usage', '--etcd-certfile is given without --etcd-cafile: expected the CA of etcd too');
  }
  if (etcdCafile !== undefined && !raw.etcdEndpoints[0].startsWith('https:')) {
    throw new RudderError(
      'usage',
      `--etcd-cafile is given for ${raw.etcdEndpoints}: expected https:// endpoints; correct --etcd-endpoints`,
    );
  }
  return {
    kind: 'etcd',
    endpoints: raw.etcdEndpoints,
    prefix: raw.etcdPrefix,
    tls: etcdCafile === undefined ? undefined : { ca: etcdCafile, cert: etcdCertfile, key: etcdKeyfile },
    auth: authOf(etcdUsername, givenPassword, passwordFile),
    flags: etcdFlags(raw),
  };
}

function authOf(
  username: string | undefined,
  password: string | undefined,
  passwordFile: string | undefined,
): EtcdRegistryOptions['auth'] {
  if (username === undefined) return undefined;
  if (passwordFile !== undefined) return { username, passwordFile };
  return password === undefined ? undefined : { username, password };
}

/** What was given, by flag or variable, and is not the default. Of a password there is but the place for its file. */
export function etcdFlags(raw: RawEtcdOptions): string[] {
  const passwordFile = raw.etcdPasswordFile || (raw.etcdPassword ? 'FILE' : undefined);
  const flags: [string, string | undefined][] = [
    ['--etcd-endpoints', unlessDefault(raw.etcdEndpoints.join(), DEFAULT_ENDPOINTS.join())],
    ['--etcd-prefix', unlessDefault(raw.etcdPrefix, DEFAULT_PREFIX)],
    ['--etcd-cafile', raw.etcdCafile],
    ['--etcd-certfile', raw.etcdCertfile],
    ['--etcd-keyfile', raw.etcdKeyfile],
    ['--etcd-username', raw.etcdUsername],
    ['--etcd-password-file', passwordFile],
  ];
  return flags.flatMap(([flag, value]) => (value ? [flag, value] : []));
}

const unlessDefault = (value: string, usual: string) => (value === usual ? undefined : value);
