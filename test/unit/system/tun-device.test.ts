import { beforeEach, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { removeOwnDevices } from '../../../src/system/marked-devices.js';
import type { LinkInfo, Netlink } from '../../../src/system/netlink.js';
import { configureTunDevice, DEVICE_ALIAS, DEVICE_NAME, deviceProblem } from '../../../src/system/tun-device.js';

const settings = {
  name: DEVICE_NAME,
  address: parseIpv4('10.240.7.0')!,
  network: parseSubnet('10.240.0.0/16')!,
  prefixLength: 16,
  mtu: 1472,
  isRouted: true,
};
const link = (name: string, kind: string, alias = DEVICE_ALIAS): LinkInfo => ({
  ...{ index: links.length + 1, name, kind, alias, mtu: 1472, up: true, isPort: false, carrier: true },
});

let links: LinkInfo[];
beforeEach(() => {
  links = [];
});

/** With nothing that changes a device, so that whoever tries fails. */
const netlink = {
  links: async () => [...links],
  link: async (who: number | string) => links.find(({ index, name }) => index === who || name === who),
  deleteLink: async (which: number) =>
    void links.splice(
      links.findIndex(({ index }) => index === which),
      1,
    ),
} as unknown as Netlink;

it.each([
  'bridge',
  'tap',
  '',
])('that is renamed and whose name another of kind "%s" has is gone, and that one left alone', async (kind) => {
  links.push(link(DEVICE_NAME, kind, ''));
  expect(await deviceProblem(netlink, settings)).toBe('gone');
  await expect(configureTunDevice(netlink, settings)).rejects.toThrow(
    `TUN device rudder0 is of kind ${kind || 'hardware'} now`,
  );
});

it('that is renamed is removed, and nothing else', async () => {
  for (const [name, kind, alias] of [
    ['theirs0', 'tun', DEVICE_ALIAS],
    [DEVICE_NAME, 'tun', DEVICE_ALIAS],
    ['tun0', 'tun', ''],
    ['rudder.1', 'vxlan', DEVICE_ALIAS],
    ['tap0', 'tap', DEVICE_ALIAS],
  ]) {
    links.push(link(name, kind, alias));
  }
  await removeOwnDevices(netlink, 'tun', DEVICE_NAME);
  expect(links.map(({ name }) => name)).toEqual([DEVICE_NAME, 'tun0', 'rudder.1', 'tap0']);
});
