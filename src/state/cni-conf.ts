import { rm } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { writeFileAtomic } from './atomic-file.js';
import { NotPlainError, readPlainFile } from './plain-file.js';

/** What pods of this node get: addresses of its subnet, and the MTU of the overlay. */
export interface PodNetwork {
  readonly subnet: Subnet;
  readonly mtu: number;
}

/** A file that was looked at: nothing there, ours with what others have added to it, or something else. */
export type FoundCniConf =
  | { readonly is: 'absent' }
  | { readonly is: 'ours'; readonly conf: CniConf; readonly chained: readonly Plugin[] }
  | { readonly is: 'not ours'; readonly what: string };

type Plugin = Readonly<Record<string, unknown>>;
interface CniConf {
  readonly comment: string;
  readonly plugins: readonly Plugin[];
}

const OURS = 'written by rudder';
const COMMENT = `${OURS}, which writes it again when its subnet or MTU changes; plugins that are added behind these are kept`;
export const MOST_CNI_CONF_BYTES = 256 * 1024;
/** Which is flannel's too: who comes from there keeps his bridge, and the pods on it. */
export const BRIDGE = 'cni0';

/**
 * The list of CNI plugins by which a container runtime connects pods: `bridge` and `portmap`, which every distribution of
 * Kubernetes brings. The name is the one that flannel uses, since host-local keeps the addresses of running pods by it.
 */
function cniConf({ subnet, mtu }: PodNetwork, chained: readonly Plugin[]): CniConf {
  const bridge = {
    type: 'bridge',
    bridge: BRIDGE,
    isDefaultGateway: true,
    forceAddress: true, // after a change of the subnet the bridge has the old one's, which the plugin would refuse for ever
    hairpinMode: true, // a pod may reach itself through a service
    mtu,
    ipam: { type: 'host-local', ranges: [[{ subnet: formatSubnet(subnet) }]] },
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  const head = { cniVersion: '0.4.0', name: 'cbr0' };
  return { ...head, comment: COMMENT, plugins: [bridge, portmap, ...chained] } as CniConf;
}

export const formatCniConf = (network: PodNetwork, chained: readonly Plugin[] = []) =>
  `${JSON.stringify(cniConf(network, chained), null, 2)}\n`;

/** Whether it says that, and of what others have added what it says. By value: who adds to it writes it in his own way. */
export function isCniConfOf(found: FoundCniConf, network: PodNetwork): boolean {
  return found.is === 'ours' && isDeepStrictEqual(found.conf, cniConf(network, found.chained));
}

/** @throws what the file system says where it cannot be looked at */
export async function readCniConf(path: string): Promise<FoundCniConf> {
  try {
    return parseCniConf((await readPlainFile(path, MOST_CNI_CONF_BYTES)).text);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { is: 'absent' };
    if (error instanceof NotPlainError) return { is: 'not ours', what: error.message };
    throw error;
  }
}

export function parseCniConf(text: string): FoundCniConf {
  let conf: Partial<CniConf> | null;
  try {
    conf = JSON.parse(text) as Partial<CniConf> | null;
  } catch {
    return { is: 'not ours', what: 'it is no JSON' };
  }
  const { comment, plugins } = conf ?? {};
  if (typeof comment !== 'string' || !comment.startsWith(OURS) || !Array.isArray(plugins)) {
    return { is: 'not ours', what: 'somebody else has written it' };
  }
  const types = new Set<unknown>(['bridge', 'portmap']);
  const chained = plugins.filter(
    (plugin) => isObject(plugin) && typeof plugin.type === 'string' && !types.has(plugin.type),
  );
  return { is: 'ours', conf: conf as CniConf, chained };
}

const isObject = (value: unknown): value is Plugin =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @throws RudderError `file` */
export async function writeCniConf(path: string, network: PodNetwork, chained: readonly Plugin[]): Promise<void> {
  try {
    await writeFileAtomic(path, formatCniConf(network, chained), 0o644);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot write the CNI configuration ${path}: ${messageOf(error)}; expected a writable directory, choose another with --cni-conf`,
      { cause: error },
    );
  }
}

/** What has that name and is something else stays. @throws RudderError `file` */
export async function removeCniConf(path: string): Promise<'removed' | 'absent' | 'not ours'> {
  try {
    const { is } = await readCniConf(path);
    if (is !== 'ours') return is;
    await rm(path);
    return 'removed';
  } catch (error) {
    throw new RudderError('file', `cannot remove the CNI configuration ${path}: ${messageOf(error)}; run as root`, {
      cause: error,
    });
  }
}
