import { describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/backend/backend.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { countsTraffic, sightOf } from '../../../src/daemon/peer-sight.js';

const lease: Lease = {
  subnet: parseSubnet('10.240.1.0/24')!,
  publicIp: parseIpv4('10.1.1.1')!,
  nodeId: undefined,
  backend: { type: 'wireguard', data: {} },
};
const NO_PROBLEM = { problemOf: () => undefined };
/** Echoes of 28 bytes. */
const health = { probePackets: () => ({ out: 2, in: 3 }) };
const packetPath = {
  traffic: () => ({ outPackets: 5, outBytes: 1000, inPackets: 6, inBytes: 1000, heardSecondsAgo: 1 }),
} as unknown as Backend['packetPath'];
const kernelTraffic = () => ({ outBytes: 1000, inBytes: 100, heardSecondsAgo: 1, sizeOnTheWay: () => 64 });

describe('what is exchanged with a peer, without the probes', () => {
  it.each<[string, Pick<Backend, 'packetPath' | 'kernelTraffic'>, object]>([
    ['a packet path', { packetPath }, { outPackets: 3, outBytes: 944, inPackets: 3, inBytes: 916 }],
    [
      'a kernel that counts bytes as they are on the way',
      { packetPath: undefined, kernelTraffic },
      { outPackets: null, outBytes: 872, inPackets: null, inBytes: 0 },
    ],
    [
      'a kernel that does not know the peer',
      { packetPath: undefined, kernelTraffic: () => undefined },
      { outPackets: null, outBytes: null, inPackets: null, inBytes: null },
    ],
    [
      'a kernel that does not count',
      { packetPath: undefined },
      { outPackets: null, outBytes: null, inPackets: null, inBytes: null },
    ],
  ])('is told of %s', (_, backend, expected) => {
    const sources = { backend: { ...backend, problemOf: () => undefined }, admission: NO_PROBLEM, health };
    expect(sightOf(lease, sources).traffic).toEqual(expected);
  });

  it("is told with what is wrong: admission's word before the backend's", () => {
    const backend = { packetPath, problemOf: () => 'no route' };
    const told = (problem: string | undefined) =>
      sightOf(lease, { backend, admission: { problemOf: () => problem }, health });
    expect(told(undefined)).toMatchObject({ problem: 'no route', heardSecondsAgo: 1 });
    expect(told('in the overlay itself')).toMatchObject({ problem: 'in the overlay itself' });
  });

  it.each<[boolean, Pick<Backend, 'packetPath' | 'kernelTraffic'>]>([
    [true, { packetPath }],
    // Of a peer that it does not know it has no counts yet.
    [true, { packetPath: undefined, kernelTraffic: () => undefined }],
    [false, { packetPath: undefined }],
  ])('is counted at all: %s', (expected, backend) => {
    expect(countsTraffic(backend)).toBe(expected);
  });
});
