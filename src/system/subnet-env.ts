import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { makeDirectory, writeFileAtomic } from './atomic-file.js';

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

/** @throws RudderError `file` */
export async function removeSubnetEnv(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (error) {
    throw new RudderError('file', `cannot remove the subnet file ${path}: ${messageOf(error)}; run as root`, {
      cause: error,
    });
  }
}
