import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parseIpv4, parseSubnet } from '../core/address-text.js';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { LastKnown } from '../core/last-known.js';
import { type BackendLease, formatLeaseValue, type Lease, parseLease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { type NetworkConfig, parseCommonConfig } from '../core/network-config.js';
import { formatSubnet, formatSubnetKey } from '../core/subnet.js';
import { writeFileAtomic } from './atomic-file.js';
import { readPlainFile } from './plain-file.js';

const FILE = 'last-known.json';
/** A peer is some hundred bytes, and 65,536 of them are a /8 of /24. */
const MOST_BYTES = 64 * 1024 * 1024;

const ipv4 = z.string().transform((text, context) => parseIpv4(text) ?? refuse(context, 'no IPv4 address'));
const subnet = z.string().transform((text, context) => parseSubnet(text) ?? refuse(context, 'no subnet'));
const stored = z.object({
  source: z.string(),
  configJson: z.string(),
  nodeId: z.string(),
  publicIp: ipv4,
  subnet,
  holding: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
  /** In files of earlier versions, which knew of etcd alone. */
  revision: z.int().optional(),
  ttlId: z.string().optional(),
  validUntil: z.number().nullable(),
  ttlSeconds: z.number().positive().optional(),
  savedAt: z.number().optional(),
  keyDiffers: z.boolean().default(false),
  peers: z.array(
    z.object({
      subnet,
      publicIp: ipv4,
      nodeId: z.string().optional(),
      backend: z.object({ type: z.string(), data: z.record(z.string(), z.unknown()) }).optional(),
      /** In files of earlier versions, which knew of udp alone. */
      host: z.string().optional(),
      version: z.string().optional(),
      nodeKey: z.string().optional(),
      portMapped: z.boolean().optional(),
      reserved: z.boolean().optional(),
    }),
  ),
});

function refuse(context: { addIssue(message: string): void }, message: string): never {
  context.addIssue(message);
  return z.NEVER;
}

/** Undefined if there is none, or none that can be read: the node then waits for etcd, as at its first start. */
export async function loadLastKnown(directory: string, log: Logger): Promise<LastKnown | undefined> {
  const path = join(directory, FILE);
  try {
    const {
      peers,
      revision = 0,
      ttlId = '',
      ...own
    } = stored.parse(JSON.parse((await readPlainFile(path, MOST_BYTES)).text));
    const config = parseCommonConfig(own.configJson);
    for (const lease of [own, ...peers]) checkLease(config, lease);
    if (own.subnet.prefixLength !== config.subnetLength) {
      throw new Error(
        `own subnet ${formatSubnet(own.subnet)} has another length than SubnetLen ${config.subnetLength}`,
      );
    }
    const { ttlSeconds, savedAt } = own;
    const holding = own.holding ?? { revision, ttlId };
    return { ...own, holding, ttlSeconds, savedAt, peers: peers.map(toLease) };
  } catch (error) {
    const reason = error instanceof z.ZodError ? error.issues[0].message : messageOf(error);
    if (errnoOf(error) !== 'ENOENT') log.warn({ path, reason }, 'what was last known of the cluster cannot be read');
    return undefined;
  }
}

const UDP: BackendLease = { type: 'udp', data: {} };

function toLease({ portMapped, backend, ...peer }: z.infer<typeof stored>['peers'][number]): Lease {
  const earlier = portMapped ? { ...UDP, data: { PortMapped: true } } : UDP;
  return { ...peer, nodeId: peer.nodeId, backend: backend ?? earlier };
}

/** As strictly as what etcd says. @throws Error that names the problem */
function checkLease(
  config: NetworkConfig,
  { subnet, publicIp, nodeId = '' }: Pick<Lease, 'subnet' | 'publicIp'> & { nodeId?: string | undefined },
): void {
  const lease = parseLease(config, formatSubnetKey(subnet), formatLeaseValue({ publicIp, nodeId, backend: UDP }));
  if ('problem' in lease) throw new Error(lease.problem);
}

/** @throws what the file system says */
export async function saveLastKnown(directory: string, known: LastKnown): Promise<void> {
  await writeFileAtomic(join(directory, FILE), piecesOf(known), 0o600);
}

/** Of thousands of peers one text would be a megabyte, which V8 frees with its whole heap alone, and every few seconds. */
const PEERS_IN_A_PIECE = 200;

function* piecesOf({ peers, ...own }: LastKnown): Iterable<string> {
  const text = { ...own, publicIp: formatIpv4(own.publicIp), subnet: formatSubnet(own.subnet) };
  yield `${JSON.stringify(text).slice(0, -1)},"peers":[`;
  for (let first = 0; first < peers.length; first += PEERS_IN_A_PIECE) {
    const some = peers.slice(first, first + PEERS_IN_A_PIECE).map((peer) => JSON.stringify(storedOf(peer)));
    yield `${first === 0 ? '' : ','}${some.join(',')}`;
  }
  yield ']}\n';
}

const storedOf = ({ subnet, publicIp, nodeId, host, version, nodeKey, backend, reserved }: Lease) => ({
  subnet: formatSubnet(subnet),
  publicIp: formatIpv4(publicIp),
  nodeId,
  host,
  version,
  nodeKey,
  backend,
  reserved,
});

/** The subnet is not ours any more. @returns whether anything was known. @throws RudderError `file` */
export async function forgetLastKnown(directory: string): Promise<boolean> {
  const path = join(directory, FILE);
  try {
    await rm(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw new RudderError('file', `cannot remove ${path}: ${messageOf(error)}; run as root`, { cause: error });
  }
}
