import { describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { RudderError } from '../../../src/core/errors.js';
import { createCarriers, refuseCover } from '../../../src/daemon/carriers.js';
import { coverOf } from '../../../src/daemon/cover.js';
import type { AddressInfo, LinkInfo, RouteInfo } from '../../../src/system/netlink.js';

const ip = (text: string) => parseIpv4(text)!;
const net = (text: string) => parseSubnet(text)!;
const NETWORK = net('10.0.0.0/8');
const DEVICE = 7;
const ETH0 = 2;

/** A route as the kernel answers. */
const route = (destination: string, index: number | undefined, more: Partial<RouteInfo> = {}): RouteInfo => ({
  table: 254,
  destination: net(destination),
  index,
  gateway: undefined,
  metric: 0,
  type: 1,
  ...more,
});

describe('an address that is needed to carry the overlay', () => {
  it.each<[string, string, RouteInfo | undefined, string | undefined]>([
    ['outside of the Network', '192.0.2.1', route('0.0.0.0/0', ETH0), undefined],
    ['outside, but routed into the device', '192.0.2.1', route('192.0.2.0/24', DEVICE), 'device'],
    ['inside, by the default route', '10.1.9.10', route('0.0.0.0/0', ETH0), 'network'],
    ['inside, by a route as wide as the Network', '10.1.9.10', route('10.0.0.0/8', ETH0), 'network'],
    ['inside, by a more specific route', '10.1.9.10', route('10.1.0.0/16', ETH0), undefined],
    ['inside, by a more specific route into the device', '10.1.9.10', route('10.1.0.0/16', DEVICE), 'device'],
    ['inside, without a route', '10.1.9.10', undefined, 'network'],
    ['outside, without a route', '192.0.2.1', undefined, undefined],
    ['of this host itself', '10.1.1.11', route('10.1.1.11/32', 1, { type: 2 }), undefined],
    ['inside, by a table of a policy rule', '10.1.9.10', route('0.0.0.0/0', ETH0, { table: 52 }), undefined],
    [
      'inside, by the table that is asked after the main one',
      '10.1.9.10',
      route('10.1.9.0/24', ETH0, { table: 253 }),
      undefined,
    ],
    ['inside, by a wide route of that table', '10.1.9.10', route('0.0.0.0/0', ETH0, { table: 253 }), 'network'],
  ])('%s: is it covered?', async (_, address, found, expected) => {
    const netlink = { routeTo: async () => found };
    const { cover } = await coverOf(netlink, ip(address), { network: NETWORK, device: DEVICE });
    expect(cover).toBe(expected);
  });

  it('is covered by what leads into the device alone while the Network is not known', async () => {
    const inside = { routeTo: async () => route('0.0.0.0/0', ETH0) };
    expect((await coverOf(inside, ip('10.1.9.10'), { network: undefined, device: DEVICE })).cover).toBeUndefined();
    const into = { routeTo: async () => route('10.0.0.0/8', DEVICE) };
    expect((await coverOf(into, ip('10.1.9.10'), { network: undefined, device: DEVICE })).cover).toBe('device');
  });
});

describe('a Network that would cut this host off', () => {
  interface Host {
    readonly routes: Record<string, RouteInfo | undefined>;
    readonly defaults?: RouteInfo[];
    readonly addresses?: AddressInfo[];
  }

  async function refusalOf({ routes, defaults = [], addresses = [] }: Host, endpoint: string): Promise<string> {
    const netlink = {
      routeTo: async (address: number) => routes[Object.keys(routes).find((text) => ip(text) === address) ?? ''],
      routes: async () => defaults,
      link: async (who: string | number) => ({ index: who, name: who === ETH0 ? 'eth0' : 'eth1' }) as LinkInfo,
      addresses: async () => addresses,
    };
    const overlay = { network: NETWORK, device: DEVICE };
    return refuseCover(netlink, createCarriers(netlink, [endpoint]), overlay).then(
      () => 'taken',
      (error: RudderError) => `${error.code}: ${error.message}`,
    );
  }

  it('is refused for an etcd endpoint, with the route that heals', async () => {
    const routes = { '10.1.9.10': route('0.0.0.0/0', ETH0, { gateway: ip('10.1.1.1') }) };
    expect(await refusalOf({ routes }, 'https://10.1.9.10:2379')).toBe(
      'network-config: etcd endpoint https://10.1.9.10:2379 lies inside the overlay 10.0.0.0/8, which would cut this host off: expected it outside, or with a more specific route of its own; choose another Network, or run "ip route add 10.1.9.10/32 via 10.1.1.1 dev eth0" and let the host\'s network configuration keep that',
    );
  });

  it('is refused for a default gateway, and for that of any default route', async () => {
    const defaults = [
      route('0.0.0.0/0', ETH0, { gateway: ip('192.0.2.1') }),
      route('0.0.0.0/0', 3, { gateway: ip('10.9.9.9'), metric: 200 }),
    ];
    const routes = { '192.0.2.1': route('192.0.2.0/24', ETH0), '10.9.9.9': route('10.0.0.0/8', 3) };
    expect(await refusalOf({ routes, defaults }, 'http://127.0.0.1:2379')).toMatch(
      /^network-config: the default gateway \(10\.9\.9\.9\) lies inside .*run "ip route add 10\.9\.9\.9\/32 dev eth1"/,
    );
  });

  it('is refused where the host stands in a network as wide', async () => {
    const addresses = [{ index: ETH0, address: ip('10.1.1.11'), prefixLength: 8, scope: 0 }];
    expect(await refusalOf({ routes: {}, addresses }, 'http://192.0.2.9:2379')).toMatch(
      /^network-config: 10\.1\.1\.11\/8 of eth0, a network of this host's own, fills the overlay/,
    );
  });

  it('is taken where more specific routes lead to all of it, and to names that do not resolve', async () => {
    const routes = {
      '10.1.1.1': route('10.1.1.0/24', ETH0),
      '10.1.9.10': route('10.1.9.0/24', ETH0, { gateway: ip('10.1.1.1') }),
    };
    const defaults = [route('0.0.0.0/0', ETH0, { gateway: ip('10.1.1.1') })];
    const addresses = [{ index: ETH0, address: ip('10.1.1.11'), prefixLength: 24, scope: 0 }];
    expect(await refusalOf({ routes, defaults, addresses }, 'http://10.1.9.10:2379')).toBe('taken');
    expect(await refusalOf({ routes, defaults, addresses }, 'http://nowhere.invalid:2379')).toBe('taken');
  });
});
