// What the engine does to the kernel's tables: the same cases run over the fake and over the real kernel. Each returns
// what it saw, as texts.

const ip = (text) => text.split('.').reduce((address, part) => (address << 8) | Number(part), 0);
const subnet = (text) => ({ address: ip(text.split('/')[0]), prefixLength: Number(text.split('/')[1]) });
const show = (address) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');

const NETWORK = subnet('10.240.0.0/16');
const OWN = subnet('10.240.1.0/24');
const BLACKHOLE = 'blackhole 10.240.1.0/24 proto 80';
const mac = (number) => `0e:00:00:00:00:0${number}`;

/** Peer 7 has 10.240.7.0/24, is at 10.1.1.7 and has the MAC ..:07. */
const peer = (number, changes = {}) => ({
  subnet: subnet(`10.240.${number}.0/24`),
  endpoint: ip(`10.1.1.${number}`),
  mac: mac(number),
  ...changes,
});
const put = (...peers) => peers.map((one) => ({ type: 'put', peer: one }));
const removed = (number) => ({ type: 'removed', subnet: subnet(`10.240.${number}.0/24`) });

/** A peer through the device, and one by a plain route. */
const through = (number, at = `10.1.1.${number}`, by = mac(number)) => [
  `fdb ${by} ${at}`,
  `neighbour 10.240.${number}.0 ${by}`,
  `route 10.240.${number}.0/24 via 10.240.${number}.0 dev vxlan onlink proto 80`,
];
const plain = (number, at = `10.1.1.${number}`) => [`route 10.240.${number}.0/24 via ${at} dev eth0 proto 80`];

/** An engine over the host. `calls`: the changes it makes, in order. `refuse`: what the kernel is to refuse. */
function start({ netlink, ground, createKernelSync, forwardToPeers }, { tunnel = true, direct = false, wants } = {}) {
  const calls = [];
  const refuse = new Set();
  const on = { underlay: ground.underlay, tunnel: tunnel ? ground.tunnel : undefined, mac: mac(1) };
  const problems = [];
  let failure;
  const watched = { ...netlink };
  for (const name of [
    'replaceNeighbour',
    'replaceFdb',
    'replaceRoute',
    'deleteNeighbour',
    'deleteFdb',
    'deleteRouteEntry',
  ]) {
    watched[name] = async (...args) => {
      calls.push(name);
      if (refuse.has(name)) throw Object.assign(new Error(`${name} refused`), { code: 'EBUSY' });
      return netlink[name](...args);
    };
  }
  const log = { debug() {}, info() {}, error() {}, warn: (fields, message) => problems.push({ ...fields, message }) };
  const sync = createKernelSync({
    netlink: watched,
    network: NETWORK,
    own: OWN,
    wants: wants ?? forwardToPeers(direct),
    log,
    async ensureGround() {
      if (failure !== undefined) throw failure;
      return { ground: on, repaired: undefined };
    },
  });
  return {
    sync,
    calls,
    refuse,
    problems,
    fail: (error) => {
      failure = error;
    },
    failed: () => sync.status().failed.map(({ subnet: { address }, reason }) => `${show(address)} ${reason}`),
  };
}

/** All there is, in order. */
async function contents({ netlink, ground: { tunnel, underlay } }) {
  const routes = await netlink.routeEntries({ network: NETWORK, index: tunnel, protocol: 80, tables: [254, 8285] });
  const lines = routes.map(({ destination, gateway, index, isOnLink, protocol, type }) => {
    const dev = index === tunnel ? ' dev vxlan' : index === underlay.index ? ' dev eth0' : '';
    const via = gateway === undefined ? '' : ` via ${show(gateway)}`;
    const what = `${show(destination.address)}/${destination.prefixLength}${via}${dev}`;
    return `${type === 6 ? 'blackhole' : 'route'} ${what}${isOnLink ? ' onlink' : ''} proto ${protocol}`;
  });
  for (const entry of await netlink.neighbours(tunnel)) lines.push(`neighbour ${show(entry.address)} ${entry.mac}`);
  for (const entry of await netlink.fdb(tunnel)) lines.push(`fdb ${entry.mac} ${show(entry.address)}`);
  return lines.sort();
}

