import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Backend } from '../../../../src/backend/backend.js';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import { createKernelBackend } from '../../../../src/backend/kernel/kernel-backend.js';
import { onUnderlay } from '../../../../src/backend/kernel/underlay-link.js';
import { forwardToPeers } from '../../../../src/backend/kernel/wanted.js';
import type { BackendHost } from '../../../../src/backend/kind.js';
import { settingsOf } from '../../../../src/backend/kinds.js';
import { formatIpv4, type Ipv4 } from '../../../../src/core/ipv4.js';
import type { Lease } from '../../../../src/core/lease.js';
import type { Forwarding } from '../../../../src/system/netlink.js';
import { createFakeForwarding, ETH0 } from '../../../helpers/fake-forwarding.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

const ip = (a: number, b: number, c: number, d: number): Ipv4 => (a << 24) | (b << 16) | (c << 8) | d;
const OWN = { address: ip(10, 240, 1, 0), prefixLength: 24 };
const LOCAL = ip(10, 1, 1, 1);
const config = parseNetworkConfig('{"Network":"10.240.0.0/16","Backend":{"Type":"host-gw"}}');

const lease = (number: number): Lease => ({
  subnet: { address: ip(10, 240, number, 0), prefixLength: 24 },
  publicIp: ip(10, 1, 1, number),
  nodeId: `node ${number}`,
  backend: { type: 'host-gw', data: {} },
});

let netlink: Forwarding;
let host: BackendHost;
beforeEach(() => {
  netlink = createFakeForwarding();
  host = {
    ...{ publicIp: LOCAL, interface: 'eth0', localAddress: LOCAL, mtu: 1500, portMapped: false, config },
    netlink: { ...netlink, link: async () => ({ index: ETH0, name: 'eth0' }) },
    log: createRecordingLog(),
  } as unknown as BackendHost;
});

async function start(...numbers: number[]): Promise<Backend> {
  const backend = await settingsOf(config).open(host);
  await backend.apply(numbers.map((number) => ({ type: 'added', lease: lease(number) })));
  await backend.start(OWN);
  return backend;
}

async function routes(): Promise<string[]> {
  const found = await netlink.routeEntries({ protocol: 80, tables: [254, 8285] });
  return found.map(({ destination, gateway }) => {
    const via = gateway === undefined ? 'nowhere' : formatIpv4(gateway);
    return `${formatIpv4(destination.address)} ${via}`;
  });
}
const BLACKHOLE = '10.240.1.0 nowhere';

it('tells by which interface members themselves come from their own addresses', async () => {
  const backend = await start(7);
  expect(backend.bareWay?.()).toBe('eth0');
  await backend.adapt({ interface: 'eth1', localAddress: LOCAL, mtu: 1500 });
  expect([backend.bareWay?.(), backend.ways()]).toEqual(['eth1', ['eth1']]);
});

it('looks at its tables for another host than it knows, and not for the same one', async () => {
  const backend = await start(7);
  const read = vi.spyOn(host.netlink, 'routeEntries');
  await backend.adapt({ interface: 'eth0', localAddress: LOCAL, mtu: 1500 });
  expect(read).not.toHaveBeenCalled();
  await backend.adapt({ interface: 'eth0', localAddress: LOCAL, mtu: 1400 });
  expect(read).toHaveBeenCalled();
});

it('follows back to the host that it was on, after a way to another one that failed', async () => {
  const followed: string[] = [];
  const links = {
    ...onUnderlay(host),
    async adapt(change: { interface: string }) {
      followed.push(change.interface);
      if (change.interface === 'eth1') throw new Error('eth1 is down');
    },
  };
  const backend = createKernelBackend(host, links, forwardToPeers(false), () => undefined);
  const to = (name: string) => backend.adapt({ interface: name, localAddress: LOCAL, mtu: 1500 });
  await expect(to('eth1')).rejects.toThrow('eth1 is down');
  await to('eth0');
  await to('eth0');
  expect(followed).toEqual(['eth1', 'eth0']);
});

describe('a start of host-gw that was given up', () => {
  it('leaves nothing behind', async () => {
    const backend = await start(7);
    expect(await routes()).toEqual([BLACKHOLE, '10.240.7.0 10.1.1.7']);
    await backend.stop(false);
    expect(await routes()).toEqual([]);
  });

  it('leaves what an earlier run has left, which goes on carrying packets, and none of its own', async () => {
    const earlier = await start(7);
    earlier.persist();
    await earlier.stop(false);
    const backend = await start(7, 8);
    expect(await routes()).toContain('10.240.8.0 10.1.1.8');
    await backend.stop(false);
    expect(await routes()).toEqual([BLACKHOLE, '10.240.7.0 10.1.1.7']);
  });

  it('that did not get far leaves nothing either, and no device of its own', async () => {
    const removed: boolean[] = [];
    const links = { ...onUnderlay(host), remove: async (isNew: boolean) => void removed.push(isNew) };
    const toPeer = ({ subnet, publicIp }: Lease) => ({ subnet, endpoint: publicIp });
    const refusing = { ...host, netlink: { ...host.netlink, deleteRouteEntry: () => Promise.reject(new Error('no')) } };
    const backend = createKernelBackend(refusing, links, forwardToPeers(false), toPeer);
    await backend.stop(false);
    expect(removed).toEqual([true]);
    await backend.start(OWN);
    await expect(backend.stop(false)).rejects.toThrow('no');
    expect(removed).toEqual([true, true]);
  });
});

it('a node that is to leave nothing removes the routes of an earlier run too', async () => {
  const earlier = await start(7);
  earlier.persist();
  await earlier.stop(false);
  const backend = await start(8);
  backend.persist();
  await backend.stop(true);
  expect(await routes()).toEqual([]);
});

it('a node that has left nothing writes no peer that is told afterwards', async () => {
  const backend = await start(7);
  backend.persist();
  await backend.stop(true);
  await backend.apply([{ type: 'added', lease: lease(8) }]);
  await backend.repair();
  expect(await routes()).toEqual([]);
});
