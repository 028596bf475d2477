import { describe, expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import { settingsOf } from '../../../../src/backend/kinds.js';
import { leaseDataOf, peerOf } from '../../../../src/backend/vxlan/lease-data.js';
import { formatLeaseValue, type Lease, parseLeaseValue } from '../../../../src/core/lease.js';

const MAC = '0e:11:22:33:44:55';
const settingsFor = (Backend: object) =>
  settingsOf(parseNetworkConfig(JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: 'vxlan', ...Backend } })));

describe('the config', () => {
  it("has flannel's defaults", () => {
    expect(settingsFor({})).toMatchObject({
      tunnel: { port: 8472, vni: 1, unbound: 'port' },
      mtu: undefined,
      overheadBytes: 50,
    });
  });

  it("has the underlay's MTU, and the kernel's port for 0", () => {
    expect(settingsFor({ MTU: 9000, VNI: 4096, Port: 0 })).toMatchObject({
      tunnel: { port: 8472, vni: 4096, unbound: 'port' },
      mtu: 8950,
    });
    expect(settingsFor({ Port: 4789 }).tunnel).toEqual({ port: 4789, vni: 1, unbound: 'port' });
  });
});

describe('a lease', () => {
  const read = (data: object, type = 'vxlan') => ({ backend: { type, data: { ...data } as Record<string, unknown> } });
  const problemOf = (data: object, type?: string) => settingsFor({}).problemOf(read(data, type));

  it('is the one that flannel writes, with the node id as one field more', () => {
    const reach = { publicIp: 0x0a010107, nodeId: 'me', backend: { type: 'vxlan', data: leaseDataOf(1, MAC) } };
    const value = formatLeaseValue(reach);
    expect(value).toBe(
      `{"PublicIP":"10.1.1.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"NodeID":"me","VNI":1,"VtepMAC":"${MAC}"}}`,
    );
    expect(parseLeaseValue(value)).toEqual(reach);
  });

  it('of another case of MAC, and of a flannel that wrote no VNI, is reached', () => {
    expect(problemOf({ VtepMAC: MAC.toUpperCase() })).toBeUndefined();
    const lease = {
      subnet: { address: 0x0af00700, prefixLength: 24 },
      publicIp: 7,
      ...read({ VtepMAC: 'AA:bb:cc:dd:ee:ff' }),
    };
    expect(peerOf(lease as unknown as Lease)).toEqual({ subnet: lease.subnet, endpoint: 7, mac: 'aa:bb:cc:dd:ee:ff' });
  });

  it.each([
    [{ VNI: 1, VtepMAC: MAC }, 'udp', /^backend "udp" is not vxlan/],
    [{ VNI: 2, VtepMAC: MAC }, 'vxlan', /^VNI "2" is not 1: its node has another network config/],
    [{ VNI: 1 }, 'vxlan', /^it has no VtepMAC/],
    [{ VNI: 1, VtepMAC: '0e:11:22:33:44' }, 'vxlan', /^VtepMAC "0e:11:22:33:44" is no/],
    [{ VNI: 1, VtepMAC: 7 }, 'vxlan', /^VtepMAC "7" is no/],
    // Group, broadcast, nobody.
    [{ VNI: 1, VtepMAC: '01:00:5e:00:00:01' }, 'vxlan', /is no MAC address of one node/],
    [{ VNI: 1, VtepMAC: 'ff:ff:ff:ff:ff:ff' }, 'vxlan', /is no MAC address of one node/],
    [{ VNI: 1, VtepMAC: '00:00:00:00:00:00' }, 'vxlan', /is no MAC address of one node/],
  ])('with %j of %s is not, and says why', (data, type, problem) => {
    expect(problemOf(data, type)).toMatch(problem);
  });

  it('that is a reservation which nobody has taken is none of the problems', () => {
    expect(settingsFor({}).problemOf({ ...read({}, ''), reserved: true })).toBeUndefined();
    expect(problemOf({}, '')).toMatch(/is not vxlan/);
  });
});
