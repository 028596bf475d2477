// A node's kernel side by itself, without etcd and a daemon: settings as JSON in the first argument, a line of JSON for
// each thing that it does. It looks at the host as the daemon does. SIGTERM ends it, and leaves all as it is.

import { setTimeout as delay } from 'node:timers/promises';
import { createKernelSync } from '../../dist/backend/kernel/sync.js';
import { lookAtUnderlay } from '../../dist/backend/kernel/underlay-link.js';
import { openVxlanDevice, VXLAN_OVERHEAD_BYTES } from '../../dist/backend/kernel/vxlan-device.js';
import { forwardToPeers } from '../../dist/backend/kernel/wanted.js';
import { openNetlink } from '../../dist/system/netlink.js';
import { selectUnderlay } from '../../dist/system/underlay.js';

const CHECK_INTERVAL_MS = 1500;
const ip = (text) => text.split('.').reduce((address, part) => (address << 8) | Number(part), 0);
const subnet = (text) => ({ address: ip(text.split('/')[0]), prefixLength: Number(text.split('/')[1]) });
const say = (fields) => console.log(JSON.stringify(fields));

const { type, port = 8472, gbp = false, direct = false, peers, own = '10.240.1.0/24' } = JSON.parse(process.argv[2]);
const network = subnet('10.240.0.0/16');
const choice = { iface: ['eth0'], ifaceRegex: [], canReach: undefined };
const log = Object.fromEntries(
  ['debug', 'info', 'warn', 'error'].map((level) => [level, (fields, message) => say({ message, ...fields })]),
);
const netlink = openNetlink();
let underlay = await selectUnderlay(netlink, choice);
const mtuOver = ({ mtu }) => mtu - VXLAN_OVERHEAD_BYTES;
let device;
try {
  if (type === 'vxlan') {
    const settings = { vni: 1, port, gbp, nodeId: 'node 1', network, underlay, mtu: mtuOver(underlay) };
    device = await openVxlanDevice({ ...settings, netlink, log });
    await device.configure(subnet(own));
  }
} catch (error) {
  say({ failure: error.message, code: error.code });
  process.exit(1);
}
const ensureGround = device?.ensure ?? (() => lookAtUnderlay(netlink, underlay.name));
const sync = createKernelSync({ netlink, network, own: subnet(own), ensureGround, wants: forwardToPeers(direct), log });
await sync.apply(
  peers.map(({ subnet: net, endpoint, mac }) => ({
    type: 'put',
    peer: { subnet: subnet(net), endpoint: ip(endpoint), mac },
  })),
);
sync.peersComplete();
const events = await netlink.watch(device?.name ?? 'none', network, { neighbours: true });
say({ ready: true, mac: device?.mac, device: device?.name, found: await sync.reconcile(), ...sync.status() });

let problem;
process.on('SIGTERM', () => process.exit(0));
for (;;) {
  await delay(CHECK_INTERVAL_MS);
  if (!events.take() && problem === undefined) {
    say({ quiet: true });
    continue;
  }
  try {
    underlay = await selectUnderlay(netlink, choice, underlay.address);
    await device?.adapt(underlay, mtuOver(underlay));
    const found = await sync.reconcile();
    if (found !== undefined) say({ found });
    problem = undefined;
  } catch (error) {
    problem = error.message;
    say({ problem });
  }
}
