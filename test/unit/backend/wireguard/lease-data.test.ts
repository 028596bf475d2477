import { describe, expect, it } from 'vitest';
import { leaseDataOf, peerOf, whyUnreachable } from '../../../../src/backend/wireguard/lease-data.js';
import { generateIdentity } from '../../../../src/backend/wireguard/protocol/keys.js';
import { formatLeaseValue, type Lease, parseLeaseValue } from '../../../../src/core/lease.js';

const { publicKey } = generateIdentity();
const KEY = publicKey.toString('base64');
const read = (data: object, type = 'wireguard') => ({
  backend: { type, data: { ...data } as Record<string, unknown> },
});
const leaseOf = (data: object) => ({ subnet: { address: 0x0af00700, prefixLength: 24 }, publicIp: 7, ...read(data) });

describe('a lease', () => {
  it('is the one that flannel writes, with the node id as one field more', () => {
    const reach = {
      publicIp: 0x0a010107,
      nodeId: 'me',
      backend: { type: 'wireguard', data: leaseDataOf(publicKey, 51820) },
    };
    const value = formatLeaseValue(reach);
    expect(value).toBe(
      `{"PublicIP":"10.1.1.7","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"NodeID":"me","PublicKey":"${KEY}","Port":51820}}`,
    );
    expect(parseLeaseValue(value)).toEqual(reach);
  });

  it('says that a NAT is before the node', () => {
    expect(leaseDataOf(publicKey, 1, { portMapped: true })).toEqual({ PublicKey: KEY, Port: 1, PortMapped: true });
  });

  it('leads to a peer; one of an old flannel listens where all do', () => {
    for (const [data, port] of [
      [{ PublicKey: KEY, Port: 4000 }, 4000],
      [{ PublicKey: KEY }, 51820],
      [{ PublicKey: KEY, Port: 0 }, 51820],
    ] as const) {
      expect(whyUnreachable(read(data))).toBeUndefined();
      expect(peerOf(leaseOf(data) as unknown as Lease, 51820)).toEqual({ publicKey, port });
    }
  });

  it.each([
    [{ PublicKey: KEY }, 'udp', /^backend "udp" is not wireguard/],
    [{}, 'wireguard', /^PublicKey "undefined" is no WireGuard key/],
    [{ PublicKey: `${KEY}\n` }, 'wireguard', /is no WireGuard key/],
    [{ PublicKey: KEY.slice(2) }, 'wireguard', /is no WireGuard key/],
    [{ PublicKey: Buffer.alloc(32).toString('base64') }, 'wireguard', /is one by which nothing is secret/],
    [{ PublicKey: KEY, Port: 65_536 }, 'wireguard', /^Port "65536" is no UDP port/],
    [{ PublicKey: KEY, Port: '51820' }, 'wireguard', /^Port "51820" is no UDP port/],
  ])('with %j of %s does not, and says why', (data, type, problem) => {
    expect(whyUnreachable(read(data, type))).toMatch(problem);
    if (type === 'wireguard') expect(peerOf(leaseOf(data) as unknown as Lease, 51820)).toBeUndefined();
  });

  it('that is a reservation which nobody has taken is none of the problems', () => {
    expect(whyUnreachable({ ...read({}, ''), reserved: true })).toBeUndefined();
    expect(whyUnreachable(read({}, ''))).toMatch(/is not wireguard/);
  });
});
