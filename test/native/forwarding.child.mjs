// Links of kind vxlan, their tables and routes through our netlink, in a namespace of its own, beside what `ip` says.

import { execFileSync } from 'node:child_process';
import { openNetlink } from '../../dist/system/netlink.js';
import { ip } from './setup.mjs';

const out = {};
const address = (a, b, c, d) => (a << 24) | (b << 16) | (c << 8) | d;
const json = (...args) => JSON.parse(execFileSync(args[0], args.slice(1), { encoding: 'utf8' }) || '[]');
const failure = async (call) =>
  call().then(
    () => 'ok',
    (error) => error.code,
  );
const netlink = openNetlink();

ip('link', 'set', 'lo', 'up');
ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far');
for (const link of ['eth0', 'far']) ip('link', 'set', link, 'up');
ip('address', 'add', '10.1.1.1/24', 'dev', 'eth0');
ip('route', 'add', 'default', 'via', '10.1.1.254');
const eth0 = (await netlink.link('eth0')).index;

// A link: made, read back, changed in place.
const settings = { id: 4097, link: eth0, local: address(10, 1, 1, 1), port: 4789, learning: false, gbp: true };
const made = { ...settings, name: 'rudder.1', mac: '0e:00:00:00:00:01', mtu: 1450 };
await netlink.createVxlan(made);
out.sameName = await failure(() => netlink.createVxlan(made));
out.sameVni = await failure(() => netlink.createVxlan({ ...made, name: 'other' }));
const [shown] = json('ip', '-j', '-d', 'link', 'show', 'rudder.1');
const { id, port, local, learning, gbp } = shown.linkinfo.info_data;
out.shown = { mac: shown.address, mtu: shown.mtu, id, port, local, learning, gbp };
out.details = await netlink.details('rudder.1');
const { index } = out.details;
await netlink.setMtu(index, 1400);
await netlink.setMac(index, '0e:00:00:00:00:02');
await netlink.setUp(index);
ip('address', 'add', '10.1.1.2/24', 'dev', 'eth0');
await netlink.changeVxlan(index, { ...settings, local: address(10, 1, 1, 2) });
out.changed = await netlink.details(index);
out.noDetails = (await netlink.details('absent')) ?? 'none';
out.ofAnotherKind = await netlink.details('eth0');

await netlink.addAddress({ index, address: address(10, 240, 1, 0), prefixLength: 32 });
await netlink.addAddress({ index, address: address(10, 240, 1, 0), prefixLength: 32 });
await netlink.addAddress({ index, address: address(10, 240, 9, 0), prefixLength: 32 });
await netlink.deleteAddress({ index, address: address(10, 240, 9, 0), prefixLength: 32 });
out.addresses = (await netlink.addresses()).filter((entry) => entry.index === index);

// Neighbours and FDB entries: one replaces another one, and those that come and go by themselves do not count.
const peer = { address: address(10, 240, 2, 0), mac: '0e:00:00:00:02:00' };
await netlink.replaceNeighbour(index, { ...peer, mac: '0e:00:00:00:02:99' });
await netlink.replaceNeighbour(index, peer);
await netlink.replaceNeighbour(index, { address: address(10, 240, 3, 0), mac: '0e:00:00:00:03:00' });
ip('neigh', 'add', '10.240.4.0', 'lladdr', '0e:00:00:00:04:00', 'dev', 'rudder.1', 'nud', 'reachable');
ip('neigh', 'add', '10.1.1.9', 'lladdr', '0e:00:00:00:04:00', 'dev', 'eth0');
out.neighbours = await netlink.neighbours(index);
await netlink.deleteNeighbour(index, peer);
out.neighboursLater = await netlink.neighbours(index);
out.deletedTwice = await failure(() => netlink.deleteNeighbour(index, peer));
const host = { mac: '0e:00:00:00:02:00', address: address(10, 1, 1, 7) };
await netlink.replaceFdb(index, { ...host, address: address(10, 1, 1, 6) });
await netlink.replaceFdb(index, host);
const other = { mac: '0e:00:00:00:03:00', address: address(10, 1, 1, 8) };
await netlink.replaceFdb(index, other);
execFileSync('bridge', ['fdb', 'add', '0e:00:00:00:04:00', 'dev', 'rudder.1', 'dst', '10.1.1.9', 'dynamic']);
out.fdb = await netlink.fdb(index);
await netlink.deleteFdb(index, host);
out.fdbLater = await netlink.fdb(index);
out.fdbOfOthers = await netlink.fdb(eth0);

