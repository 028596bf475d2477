import { errnoOf, messageOf } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { readPlainFile } from '../state/plain-file.js';
import {
  formatSubnetEnv,
  MOST_SUBNET_ENV_BYTES,
  parseSubnetEnv,
  removeSubnetEnv,
  type SubnetEnv,
  writeSubnetEnv,
} from '../state/subnet-env.js';
import { isOwnFile, proposalOf } from '../state/subnet-publish.js';
import type { DaemonOptions } from './options.js';

/** The subnet file, which Docker reads at any time: so it is kept as it should be, whatever others do with it. */
export interface SubnetFile {
  /** Says what is so at the moment. @throws RudderError `file` */
  write(): Promise<void>;
  /** Writes it again if somebody has removed or changed it. @throws if it cannot be put right */
  look(): Promise<void>;
}

/** In each interval: somebody may write it again and again. */
const CHANGES_TOLD = 3;
/** Within which root's step has made the subnet file of a proposal. */
const PUBLISH_DEADLINE_MS = 10_000;

/** The subnet file, or what root shall make it of. */
export function writtenFileOf({ subnetFile, subnetProposal }: Pick<DaemonOptions, 'subnetFile' | 'subnetProposal'>) {
  return subnetProposal ? proposalOf(subnetFile) : subnetFile;
}

export function createSubnetFile(
  options: Pick<DaemonOptions, 'subnetFile' | 'subnetProposal' | 'subnetEnvPrefix'>,
  envNow: () => SubnetEnv,
  log: Logger,
): SubnetFile {
  const { subnetFile, subnetProposal, subnetEnvPrefix } = options;
  const limit = createRepeatLimit(CHANGES_TOLD);
  let written = '';
  let writtenAt = 0;
  /** How often it was written again since it was right. */
  let attempts = 0;

  async function write(): Promise<void> {
    const env = envNow();
    await writeSubnetEnv(writtenFileOf(options), env, subnetEnvPrefix);
    written = formatSubnetEnv(env, subnetEnvPrefix);
    writtenAt = performance.now();
  }

  async function look(): Promise<void> {
    const found = await flawIn(subnetFile, written, !subnetProposal);
    if (found === undefined) {
      attempts = 0;
      return;
    }
    const isUnderWay = subnetProposal && performance.now() - writtenAt < PUBLISH_DEADLINE_MS;
    if (!isUnderWay) {
      await write();
      attempts++;
      const done = subnetProposal ? 'proposed again' : 'written again';
      limit((suppressed) =>
        log.warn(
          { subnetFile, found, suppressed },
          `the subnet file was not as it should be: ${done}`,
          'host.repaired',
        ),
      );
    }
    if (subnetProposal && attempts > 1) {
      throw new Error(
        `the subnet file ${subnetFile} is not as it should be, ${found}: expected "rudder publish" to make it of what is proposed; see "systemctl status rudder-publish.path rudder-publish"`,
      );
    }
  }

  return { write, look };
}

/**
 * A file of an earlier run that names another subnet: containers that begin before we are ready would have addresses of
 * another node's.
 */
export async function removeStaleSubnetFile(
  options: Pick<DaemonOptions, 'subnetFile' | 'subnetProposal'>,
  own: Subnet,
  log: Logger,
): Promise<void> {
  const path = writtenFileOf(options);
  const file = await readPlainFile(path, MOST_SUBNET_ENV_BYTES).catch(() => undefined);
  const before = file && parseSubnetEnv(file.text)?.subnet;
  if (before === undefined || formatSubnet(before) === formatSubnet(own)) return;
  const removed = await removeSubnetEnv(path).catch(() => 'absent' as const);
  if (removed === 'removed')
    log.warn({ path, subnet: formatSubnet(before) }, 'the subnet file of an earlier run names another subnet: removed');
}

/** What is wrong with a file that should have that text; undefined: nothing. */
async function flawIn(path: string, text: string, isOurs: boolean): Promise<string | undefined> {
  try {
    const file = await readPlainFile(path, MOST_SUBNET_ENV_BYTES);
    if (file.text !== text) return 'it says something else';
    return !isOurs || isOwnFile(file) ? undefined : 'its owner, mode or number of names is another';
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? 'it is gone' : messageOf(error);
  }
}
