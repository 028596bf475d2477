// Whether a watch of the host tells of what this process has changed itself, and of what somebody else has.

import { execFileSync } from 'node:child_process';
import { openNetlink } from '../../dist/system/netlink.js';

const ip = (a, b, c, d) => (a << 24) | (b << 16) | (c << 8) | d;
const run = (command) => execFileSync('sh', ['-c', command]);
run(
  'ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip address add 172.16.0.1/12 dev eth0; ip link set eth0 up',
);
run('ip link add v0 type vxlan id 1 dstport 8472 local 172.16.0.1 nolearning; ip link set v0 up');

const netlink = openNetlink();
const { index } = await netlink.details('v0');
const network = { address: ip(10, 200, 0, 0), prefixLength: 16 };
const events = await netlink.watch('v0', network, { neighbours: true });
const neighbour = { address: ip(10, 200, 7, 0), mac: '0e:00:00:00:00:07' };
const entry = { address: ip(172, 16, 0, 7), mac: neighbour.mac };
const route = {
  destination: { address: ip(10, 200, 7, 0), prefixLength: 24 },
  gateway: neighbour.address,
  ...{ index, isOnLink: true, metric: 0, table: 254, protocol: 80, type: 1 },
};

async function put() {
  await netlink.replaceNeighbour(index, neighbour);
  await netlink.replaceFdb(index, entry);
  await netlink.replaceRoute(route);
}

const ours = {
  'entries and a route': put,
  'a route that goes': () => netlink.deleteRouteEntry(route),
  'an FDB entry that goes': () => netlink.deleteFdb(index, entry),
  'a neighbour that goes': () => netlink.deleteNeighbour(index, neighbour),
  'entries that go, come back and go before anybody looks': async () => {
    for (const _ of [1, 2]) {
      await put();
      await netlink.deleteFdb(index, entry);
      await netlink.deleteNeighbour(index, neighbour);
    }
  },
  'what is not there and shall go': () => netlink.deleteFdb(index, entry).catch(() => undefined),
};
const others = {
  'a route that goes': 'ip route delete 10.200.7.0/24',
  'a route that comes': 'ip route add 10.200.9.0/24 dev v0',
  'an FDB entry that goes': `bridge fdb delete ${entry.mac} dev v0 dst 172.16.0.7`,
  'a neighbour that goes': 'ip neighbour delete 10.200.7.0 dev v0',
};

const out = { ours: {}, others: {} };
events.take();
for (const [title, change] of Object.entries(ours)) {
  await change();
  out.ours[title] = events.take();
}
await put();
events.take();
for (const [title, command] of Object.entries(others)) {
  run(command);
  out.others[title] = events.take();
}
// More than there is room for.
await put();
const lines = Array.from({ length: 60_000 }, (_, i) => `route add 10.201.${i >> 8}.${i & 255} dev eth0`);
execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
await netlink.deleteNeighbour(index, neighbour);
out.lost = events.take();
await put();
run('ip neighbour delete 10.200.7.0 dev v0');
out.afterwards = events.take();
events.close();
netlink.close();
console.log(JSON.stringify(out));