// Routes.
const inside = { address: address(10, 240, 2, 0), prefixLength: 24 };
const network = { address: address(10, 240, 0, 0), prefixLength: 16 };
const route = {
  destination: inside,
  index,
  gateway: inside.address,
  isOnLink: true,
  metric: 0,
  table: 254,
  protocol: 80,
  type: 1,
};
ip('route', 'add', '10.240.2.0/24', 'via', '10.1.1.7');
ip('route', 'add', '10.240.2.0/24', 'via', '10.1.1.8', 'metric', '50');
ip('route', 'add', '10.250.0.0/16', 'via', '10.1.1.8');
ip('route', 'add', '10.240.3.0/24', 'via', '10.1.1.8', 'table', '552');
ip('route', 'add', '10.251.0.0/16', 'dev', 'rudder.1');
ip('route', 'add', '10.252.0.0/16', 'via', '10.1.1.8', 'proto', '80');
await netlink.replaceRoute(route);
await netlink.replaceRoute(route);
await netlink.replaceRoute({
  ...route,
  destination: { address: address(10, 240, 1, 0), prefixLength: 24 },
  type: 6,
  metric: 0xffffffff,
  index: undefined,
  gateway: undefined,
  isOnLink: false,
});
out.shownRoutes = execFileSync('ip', ['route', 'show', 'root', '10.240.0.0/16'], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .map((line) => line.trim());
const listed = async (filter, tables = [254]) =>
  (await netlink.routeEntries({ tables, ...filter })).map(({ destination, metric, protocol, type, isOnLink }) =>
    [destination.address >>> 16, destination.prefixLength, metric, protocol, type, isOnLink].join(' '),
  );
out.routes = await listed({ network, index, protocol: 80 });
out.routesOfOne = (await netlink.routeEntries({ network, index, protocol: 80, tables: [254] })).find(
  (found) => found.isOnLink,
);
out.notBy = await failure(() => netlink.deleteRouteEntry({ ...route, gateway: address(10, 240, 2, 1) }));
await netlink.deleteRouteEntry(route);
out.routesLater = await listed({ network, index: undefined, protocol: 81 });
// Of another table, with a number of more than 8 bits, and with the address that packets get.
const elsewhere = {
  ...route,
  index: eth0,
  gateway: address(10, 1, 1, 7),
  isOnLink: false,
  table: 8285,
  source: address(10, 1, 1, 1),
  mtu: 1400,
};
await netlink.replaceRoute(elsewhere);
await netlink.replaceRoute({
  ...elsewhere,
  gateway: undefined,
  index: undefined,
  source: undefined,
  mtu: undefined,
  type: 7,
  destination: network,
});
out.shownElsewhere = execFileSync('ip', ['route', 'show', 'table', '8285'], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .map((line) => line.trim());
out.elsewhere = (await netlink.routeEntries({ protocol: 80, tables: [8285] })).find(({ type }) => type === 1);
out.mainAlone = (await netlink.routeEntries({ network, protocol: 80, tables: [254] })).filter(
  ({ table }) => table !== 254,
);
await netlink.deleteRouteEntry(elsewhere);
out.elsewhereLater = await listed({ protocol: 80 }, [8285]);

// Rules that only one mark follows.
const rule = { mark: 8285, table: 8285, priority: 100, protocol: 80 };
ip('rule', 'add', 'fwmark', '8285', 'lookup', '552', 'priority', '99');
await netlink.addRule(rule);
out.ruleTwice = await failure(() => netlink.addRule(rule));
out.shownRules = execFileSync('ip', ['rule'], { encoding: 'utf8' })
  .split('\n')
  .filter((line) => line.includes('0x205d'));
out.rules = await netlink.rules(80);
await netlink.deleteRule(rule);
out.ruleGone = await failure(() => netlink.deleteRule(rule));
out.rulesLater = [await netlink.rules(80), execFileSync('ip', ['rule'], { encoding: 'utf8' }).includes('99:')];

out.offLink = await failure(() =>
  netlink.replaceRoute({ ...route, index: eth0, gateway: address(10, 9, 9, 9), isOnLink: false }),
);

out.hops = [];
for (const to of [address(10, 1, 1, 77), address(8, 8, 8, 8), address(10, 1, 1, 1)]) {
  const { index: through, isRouted, isLocal } = await netlink.hopTowards(to);
  out.hops.push([through === eth0, isRouted, isLocal]);
}
ip('route', 'add', 'unreachable', '10.7.0.0/16');
out.noHop = (await netlink.hopTowards(address(10, 7, 0, 1))) ?? 'none';
ip('-6', 'address', 'add', 'fd00::1/64', 'dev', 'eth0');
ip('route', 'add', '10.8.0.0/16', 'via', 'inet6', 'fd00::2', 'dev', 'eth0');
out.hopOfOtherFamily = (await netlink.hopTowards(address(10, 8, 0, 1))).isRouted;

// Entries that go are noticed, those that come are not.
const events = await netlink.watch('rudder.1', network, { neighbours: true });
const noticed = async (program, ...args) => {
  execFileSync(program, args);
  for (let i = 0; i < 20; i++) await netlink.links();
  return events.take();
};
out.noticed = [
  await noticed('ip', 'neigh', 'replace', '10.240.5.0', 'lladdr', peer.mac, 'dev', 'rudder.1'),
  await noticed('ip', 'neigh', 'del', '10.1.1.9', 'dev', 'eth0'),
  await noticed('ip', 'neigh', 'del', '10.240.5.0', 'dev', 'rudder.1'),
  await noticed('bridge', 'fdb', 'del', other.mac, 'dev', 'rudder.1', 'dst', '10.1.1.8'),
];
events.close();
netlink.close();
console.log(JSON.stringify(out));
