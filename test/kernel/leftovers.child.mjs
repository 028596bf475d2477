// What a stopped node has left is removed, and what others have made stays.

import { execFileSync } from 'node:child_process';
import { removeKernelState } from '../../dist/backend/kernel/leftovers.js';
import { createKernelSync } from '../../dist/backend/kernel/sync.js';
import { openVxlanDevice } from '../../dist/backend/kernel/vxlan-device.js';
import { forwardToPeers } from '../../dist/backend/kernel/wanted.js';
import { openNetlink } from '../../dist/system/netlink.js';

const ip = (text) => text.split('.').reduce((address, part) => (address << 8) | Number(part), 0);
const batch = (...lines) => execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
const show = (...args) =>
  execFileSync('ip', args, { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
batch(
  'link set lo up',
  'link add eth0 type veth peer name far',
  'link set far up',
  'link set eth0 up',
  'address add 10.1.1.1/24 dev eth0',
  'link add vxlan.calico type vxlan id 4096 dstport 4789',
  'route add 10.240.9.0/24 via 10.1.1.9',
);
const before = [show('route'), show('-br', 'link')];

const log = { debug() {}, info() {}, warn() {}, error() {} };
const network = { address: ip('10.240.0.0'), prefixLength: 16 };
const own = { address: ip('10.240.1.0'), prefixLength: 24 };
const underlay = { name: 'eth0', address: ip('10.1.1.1') };
const netlink = openNetlink();
const settings = { vni: 1, port: 8472, gbp: false, nodeId: 'node 1', network, underlay, mtu: 1450 };
const device = await openVxlanDevice({ ...settings, netlink, log });
await device.configure(own);
const sync = createKernelSync({ netlink, network, own, ensureGround: device.ensure, wants: forwardToPeers(true), log });
const peerOf = (number, endpoint) => ({
  subnet: { address: ip(`10.240.${number}.0`), prefixLength: 24 },
  endpoint: ip(endpoint),
  mac: `0e:00:00:00:00:0${number}`,
});
batch('route add default via 10.1.1.254');
await sync.apply([
  { type: 'put', peer: peerOf(2, '10.1.1.2') },
  { type: 'put', peer: peerOf(3, '10.2.2.3') },
]);
sync.persist();
await sync.stop();
batch('route delete default');
const between = show('route');
const removed = await removeKernelState(netlink);
const nothing = await removeKernelState(netlink);
const after = [show('route'), show('-br', 'link')];
netlink.close();
console.log(JSON.stringify({ between: between.length, removed, nothing, before, after }));