/** What flannel writes for a peer. */
async function flannel({ netlink, ground: { tunnel } }, number, at = `10.1.1.${number}`) {
  const address = ip(`10.240.${number}.0`);
  await netlink.replaceNeighbour(tunnel, { address, mac: mac(number) });
  await netlink.replaceFdb(tunnel, { address: ip(at), mac: mac(number) });
  await netlink.replaceRoute(foreignRoute(`10.240.${number}.0/24`, tunnel, `10.240.${number}.0`, { isOnLink: true }));
}
const foreignRoute = (destination, index, gateway, changes = {}) => ({
  destination: subnet(destination),
  index,
  gateway: ip(gateway),
  isOnLink: false,
  metric: 0,
  table: 254,
  protocol: 3,
  type: 1,
  ...changes,
});

/** Until it holds, with a deadline. */
async function until(holds) {
  for (const deadline = performance.now() + 5000; !(await holds()); ) {
    if (performance.now() > deadline) throw new Error('not within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const cases = [
  {
    name: 'writes a peer in the order neighbour, FDB entry, route, and removes it in the reverse one',
    async run(host) {
      const { sync, calls } = start(host);
      sync.peersComplete();
      await sync.reconcile();
      calls.length = 0;
      await sync.apply(put(peer(7)));
      const after = await contents(host);
      await sync.apply([removed(7)]);
      const { wanted, present } = sync.status();
      return [after, await contents(host), calls, wanted, present];
    },
    expected: [
      [BLACKHOLE, ...through(7)],
      [BLACKHOLE],
      ['replaceNeighbour', 'replaceFdb', 'replaceRoute', 'deleteRouteEntry', 'deleteFdb', 'deleteNeighbour'],
      1,
      1,
    ],
  },
  {
    name: 'does nothing where all is as it should be',
    async run(host) {
      const { sync, calls } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8)));
      calls.length = 0;
      await sync.apply(put(peer(7)));
      return [await sync.reconcile(), calls, (await contents(host)).length];
    },
    expected: [undefined, [], 7],
  },
  {
    name: 'writes of a changed peer only what has changed',
    async run(host) {
      const { sync, calls } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7)));
      calls.length = 0;
      await sync.apply(put(peer(7, { endpoint: ip('10.1.1.70') })));
      const moved = [...calls];
      calls.length = 0;
      await sync.apply(put(peer(7, { endpoint: ip('10.1.1.70'), mac: mac(9) })));
      return [moved, calls, await contents(host)];
    },
    expected: [
      ['replaceFdb'],
      ['replaceNeighbour', 'replaceFdb', 'deleteFdb'],
      [BLACKHOLE, ...through(7, '10.1.1.70', mac(9))],
    ],
  },
  {
    name: 'takes over what flannel left, without a change of what is right, and removes what is stale',
    async run(host) {
      for (const number of [7, 8, 9]) await flannel(host, number);
      const { sync, calls } = start(host);
      await sync.apply(put(peer(7)));
      const early = await contents(host);
      await sync.apply(put(peer(8)));
      const calledEarly = [...calls];
      sync.peersComplete();
      return [early.length, calledEarly, await sync.reconcile(), await contents(host)];
    },
    expected: [
      10,
      ['replaceRoute', 'replaceRoute', 'replaceRoute'], // the blackhole, and two that are marked as ours
      'with 3 entries that nobody wants',
      [BLACKHOLE, ...through(7), ...through(8)].sort(),
    ],
  },
  {
    name: 'leaves alone what is not inside the Network, and routes of others elsewhere',
    async run(host) {
      const { netlink, ground } = host;
      await netlink.replaceRoute(foreignRoute('10.99.0.0/16', ground.tunnel, '10.240.7.0', { isOnLink: true }));
      await netlink.replaceRoute(foreignRoute('10.240.9.0/24', ground.underlay.index, '10.1.1.9'));
      await netlink.replaceRoute(foreignRoute('10.98.0.0/16', ground.underlay.index, '10.1.1.9', { protocol: 80 }));
      await netlink.replaceNeighbour(ground.tunnel, { address: ip('10.99.0.0'), mac: mac(9) });
      const { sync } = start(host);
      sync.peersComplete();
      return [await sync.reconcile(), await contents(host)];
    },
    expected: [
      'with 1 entry that nobody wants', // ours by its protocol
      [
        BLACKHOLE,
        'neighbour 10.99.0.0 0e:00:00:00:00:09',
        'route 10.240.9.0/24 via 10.1.1.9 dev eth0 proto 3',
        'route 10.99.0.0/16 via 10.240.7.0 dev vxlan onlink proto 3',
      ],
    ],
  },
  {
    name: 'puts back what somebody has deleted or changed',
    async run(host) {
      const { netlink, ground } = host;
      const { sync } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8)));
      const all = await contents(host);
      await netlink.deleteNeighbour(ground.tunnel, { address: ip('10.240.7.0'), mac: mac(7) });
      await netlink.deleteFdb(ground.tunnel, { address: ip('10.1.1.7'), mac: mac(7) });
      await netlink.replaceRoute(foreignRoute('10.240.8.0/24', ground.underlay.index, '10.1.1.254'));
      const found = await sync.reconcile();
      return [found, isEqual(await contents(host), all), await sync.reconcile()];
    },
    expected: ['without 3 of its entries', true, undefined],
  },
  {
    name: 'shares an FDB entry between two subnets of one node until both are gone',
    async run(host) {
      const { sync } = start(host);
      sync.peersComplete();
      const second = peer(8, { mac: mac(7), endpoint: ip('10.1.1.7') });
      await sync.apply(put(peer(7), second));
      await sync.apply([removed(7)]);
      const one = await contents(host);
      await sync.apply([removed(8)]);
      return [one, await contents(host)];
    },
    expected: [[BLACKHOLE, ...through(8, '10.1.1.7', mac(7))], [BLACKHOLE]],
  },
  {
    name: 'names a peer whose VtepMAC another one has, and writes it when that one has gone',
    async run(host) {
      const { sync, failed, problems } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8, { mac: mac(7) })));
      const before = failed();
      await sync.apply([removed(7)]);
      return [before, problems.length, failed(), await contents(host)];
    },
    expected: [
      ['10.240.8.0 its VtepMAC 0e:00:00:00:00:07 is also that of 10.240.7.0/24'],
      1,
      [],
      [BLACKHOLE, ...through(8, '10.1.1.8', mac(7))],
    ],
  },
  {
    name: 'names a peer without a VtepMAC, and one with our own',
    async run(host) {
      const { sync, failed } = start(host);
      await sync.apply(put(peer(7, { mac: undefined }), peer(8, { mac: mac(1) })));
      return [failed(), await contents(host)];
    },
    expected: [
      [
        '10.240.7.0 its lease has no VtepMAC, expected the hardware address of one host',
        "10.240.8.0 its VtepMAC 0e:00:00:00:00:01 is this node's own: two nodes have the same node id",
      ],
      [BLACKHOLE],
    ],
  },
  {
    name: 'forgets a peer that goes while there is no device',
    async run(host) {
      const { sync, fail, failed } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8), peer(9, { mac: undefined })));
      fail(new Error('no device'));
      await sync.reconcile().catch(() => undefined);
      await sync.apply([removed(7), removed(9)]);
      fail(undefined);
      await sync.reconcile();
      const result = [failed(), await contents(host), sync.status().wanted];
      await sync.stop();
      return result;
    },
    expected: [[], [BLACKHOLE, ...through(8)], 4],
  },
  {
    name: 'goes on with the other peers when the kernel refuses one, names it and tries again',
    async run(host) {
      const { sync, calls, refuse, failed, problems } = start(host);
      await sync.reconcile();
      refuse.add('replaceFdb');
      await sync.apply(put(peer(7), peer(8)));
      const ofPeer = () => sync.problemOf(peer(7).subnet) ?? 'none';
      const refused = [failed(), ofPeer(), calls.filter((name) => name === 'replaceRoute').length, problems.length];
      refuse.clear();
      await until(() => failed().length === 0);
      const result = [...refused, ofPeer(), await contents(host)];
      await sync.stop();
      return result;
    },
    expected: [
      ['10.240.7.0 replaceFdb refused', '10.240.8.0 replaceFdb refused'],
      'replaceFdb refused',
      1, // the blackhole
      2,
      'none',
      [BLACKHOLE, ...through(7), ...through(8)].sort(),
    ],
  },
  {
    name: 'tells why there is no device, and sets all up when there is one',
    async run(host) {
      const { sync, fail } = start(host);
      fail(new Error('no device'));
      await sync.apply(put(peer(7)));
      const problem = [sync.status().problem, sync.problemOf(peer(7).subnet)];
      const thrown = await sync.reconcile().catch(({ message }) => message);
      fail(undefined);
      await until(() => sync.status().problem === undefined);
      const result = [problem, thrown, await contents(host)];
      await sync.stop();
      return result;
    },
    expected: [['no device', 'no device'], 'no device', [BLACKHOLE, ...through(7)]],
  },
  {
    name: 'takes back what it has written of a start that is given up, and puts back what was there before',
    async run(host) {
      const { netlink, ground } = host;
      await flannel(host, 7);
      await flannel(host, 8, '10.1.1.80');
      await netlink.replaceRoute(foreignRoute('10.240.9.0/24', ground.underlay.index, '10.1.1.9'));
      const found = await contents(host);
      const { sync } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(6), peer(7), peer(8), peer(9)));
      const between = await contents(host);
      await sync.apply([removed(9)]);
      await sync.apply(put(peer(9)));
      await sync.stop();
      return [found, between, await contents(host)];
    },
    expected: (() => {
      const foreign = (number) => `route 10.240.${number}.0/24 via 10.240.${number}.0 dev vxlan onlink proto 3`;
      const ofFlannel = [...through(7).slice(0, 2), ...through(8, '10.1.1.80').slice(0, 2), foreign(7), foreign(8)];
      return [
        [...ofFlannel, 'route 10.240.9.0/24 via 10.1.1.9 dev eth0 proto 3'].sort(),
        [BLACKHOLE, ...through(6), ...through(7), ...through(8), ...through(9)].sort(),
        // The ninth's was not wanted for a moment, and is nobody's any more.
        ofFlannel.sort(),
      ];
    })(),
  },
  {
    name: 'takes back its routes also when there is no device any more',
    async run(host) {
      const { sync, fail } = start(host, { tunnel: false });
      sync.peersComplete();
      await sync.apply(put(peer(7)));
      const between = await contents(host);
      fail(new Error('no device'));
      await sync.reconcile().catch(() => undefined);
      await sync.stop();
      return [between, await contents(host)];
    },
    expected: [[BLACKHOLE, ...plain(7)], []],
  },
  {
    name: 'leaves all as it is when it ends after that',
    async run(host) {
      const { sync } = start(host);
      sync.peersComplete();
      await sync.apply(put(peer(7)));
      sync.persist();
      await sync.stop();
      return contents(host);
    },
    expected: [BLACKHOLE, ...through(7)],
  },
  {
    name: 'takes the routes back and puts them back, also before all peers are known',
    async run(host) {
      await flannel(host, 9);
      const { sync } = start(host);
      await sync.apply(put(peer(7)));
      await sync.setRouted(false);
      const withdrawn = await contents(host);
      await sync.apply(put(peer(8)));
      await sync.setRouted(true);
      return [withdrawn, (await contents(host)).filter((line) => /^(route|blackhole)/.test(line))];
    },
    expected: [
      [...through(7).slice(0, 2), ...through(9).slice(0, 2)].sort(),
      [BLACKHOLE, through(7)[2], through(8)[2]],
    ],
  },
  {
    name: 'host-gw: routes by the peers on the link, and names the others',
    async run(host) {
      const { sync, failed } = start(host, { tunnel: false });
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8, { endpoint: ip('10.9.9.8') }), peer(9, { endpoint: ip('10.1.1.1') })));
      return [failed(), await contents(host)];
    },
    expected: [
      [
        '10.240.8.0 its address 10.9.9.8 is behind a router, expected on the link of eth0; use vxlan',
        "10.240.9.0 its address 10.1.1.1 is one of this host's own",
      ],
      [BLACKHOLE, ...plain(7)],
    ],
  },
  {
    name: 'host-gw: replaces a route of another gateway to the same subnet, whoever made it, and leaves others',
    async run(host) {
      const { netlink, ground } = host;
      await netlink.replaceRoute(foreignRoute('10.240.7.0/24', ground.underlay.index, '10.1.1.70'));
      await netlink.replaceRoute(foreignRoute('10.240.7.0/24', ground.underlay.index, '10.1.1.71', { metric: 50 }));
      await netlink.replaceRoute(foreignRoute('10.240.9.0/24', ground.underlay.index, '10.1.1.9', { protocol: 80 }));
      const { sync } = start(host, { tunnel: false });
      await sync.apply(put(peer(7)));
      sync.peersComplete();
      const found = await sync.reconcile();
      await sync.apply(put(peer(7, { endpoint: ip('10.1.1.72') })));
      return [found, await contents(host)];
    },
    expected: [
      'with 1 entry that nobody wants',
      [BLACKHOLE, ...plain(7, '10.1.1.72'), 'route 10.240.7.0/24 via 10.1.1.71 dev eth0 proto 3'].sort(),
    ],
  },
  {
    name: 'DirectRouting: a plain route to who is on the link, the device to others, and changes from one to the other',
    async run(host) {
      const { sync, calls } = start(host, { direct: true });
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8, { endpoint: ip('10.9.9.8') })));
      const mixed = await contents(host);
      calls.length = 0;
      await sync.apply(put(peer(7, { endpoint: ip('10.9.9.7') }), peer(8)));
      return [mixed, await contents(host), calls];
    },
    expected: [
      [BLACKHOLE, ...plain(7), ...through(8, '10.9.9.8')].sort(),
      [BLACKHOLE, ...through(7, '10.9.9.7'), ...plain(8)].sort(),
      ['replaceNeighbour', 'replaceFdb', 'replaceRoute', 'replaceRoute', 'deleteFdb', 'deleteNeighbour'],
    ],
  },
  {
    name: 'keeps a rule, and routes of a table of its own apart from those of the main one',
    async run(host) {
      const { netlink } = host;
      const inMain = new Set();
      const { sync } = start(host, { tunnel: false, wants: twoTables(host, inMain) });
      sync.peersComplete();
      await sync.apply(put(peer(7), peer(8)));
      const before = await tablesAndRules(host);
      // A peer of which more is wanted, and then less again.
      inMain.add('10.240.7.0');
      await sync.apply(put(peer(7)));
      const more = [await tablesAndRules(host), sync.status().direct];
      const [rule] = await netlink.rules(80);
      await netlink.deleteRule(rule);
      await netlink.addRule({ ...rule, table: 8286 });
      const [{ ...route }] = await netlink.routeEntries({ protocol: 80, tables: [254] });
      await netlink.replaceRoute({ ...route, source: undefined });
      const found = [
        await sync.reconcile(),
        isEqual(await tablesAndRules(host), more[0]),
        (await sync.reconcile()) ?? 'nothing',
      ];
      inMain.clear();
      await sync.apply(put(peer(7)));
      const less = isEqual(await tablesAndRules(host), before);
      await sync.setRouted(false);
      const withdrawn = await tablesAndRules(host);
      for (const left of await netlink.rules(80)) await netlink.deleteRule(left);
      return [before, more, found, less, withdrawn];
    },
    expected: [
      [
        '8285: 10.240.0.0/16 type 7',
        '8285: 10.240.7.0/24 via 10.1.1.7',
        '8285: 10.240.8.0/24 via 10.1.1.8',
        'rule 100 mark 8285 table 8285',
      ],
      [
        [
          '254: 10.240.7.0/24 via 10.1.1.7 src 10.1.1.1',
          '8285: 10.240.0.0/16 type 7',
          '8285: 10.240.7.0/24 via 10.1.1.7',
          '8285: 10.240.8.0/24 via 10.1.1.8',
          'rule 100 mark 8285 table 8285',
        ],
        1,
      ],
      ['without 2 of its entries, with 1 entry that nobody wants', true, 'nothing'],
      true,
      ['rule 100 mark 8285 table 8285'],
    ],
  },
];

