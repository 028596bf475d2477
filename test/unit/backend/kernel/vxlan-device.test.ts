import { expect, it } from 'vitest';
import { openVxlanDevice } from '../../../../src/backend/kernel/vxlan-device.js';
import { type Netlink, NetlinkError } from '../../../../src/system/netlink.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

const NETWORK = { address: 0x0af00000, prefixLength: 16 };

/** A host without a VXLAN device, whose kernel refuses to make one. */
function open(code: string) {
  const eth0 = { index: 2, name: 'eth0', mtu: 1500, up: true, isPort: false, kind: '', alias: '', carrier: true };
  const netlink: Partial<Netlink> = {
    link: async () => eth0,
    links: async () => [eth0],
    details: async () => undefined,
    createVxlan: async () => {
      throw new NetlinkError(`netlink: create rudder.1: Request rejected: ${code}`, code);
    },
  };
  return openVxlanDevice({
    netlink: netlink as Netlink,
    vni: 1,
    port: 8472,
    gbp: false,
    nodeId: 'node 1',
    network: NETWORK,
    underlay: { name: 'eth0', address: 0x0a010101 },
    mtu: 1450,
    log: { ...createRecordingLog(), debug: () => undefined },
  });
}

it.each([
  ['EOPNOTSUPP', 'this kernel has no VXLAN, expected its module vxlan; run "modprobe vxlan", or use the backend udp'],
  ['EPERM', 'no permission, expected the capability CAP_NET_ADMIN; run as root or through rudder.service'],
  ['EINVAL', 'netlink: create rudder.1: Request rejected: EINVAL; see docs/troubleshooting.md'],
])('says what %s means', async (code, reason) => {
  await expect(open(code)).rejects.toMatchObject({
    code: 'device',
    message: `cannot set up VXLAN device rudder.1 with VNI 1 and port 8472: ${reason}`,
  });
});
