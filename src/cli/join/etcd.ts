import { InvalidArgumentError } from 'commander';
import type { EtcdRegistry } from '../../control/open.js';
import { messageOf, quote, RudderError } from '../../core/errors.js';
import { DEFAULTS_FILE, type NodeOptions } from '../defaults-file.js';
import { DEFAULT_PREFIX, type RawEtcdOptions, toEtcdRegistry } from '../etcd-options.js';
import { combine, toEtcdSettings } from '../node-etcd.js';
import { parseEndpoints } from '../values.js';
import type { Wanted } from './settings.js';

/** The etcd of the cluster that is to be joined. */
export interface Cluster {
  readonly options: EtcdRegistry;
  /** What the settings of the service should say of it. */
  readonly wanted: Wanted;
  /** What they say of another cluster now, which is none of an operator's slips; undefined: nothing. */
  readonly other: string | undefined;
}

/**
 * What is given counts, and for the rest what the settings of the service say, if they mean the same cluster.
 * @throws RudderError `usage`
 */
export function findCluster(address: string, node: NodeOptions): Cluster {
  const { given, file } = node;
  if (given.etcdPassword) throw new RudderError('usage', NO_PASSWORD);
  const etcdEndpoints = toEndpoints(address, given.etcdCafile !== undefined);
  const etcdPrefix = given.etcdPrefix ?? DEFAULT_PREFIX;
  const filePrefix = file.etcdPrefix ?? DEFAULT_PREFIX;
  const isSame = filePrefix === etcdPrefix && file.etcdEndpoints?.some((endpoint) => etcdEndpoints.includes(endpoint));
  const named = { ...node, given: { ...given, etcdEndpoints } };
  const raw = combine(named, isSame ? file : {});
  const other = otherCluster(node, isSame === true, filePrefix);
  return { options: toEtcdRegistry(absolute(raw)), wanted: wantedOf(raw), other };
}

function otherCluster({ file }: NodeOptions, isSame: boolean, filePrefix: string): string | undefined {
  // Its daemon would go on asking Kubernetes, whatever is said of etcd beside that.
  if (file.kubeSubnetMgr === true) return 'a Kubernetes cluster (RUDDERD_KUBE_SUBNET_MGR)';
  if (file.etcdEndpoints === undefined || isSame) return undefined;
  return `another cluster's etcd, ${file.etcdEndpoints}, prefix ${filePrefix}`;
}

const NO_PASSWORD = `--etcd-password is given: expected --etcd-password-file, since everybody on this host can read ${DEFAULTS_FILE}`;

/** `10.1.1.10` is enough; with a CA it is HTTPS that is meant. */
function toEndpoints(text: string, isTls: boolean): string[] {
  const urls = text
    .split(',')
    .map((part) => (part.includes('://') ? part : `${isTls ? 'https' : 'http'}://${part.trim()}`));
  try {
    return parseEndpoints(urls.join(','));
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    const remedy =
      'expected the address of etcd, such as 10.1.1.10 or https://etcd-1:2379; several with commas between';
    throw new RudderError('usage', `address ${quote(text)}: ${messageOf(error)} ${remedy}`);
  }
}

/** The daemon is in another directory than whoever types. */
function absolute(raw: RawEtcdOptions): RawEtcdOptions {
  const { cafile, certfile, keyfile, passwordFile } = toEtcdSettings(raw);
  return {
    ...raw,
    ...(cafile === undefined ? {} : { etcdCafile: cafile }),
    ...(certfile === undefined ? {} : { etcdCertfile: certfile }),
    ...(keyfile === undefined ? {} : { etcdKeyfile: keyfile }),
    ...(passwordFile === undefined ? {} : { etcdPasswordFile: passwordFile }),
  };
}

function wantedOf(raw: RawEtcdOptions): Wanted {
  const { endpoints, prefix, cafile, certfile, keyfile, username, passwordFile } = toEtcdSettings(raw);
  return new Map([
    ['RUDDERD_KUBE_SUBNET_MGR', undefined],
    ['RUDDERD_ETCD_ENDPOINTS', endpoints.join(',')],
    ['RUDDERD_ETCD_PREFIX', prefix === DEFAULT_PREFIX ? undefined : prefix],
    ['RUDDERD_ETCD_CAFILE', cafile],
    ['RUDDERD_ETCD_CERTFILE', certfile],
    ['RUDDERD_ETCD_KEYFILE', keyfile],
    ['RUDDERD_ETCD_USERNAME', username],
    // Of the same cluster's settings: the operator's, who put it there.
    ['RUDDERD_ETCD_PASSWORD', raw.etcdPassword],
    ['RUDDERD_ETCD_PASSWORD_FILE', passwordFile],
  ]);
}

/** The files that the daemon has to read. */
export function filesOf({ tls, auth }: EtcdRegistry): string[] {
  const files = [tls?.ca, tls?.cert, tls?.key, auth !== undefined && 'passwordFile' in auth ? auth.passwordFile : ''];
  return files.flatMap((file) => file || []);
}
