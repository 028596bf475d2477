// The cases of sync-cases.mjs over the real kernel, in a namespace of its own.

import { execFileSync } from 'node:child_process';
import { createKernelSync } from '../../dist/backend/kernel/sync.js';
import { forwardToPeers } from '../../dist/backend/kernel/wanted.js';
import { openNetlink } from '../../dist/system/netlink.js';
import { cases } from './sync-cases.mjs';

const batch = (...lines) => execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
const netlink = openNetlink();
const out = {};
batch('link set lo up', 'link add eth0 type veth peer name far', 'link set far up');
for (const { name, run } of cases) {
  batch(
    'link set eth0 up',
    'address add 10.1.1.1/24 dev eth0',
    'route add default via 10.1.1.254',
    'link add vxlan type vxlan id 1 local 10.1.1.1 dev eth0 dstport 8472 nolearning',
    'link set vxlan up',
  );
  const { index: underlay } = await netlink.link('eth0');
  const { index: tunnel } = await netlink.link('vxlan');
  const ground = { underlay: { index: underlay, name: 'eth0' }, tunnel };
  // undefined does not survive JSON.
  out[name] = await run({ netlink, ground, createKernelSync, forwardToPeers }).catch(({ stack }) => stack);
  batch('link delete vxlan', 'route flush proto 80', 'address flush dev eth0', 'link set eth0 down');
}
netlink.close();
console.log(JSON.stringify(out));
