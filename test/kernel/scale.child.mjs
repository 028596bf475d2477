// 4,000 peers: how long a start, a restart, a look at all and one change take, in milliseconds.

import { execFileSync } from 'node:child_process';
import { createKernelSync } from '../../dist/backend/kernel/sync.js';
import { openVxlanDevice } from '../../dist/backend/kernel/vxlan-device.js';
import { forwardToPeers } from '../../dist/backend/kernel/wanted.js';
import { openNetlink } from '../../dist/system/netlink.js';

const PEERS = 4000;
const CHANGES = 200;
const ip = (a, b, c, d) => (a << 24) | (b << 16) | (c << 8) | d;
const two = (number) => number.toString(16).padStart(2, '0');
const peerOf = (i, network = 16) => ({
  subnet: { address: ip(10, 200 + (i >> 8), i & 255, 0), prefixLength: 24 },
  endpoint: ip(172, network, 1 + (i >> 8), i & 255),
  mac: `0e:00:00:00:${two(i >> 8)}:${two(i & 255)}`,
});
const put = (peers) => peers.map((peer) => ({ type: 'put', peer }));
const all = put(Array.from({ length: PEERS }, (_, i) => peerOf(i)));

const lines = [
  'link set lo up',
  'link add eth0 type veth peer name far',
  'link set far up',
  'address add 172.16.0.1/12 dev eth0',
  'link set eth0 up',
];
execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
const log = { debug() {}, info() {}, warn() {}, error() {} };
const network = { address: ip(10, 0, 0, 0), prefixLength: 8 };
const own = { address: ip(10, 1, 1, 0), prefixLength: 24 };
const underlay = { name: 'eth0', address: ip(172, 16, 0, 1) };
const netlink = openNetlink();
const settings = { vni: 1, port: 8472, gbp: false, nodeId: 'node 1', network, underlay, mtu: 1450 };
const device = await openVxlanDevice({ ...settings, netlink, log });
await device.configure(own);
const open = () =>
  createKernelSync({ netlink, network, own, ensureGround: device.ensure, wants: forwardToPeers(false), log });

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
const out = {};
let sync = open();
out.start = await timed(() => sync.apply(all));
sync.peersComplete();
out.look = await timed(() => sync.reconcile());
const changes = [];
for (let i = 0; i < CHANGES; i++) changes.push(await timed(() => sync.apply(put([peerOf(i, 17)]))));
out.change = changes.sort((a, b) => a - b)[CHANGES / 2];
out.status = sync.status();
sync.persist();
await sync.stop();
sync = open();
out.restart = await timed(() => sync.apply(all));
await sync.stop();
netlink.close();
console.log(JSON.stringify(out));