/** A route to each peer in a table of its own, which a mark leads to, and in the main one to some of them. */
function twoTables({ ground: { underlay } }, inMain) {
  const rule = { kind: 'rule', mark: 8285, table: 8285, priority: 100, protocol: 80 };
  const route = (destination, changes) => ({
    kind: 'route',
    destination,
    isOnLink: false,
    metric: 0,
    table: 8285,
    protocol: 80,
    type: 1,
    ...changes,
  });
  return {
    direct: true,
    asksHop: () => true,
    ofPeer({ subnet: to, endpoint: gateway }) {
      const way = { index: underlay.index, gateway };
      const further = route(to, { ...way, table: 254, source: ip('10.1.1.1') });
      return [route(to, way), ...(inMain.has(show(to.address)) ? [further] : [])];
    },
    ofSelf: () => [rule, route(NETWORK, { type: 7 })],
  };
}

async function tablesAndRules({ netlink }) {
  const routes = await netlink.routeEntries({ protocol: 80, tables: [254, 8285] });
  const lines = routes.map(({ destination: { address, prefixLength }, gateway, table, source, type }) => {
    const via = gateway === undefined ? `type ${type}` : `via ${show(gateway)}`;
    return `${table}: ${show(address)}/${prefixLength} ${via}${source === undefined ? '' : ` src ${show(source)}`}`;
  });
  for (const { priority, mark, table } of await netlink.rules(80)) {
    lines.push(`rule ${priority} mark ${mark} table ${table}`);
  }
  return lines.sort();
}

const isEqual = (a, b) => JSON.stringify(a) === JSON.stringify(b);
