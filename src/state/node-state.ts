import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { parseIpv4, parseSubnet } from '../core/address-text.js';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { writeFileAtomic } from './atomic-file.js';
import { readPlainFile } from './plain-file.js';

/** What a node remembers over restarts and reboots. */
export interface NodeState {
  /** Random, made at the first start: how a node knows its own lease. */
  readonly nodeId: string;
  readonly subnet: Subnet | undefined;
  /** Of which cluster it is, as a membership says it; undefined in files of earlier versions. */
  readonly source?: string | undefined;
  /** Of the underlay. */
  readonly address?: Ipv4 | undefined;
}

const FILE = 'state.json';
/** Far more than it ever has. */
const MOST_BYTES = 1024 * 1024;
const stored = z.object({
  nodeId: z.string().min(1).max(128),
  subnet: z.string().optional(),
  source: z.string().optional(),
  address: z.string().optional(),
});

/** Reads the state; a new node id if there is none or if the file makes no sense. @throws RudderError `file` */
export async function loadState(directory: string, log: Logger): Promise<NodeState> {
  const path = join(directory, FILE);
  let text: string;
  try {
    text = (await readPlainFile(path, MOST_BYTES)).text;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { nodeId: randomUUID(), subnet: undefined };
    throw new RudderError(
      'file',
      `cannot read the state file ${path}: ${messageOf(error)}; expected a readable directory, choose another with --state-dir`,
      { cause: error },
    );
  }
  try {
    const { nodeId, subnet, source, address } = stored.parse(JSON.parse(text));
    return {
      nodeId,
      subnet: subnet === undefined ? undefined : parseSubnet(subnet),
      source,
      address: address === undefined ? undefined : parseIpv4(address),
    };
  } catch {
    log.warn({ path }, 'the state file is corrupt, starting with a new node id');
    return { nodeId: randomUUID(), subnet: undefined };
  }
}

/** @throws RudderError `file` */
export async function saveState(directory: string, state: NodeState): Promise<void> {
  const path = join(directory, FILE);
  const { nodeId, source } = state;
  const subnet = state.subnet === undefined ? undefined : formatSubnet(state.subnet);
  const address = state.address === undefined ? undefined : formatIpv4(state.address);
  try {
    await writeFileAtomic(path, `${JSON.stringify({ nodeId, subnet, source, address })}\n`, 0o600);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot write the state file ${path}: ${messageOf(error)}; expected a writable directory, choose another with --state-dir`,
      { cause: error },
    );
  }
}
