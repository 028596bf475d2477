import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { EtcdOptions } from '../control/etcd-registry.js';
import { messageOf, RudderError } from '../core/errors.js';
import { option } from './option.js';
import { readPasswordFile } from './password-file.js';
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

const DEFAULT_ENDPOINTS = ['http://127.0.0.1:2379', 'http://127.0.0.1:4001'];
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
      option('--etcd-password <text>', 'its password; everybody sees it in the process list, so better one of these:'),
    )
    .addOption(
      option('--etcd-password-file <file>', 'file with the password and nothing else, or RUDDERD_ETCD_PASSWORD'),
    );
}

/** @throws RudderError `usage` for contradictions, `file` for a file that cannot be read */
export function toEtcdOptions(raw: RawEtcdOptions): EtcdOptions {
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
  const etcdPassword = passwordFile === undefined ? givenPassword : readPasswordFile(passwordFile);
  return {
    endpoints: raw.etcdEndpoints,
    prefix: raw.etcdPrefix,
    tls:
      etcdCafile === undefined
        ? undefined
        : {
            ca: readOptionFile('--etcd-cafile', etcdCafile),
            cert: etcdCertfile === undefined ? undefined : readOptionFile('--etcd-certfile', etcdCertfile),
            key: etcdKeyfile === undefined ? undefined : readOptionFile('--etcd-keyfile', etcdKeyfile),
          },
    auth:
      etcdUsername === undefined || etcdPassword === undefined
        ? undefined
        : { username: etcdUsername, password: etcdPassword },
    flags: etcdFlags(raw),
  };
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

function readOptionFile(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new RudderError('file', `cannot read ${flag} ${path}: ${messageOf(error)}; expected a readable PEM file`, {
      cause: error,
    });
  }
}
