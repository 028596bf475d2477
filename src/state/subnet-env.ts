import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseSubnet } from '../core/address-text.js';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import { MAX_MTU, MIN_MTU, parseCommonConfig } from '../core/network-config.js';
import { contains, formatSubnet, type Subnet } from '../core/subnet.js';
import { makeDirectory, writeFileAtomic } from './atomic-file.js';
import { NotPlainError, readPlainFile } from './plain-file.js';

export interface SubnetEnv {
  readonly subnet: Subnet;
  readonly mtu: number;
  readonly network: Subnet;
  readonly ipMasq: boolean;
}

/**
 * The text of `subnet.env`. Docker's unit reads the first two lines (`--bip`, `--mtu`); SUBNET is the first address of
 * the subnet, the one that docker0 gets. With prefix FLANNEL the flannel CNI plugin reads it.
 */
export function formatSubnetEnv(env: SubnetEnv, prefix: string): string {
  const gateway = `${formatIpv4(env.subnet.address + 1)}/${env.subnet.prefixLength}`;
  return [
    `${prefix}_SUBNET=${gateway}`,
    `${prefix}_MTU=${env.mtu}`,
    `${prefix}_NETWORK=${formatSubnet(env.network)}`,
    `${prefix}_IPMASQ=${env.ipMasq}`,
    '',
  ].join('\n');
}

/** Longer than any text of {@link formatSubnetEnv}. */
export const MOST_SUBNET_ENV_BYTES = 4096;

/**
 * Undefined: it is anything else than a text of {@link formatSubnetEnv}, byte for byte, about a subnet that a network
 * config can have led to.
 * @param prefix undefined: any
 */
export function parseSubnetEnv(text: string, prefix?: string): SubnetEnv | undefined {
  const match =
    /^([A-Z][A-Z0-9_]*)_SUBNET=(\S+)\n\S+_MTU=(\d{1,5})\n\S+_NETWORK=(\S+)\n\S+_IPMASQ=(true|false)\n$/.exec(text);
  if (match === null) return undefined;
  const [, ownPrefix, subnetText, mtuText, networkText, ipMasq] = match;
  const [subnet, network] = [parseSubnet(subnetText), parseSubnet(networkText)];
  const mtu = Number(mtuText);
  if (subnet === undefined || network === undefined || mtu < MIN_MTU || mtu > MAX_MTU) return undefined;
  if (!contains(network, subnet.address) || !couldLease(network, subnet)) return undefined;
  const env = { subnet, mtu, network, ipMasq: ipMasq === 'true' };
  return formatSubnetEnv(env, prefix ?? ownPrefix) === text ? env : undefined;
}

function couldLease(network: Subnet, { prefixLength }: Subnet): boolean {
  try {
    parseCommonConfig(JSON.stringify({ Network: formatSubnet(network), SubnetLen: prefixLength }));
    return true;
  } catch {
    return false;
  }
}

/** @throws RudderError `file` */
export async function writeSubnetEnv(path: string, env: SubnetEnv, prefix: string): Promise<void> {
  await explaining(path, () => writeFileAtomic(path, formatSubnetEnv(env, prefix), 0o644));
}

/** Makes the directory of the subnet file, where the control socket lies too. @throws RudderError `file` */
export async function prepareSubnetDirectory(path: string): Promise<void> {
  await explaining(path, () => makeDirectory(dirname(path)));
}

async function explaining(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot write the subnet file ${path}: ${messageOf(error)}; expected a writable directory, choose another with --subnet-file`,
      { cause: error },
    );
  }
}

/**
 * Removes a subnet file, or one that was to become it. What has that name and is something else stays.
 * @throws RudderError `file`
 */
export async function removeSubnetEnv(path: string): Promise<'removed' | 'absent' | 'not ours'> {
  try {
    if (!(await isSubnetEnv(path))) return 'not ours';
    await rm(path);
    return 'removed';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent';
    throw new RudderError('file', `cannot remove the subnet file ${path}: ${messageOf(error)}; run as root`, {
      cause: error,
    });
  }
}

/** Empty is one that waits for its text. @throws what the file system says where it cannot be looked at */
async function isSubnetEnv(path: string): Promise<boolean> {
  try {
    const { text } = await readPlainFile(path, MOST_SUBNET_ENV_BYTES);
    return text === '' || parseSubnetEnv(text) !== undefined;
  } catch (error) {
    if (error instanceof NotPlainError) return false;
    throw error;
  }
}
