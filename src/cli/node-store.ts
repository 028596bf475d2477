import { resolve } from 'node:path';
import { z } from 'zod';
import { shorten } from '../core/errors.js';
import { tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import type { StoreSettings } from '../ops/store-settings.js';
import { DEFAULTS_FILE, type NodeOptions, refuseWrong } from './defaults-file.js';
import { describeEtcd, findEtcd, isTrusted, toEtcdSettings } from './node-etcd.js';
import type { RawRegistryOptions } from './registry-options.js';

/** What a daemon tells of its store, as its flags say it. */
export function storeSettingsOf(raw: RawRegistryOptions): StoreSettings {
  if (!raw.kubeSubnetMgr) return { kind: 'etcd', settings: toEtcdSettings(raw) };
  const { kubeApiUrl: apiUrl, kubeAnnotationPrefix, netConfigPath } = raw;
  const settings = {
    apiUrl,
    // Who reads it is in another directory.
    kubeconfigFile: raw.kubeconfigFile && resolve(raw.kubeconfigFile),
    annotationPrefix: kubeAnnotationPrefix ?? '',
    netConfigPath: resolve(netConfigPath ?? ''),
    nodeName: raw.nodeName,
  };
  return { kind: 'kubernetes', settings };
}

const KUBERNETES = ['kubeApiUrl', 'kubeconfigFile', 'kubeAnnotationPrefix', 'netConfigPath', 'nodeName'] as const;

/** The store of this host's node, for a command that is not its daemon. */
export interface NodeStore {
  readonly raw: RawRegistryOptions;
  /** In words: which it is, and who has named it; undefined: the command line or the environment. */
  readonly saidBy: string | undefined;
}

/**
 * Who names endpoints of etcd means that etcd, and who gives --kube-subnet-mgr Kubernetes. Otherwise the running daemon says
 * which store this node uses, and if none does, the settings of its service.
 * @throws RudderError for settings that cannot be used
 */
export async function findStore(node: NodeOptions): Promise<NodeStore> {
  const { given, file, raw } = node;
  if (given.kubeSubnetMgr === true) {
    refuseWrong(node, KUBERNETES);
    return { raw, saidBy: undefined };
  }
  if (given.etcdEndpoints === undefined && given.kubeSubnetMgr === undefined) {
    const socketPath = controlSocketOf(raw.subnetFile);
    const asked = await tryDaemon(socketPath, 'GET', '/kubernetes');
    const told = asked.is === 'answer' && asked.answer.code === 200 ? readSettings(asked.answer.body) : undefined;
    if (told !== undefined) {
      // Who has broken into a daemon of few rights shall not lead root's token elsewhere, or root to a file: the settings
      // of the service are root's.
      const known = (await isTrusted(socketPath)) ? told : {};
      return { raw: { ...raw, kubeSubnetMgr: true, ...known }, saidBy: 'Kubernetes, as the running daemon says' };
    }
    if (asked.is !== 'answer' && file.kubeSubnetMgr === true) {
      refuseWrong(node, KUBERNETES);
      return { raw, saidBy: `Kubernetes, as ${DEFAULTS_FILE} says` };
    }
  }
  const etcd = await findEtcd(node);
  return { raw: { ...etcd.raw, kubeSubnetMgr: false }, saidBy: etcd.saidBy && describeEtcd(etcd) };
}

/** The same for a command that is about to use it: says on stderr which store that is, unless it was named. */
export async function useStore(node: NodeOptions): Promise<RawRegistryOptions> {
  const found = await findStore(node);
  if (found.saidBy !== undefined) process.stderr.write(`rudder: using ${shorten(found.saidBy, 500)}\n`);
  return found.raw;
}

const settings = z.object({
  apiUrl: z.url({ protocol: /^https?$/ }).optional(),
  kubeconfigFile: z.string().optional(),
  annotationPrefix: z.string(),
  netConfigPath: z.string(),
  nodeName: z.string().optional(),
});

/** Undefined if it is not what a daemon answers. */
function readSettings(body: unknown): Partial<RawRegistryOptions> | undefined {
  const { data } = settings.safeParse(body);
  if (data === undefined) return undefined;
  const { apiUrl, kubeconfigFile, annotationPrefix, netConfigPath, nodeName } = data;
  return {
    kubeApiUrl: apiUrl,
    kubeconfigFile,
    kubeAnnotationPrefix: annotationPrefix,
    netConfigPath,
    nodeName,
  };
}
