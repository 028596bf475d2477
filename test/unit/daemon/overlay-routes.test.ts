import { expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { formatSubnet } from '../../../src/core/subnet.js';
import { readOverlayRoutes } from '../../../src/daemon/overlay-routes.js';
import type { Netlink, RouteInfo } from '../../../src/system/netlink.js';

const DEVICE = 7;
const NETWORK = parseSubnet('10.16.0.0/12')!;

const route = (destination: string, index = DEVICE): RouteInfo => ({
  destination: parseSubnet(destination)!,
  index,
  gateway: undefined,
  table: 254,
  type: 1,
  metric: 0,
});

const netlinkWith = (routes: readonly RouteInfo[]) =>
  ({ link: async () => ({ index: DEVICE }), routes: async () => routes }) as unknown as Netlink;

/** A kernel's backend has a route to each peer: if they counted, each change would be compared with all of them. */
it.each([
  ['the Network', '10.16.0.0/12', []],
  ["a peer's subnet", '10.16.7.0/24', []],
  ['a part of the Network', '10.24.0.0/13', []],
  ['what is wider than the Network', '10.0.0.0/8', ['10.0.0.0/8']],
  ['what is beside it', '192.0.2.0/24', ['192.0.2.0/24']],
  ['all', '0.0.0.0/0', ['0.0.0.0/0']],
])('%s through our device is foreign only if it is not in the Network', async (_, destination, foreign) => {
  const found = await readOverlayRoutes(netlinkWith([route(destination)]), 'rudder.1', NETWORK);
  expect(found.foreign.map(formatSubnet)).toEqual(foreign);
});
