// The netlink package behind our one file, in a namespace of its own: its traps and what is done about them.

import { execFileSync } from 'node:child_process';
import { openNetlink } from '../../dist/system/netlink.js';
import { attempt, ip, native } from './setup.mjs';

const out = {};
ip('link', 'set', 'lo', 'up');
native.openTun('t0');
const netlink = openNetlink();
const address = (a, b, c, d) => (a << 24) | (b << 16) | (c << 8) | d;
const failure = async (call) =>
  call().then(
    () => 'ok',
    (error) => ({ code: error.code, errno: error.errno, syscall: error.syscall }),
  );

const find = async () => (await netlink.links()).find(({ name }) => name === 't0');
const { index } = await find();
await netlink.setLinkUp(index, 1400, 900);
out.link = await find();
out.queue = /qlen (\d+)/.exec(execFileSync('ip', ['link', 'show', 't0'], { encoding: 'utf8' }))?.[1];

for (const [own, length] of [
  [address(10, 9, 0, 0), 24],
  [address(10, 8, 0, 0), 16],
  [address(10, 8, 0, 0), 16],
]) {
  await netlink.setOnlyAddress(index, own, length);
}
out.addresses = (await netlink.addresses()).filter((entry) => entry.index === index);

await netlink.setAlias(index, 'whose it is');
ip('tuntap', 'add', 'tap0', 'mode', 'tap');
ip('tuntap', 'add', 'tun9', 'mode', 'tun');
ip('link', 'add', 'br0', 'type', 'bridge');
out.kinds = (await netlink.links()).map(({ name, kind, alias, carrier }) => [name, kind, alias, carrier]);

const network = { address: address(10, 99, 0, 0), prefixLength: 16 };
await netlink.ensureRoute(index, network, address(10, 8, 0, 0));
await netlink.ensureRoute(index, network, address(10, 8, 0, 0));
out.towards = (await netlink.interfaceTowards(address(10, 99, 1, 2))) === index;
out.noDefault = (await netlink.defaultRouteInterface()) ?? 'none';
ip('route', 'add', 'default', 'dev', 't0', 'metric', '100');
ip('route', 'add', 'default', 'dev', 'lo', 'metric', '50');
out.defaultIsLowestMetric = (await netlink.defaultRouteInterface()) === 1;
ip('route', 'add', 'default', 'metric', '20', 'nexthop', 'dev', 't0', 'nexthop', 'dev', 'lo');
ip('route', 'add', 'unreachable', 'default', 'metric', '10');
out.firstOfNextHops = (await netlink.defaultRouteInterface()) === index;

// The route that matched, with its table, whoever asks: rules of policy routing count.
const told = (route) => route && [route.table, route.destination.prefixLength, route.index === index, route.type];
out.mainRoute = told(await netlink.routeTo(address(10, 99, 1, 2)));
out.localRoute = told(await netlink.routeTo(address(127, 0, 0, 1)));
ip('route', 'add', '10.99.7.0/24', 'dev', 't0', 'table', '552');
ip('rule', 'add', 'to', '10.99.7.0/24', 'lookup', '552');
out.ruleRoute = told(await netlink.routeTo(address(10, 99, 7, 2)));
ip('route', 'add', 'blackhole', '10.99.8.0/24');
out.noRoute = (await netlink.routeTo(address(10, 99, 8, 1))) ?? 'none';
const through = async () =>
  (await netlink.routes(index))
    .filter((route) => route.index === index && route.type === 1)
    .map(({ table, destination: { prefixLength } }) => `${table}/${prefixLength}`)
    .sort();
out.through = await through();
await netlink.deleteRoute(index, { table: 552, destination: { address: address(10, 99, 7, 0), prefixLength: 24 } });
await netlink.deleteRoute(index, { table: 254, destination: network });
out.throughLater = await through();

// What matters of what happens is noticed, and nothing else.
const events = await netlink.watch('t0', network);
ip('link', 'add', 'port0', 'type', 'veth', 'peer', 'name', 'port1');
ip('link', 'set', 'port0', 'master', 'br0');
const noticed = async (change) => {
  ip(...change);
  // An answer comes behind the notifications of what was before it, from the kernel's side; not so on our two sockets.
  for (let i = 0; i < 20; i++) await netlink.links();
  return events.take();
};
out.noticed = [];
for (const change of [
  ['link', 'set', 't0', 'mtu', '1300'],
  ['route', 'add', '10.98.0.0/16', 'dev', 'lo'],
  ['link', 'set', 'port0', 'alias', 'of a container'],
  ['route', 'add', '10.95.0.0/16', 'dev', 't0'],
  ['route', 'add', '10.99.9.0/24', 'dev', 'lo'],
  ['route', 'add', 'default', 'dev', 'lo', 'metric', '7'],
  ['link', 'set', 'lo', 'mtu', '65000'],
  ['address', 'add', '10.97.0.1/24', 'dev', 'lo'],
  ['rule', 'add', 'to', '10.96.0.0/16', 'lookup', '552'],
]) {
  out.noticed.push(await noticed(change));
}
events.close();

// Connection tracking entries go by either of their directions.
const datagram = {
  source: address(10, 1, 1, 1),
  sourcePort: 8285,
  destination: address(10, 1, 1, 2),
  destinationPort: 8285,
};
out.noEntry = await failure(() => netlink.deleteConntrack(datagram));
execFileSync(
  'conntrack',
  [
    '-I',
    '-p',
    'udp',
    '-s',
    '10.240.1.2',
    '-d',
    '10.1.1.1',
    '-r',
    '10.1.1.1',
    '-q',
    '10.1.1.2',
    '--sport',
    '8285',
    '--dport',
    '8285',
    '--reply-port-src',
    '8285',
    '--reply-port-dst',
    '8285',
    '-t',
    '60',
  ],
  { stdio: 'ignore' },
);
out.entry = await failure(() => netlink.deleteConntrack({ ...datagram }));

// Errors carry the errno.
out.unreachable = await failure(() => netlink.deleteLink(9999));

// Hundreds at once overflow the package's socket and abort the process, unless they go one at a time.
const many = await Promise.all(
  Array.from({ length: 1000 }, (_, i) => (i % 2 === 0 ? netlink.links() : netlink.addresses())),
);
out.concurrent = many.length;
// A request that fails does not hold up those behind it.
const [bad, good] = await Promise.all([failure(() => netlink.deleteLink(9999)), netlink.links()]);
out.behindFailure = [bad.code, good.length > 0];

// nf_tables numbers its rules' states, and nothing else of the namespace does.
const generation = await netlink.rulesGeneration();
ip('address', 'add', '10.7.0.1/24', 'dev', 't0');
out.sameGeneration = (await netlink.rulesGeneration()) === generation;
execFileSync('iptables', ['-N', 'STRANGER']);
out.nextGeneration = (await netlink.rulesGeneration()) - generation;

await netlink.deleteLink(index);
out.deleted = (await find()) ?? 'gone';
netlink.close();
out.closed = attempt(() => 1).result;
process.stdout.write(JSON.stringify(out));
