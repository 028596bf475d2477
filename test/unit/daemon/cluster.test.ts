import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ask } from '../../../src/cluster/ask.js';
import { publicKeyOf } from '../../../src/cluster/identity.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { type Cluster, keepCluster } from '../../../src/daemon/cluster.js';
import { udp } from '../../helpers/leases.js';
import { createRecordingLog } from '../../helpers/recording-log.js';
import { createStatus } from '../../helpers/status.js';

const newKey = () => generateKeyPairSync('x25519').privateKey;
const [ownKey, memberKey, thiefKey] = [newKey(), newKey(), newKey()];
const OWN = parseSubnet('127.86.1.0/24')!;
const lease = (subnet: string, key = memberKey): Lease => ({
  subnet: parseSubnet(subnet)!,
  publicIp: parseIpv4('192.0.2.2')!,
  nodeId: 'n',
  nodeKey: publicKeyOf(key),
  backend: udp(),
});
const MEMBER = lease('127.86.2.0/24');

let peers: readonly Lease[];
let skipped: Lease[];
let cluster: Cluster;

beforeEach(async () => {
  [peers, skipped] = [[MEMBER], []];
  cluster = keepCluster({
    own: OWN,
    host: 'n1',
    version: '1',
    key: ownKey,
    isAtDevice: true,
    publicIp: () => parseIpv4('192.0.2.1')!,
    peers: () => peers,
    isMember: (one) => !skipped.includes(one),
    status: async () => createStatus(),
    look: () => undefined,
    view: () => ({ subnet: '', heardSeconds: 1, answeredSeconds: 1, misses: 0, rttMs: 1, obstacle: null }),
    lost: () => [],
    probeNow: async () => undefined,
    log: createRecordingLog(),
  });
  await vi.waitFor(() => expect(asks(memberKey)).resolves.toMatchObject({ host: 'n1' }), 5000);
});
afterEach(() => cluster.stop());

const asks = (key = memberKey, from = '127.86.2.0') =>
  ask(
    { address: parseIpv4(from)!, key, nodes: 2 },
    { address: OWN.address, publicKey: publicKeyOf(ownKey) },
    '/summary',
  );

describe('a question is answered', () => {
  it('to nodes whose lease is there, at once and no longer', async () => {
    peers = [];
    await expect(asks()).rejects.toThrow(/member/);
    peers = [lease('127.86.2.0/24', thiefKey)];
    await expect(asks()).rejects.toThrow(/member/);
    peers = [MEMBER];
    await expect(asks()).resolves.toBeDefined();
  });

  it('to the node with the most specific lease of an address: a larger one takes nothing from it', async () => {
    const larger = lease('127.86.2.0/23', thiefKey);
    for (const list of [
      [larger, MEMBER],
      [MEMBER, larger],
    ]) {
      peers = list;
      await expect(asks()).resolves.toBeDefined();
      await expect(asks(thiefKey)).rejects.toThrow(/member/);
    }
  });

  it('to no node that is skipped, as whose subnet overlaps our own', async () => {
    skipped = [MEMBER];
    await expect(asks()).rejects.toThrow(/member/);
  });
});
