import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ask } from '../../../src/cluster/ask.js';
import { publicKeyOf } from '../../../src/cluster/identity.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { formatSubnet, type Subnet } from '../../../src/core/subnet.js';
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
const CURVES = { stepSeconds: 10, endsAt: '2026-11-27T10:00:00.000Z', curves: { out: [null, 1.5], in: [0, 2] } };
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
    overlayAddressOf: ({ address }) => address,
    isAtBridge: false,
    guard: async () => undefined,
    publicIp: () => parseIpv4('192.0.2.1')!,
    peers: () => peers,
    isMember: (one) => !skipped.includes(one),
    status: async () => createStatus(),
    look: () => undefined,
    view: () => ({ subnet: '', heardSeconds: 1, answeredSeconds: 1, misses: 0, rttMs: 1, obstacle: null }),
    lost: () => [],
    history: () => CURVES,
    probeNow: async () => undefined,
    log: createRecordingLog(),
  });
  await vi.waitFor(() => expect(asks(memberKey)).resolves.toMatchObject({ host: 'n1' }), 5000);
});
afterEach(() => cluster.stop());

const asks = (key = memberKey, from = '127.86.2.0', question = '/summary') =>
  ask(
    { address: parseIpv4(from)!, key, nodes: 2, isAtBridge: false },
    { address: OWN.address, publicKey: publicKeyOf(ownKey) },
    question,
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

it('a member is told what has flowed, and nobody else', async () => {
  await expect(asks(memberKey, '127.86.2.0', '/history')).resolves.toEqual(CURVES);
  await expect(asks(thiefKey, '127.86.2.0', '/history')).rejects.toThrow(/member/);
});

describe('the history of another node', () => {
  it('is asked of it, once for all who want it, and not of one that is unknown or takes no questions', async () => {
    const other = parseSubnet('127.86.2.0/24')!;
    const asking = keepCluster({
      ...optionsOf(other, memberKey),
      peers: () => [{ ...lease('127.86.1.0/24', ownKey) }],
    });
    try {
      const [first, second] = [asking.historyOf('127.86.1.0/24'), asking.historyOf('127.86.1.0/24')];
      expect(second).toBe(first);
      expect(await first).toEqual(CURVES);
      expect(await asking.historyOf('127.86.3.0/24')).toBeUndefined();
    } finally {
      asking.stop();
    }
    const silent = keepCluster({ ...optionsOf(parseSubnet('127.86.4.0/24')!, undefined), peers: () => [MEMBER] });
    expect(await silent.historyOf('127.86.2.0/24')).toBeUndefined();
    silent.stop();
  });
});

describe('the overview', () => {
  const overview = (changes: Partial<Parameters<typeof keepCluster>[0]> = {}) => {
    const other = keepCluster({ ...options(), ...changes });
    try {
      return other.overview(createStatus());
    } finally {
      other.stop();
    }
  };
  const options = () => optionsOf(parseSubnet('127.86.9.0/24')!, ownKey);
  const peerStatus = () => ({ ...createStatus().peers[0], subnet: formatSubnet(MEMBER.subnet) });

  it('is of this node alone where it runs with --no-summary, and says so', () => {
    const status = createStatus({ peers: [peerStatus()] });
    const silent = keepCluster({ ...options(), key: undefined });
    expect(silent.overview(status).nodes[1].notAsked).toMatch(/--no-summary/);
    silent.stop();
  });

  it('does not ask nodes that take no questions, as flannel, nor those of a backend without addresses', () => {
    const status = createStatus({ peers: [peerStatus()] });
    const told = (changes: Partial<Parameters<typeof keepCluster>[0]>) => {
      const one = keepCluster({ ...options(), ...changes });
      const [, node] = one.overview(status).nodes;
      one.stop();
      return node;
    };
    const flannel = { ...MEMBER, nodeKey: undefined };
    expect(told({ peers: () => [flannel] })).toMatchObject({ state: 'ok', notAsked: expect.stringMatching(/no key/) });
    expect(
      told({ overlayAddressOf: ({ address }) => (address === MEMBER.subnet.address ? undefined : address) }).notAsked,
    ).toMatch(/no address/);
    expect(told({}).notAsked).toBeNull();
    const many = Array.from({ length: 300 }, (_, i) => lease(`127.${87 + (i >> 8)}.${i & 255}.0/24`));
    expect(told({ peers: () => [MEMBER, ...many] }).notAsked).toBeNull();
    expect(told({ peers: () => [...many, MEMBER] }).notAsked).toMatch(/300 nodes/);
  });

  it('begins with this node, as its status says it is', () => {
    expect(overview().nodes[0]).toMatchObject({ host: 'alpha', state: 'ok', about: { backend: 'udp', mtu: 1472 } });
  });
});

const VIEW = { heardSeconds: 1, answeredSeconds: 1, misses: 0, rttMs: 1, obstacle: null };

function optionsOf(own: Subnet, key: KeyObject | undefined): Parameters<typeof keepCluster>[0] {
  return {
    own,
    host: 'n9',
    version: '1',
    key,
    overlayAddressOf: ({ address }) => address,
    isAtBridge: false,
    guard: async () => undefined,
    publicIp: () => parseIpv4('192.0.2.9')!,
    peers: () => peers,
    isMember: () => true,
    status: async () => createStatus(),
    look: () => undefined,
    view: (one) => ({ ...VIEW, subnet: formatSubnet(one.subnet) }),
    lost: () => [],
    history: () => CURVES,
    probeNow: async () => undefined,
    log: createRecordingLog(),
  };
}
