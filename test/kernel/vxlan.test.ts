import { afterAll, beforeAll, expect, it } from 'vitest';
import { macOf } from '../../src/backend/kernel/mac.js';
import { describeWith } from '../helpers/requires.js';
import {
  bothWays,
  ip,
  lossFromHere,
  makeBridges,
  makeByHand,
  makeHosts,
  makeLink,
  PEER,
  PEER_MAC,
  PEERS,
  reaches,
  removeHosts,
  run,
  startNode,
  type TestNode,
  US,
  within5s,
} from './namespaces.js';

const OUR_MAC = macOf('node 1');
const atPeer = (endpoint = '10.1.1.1') => makeByHand(PEER, PEER_MAC, { number: 1, mac: OUR_MAC, endpoint });
const fromHost = () => run(US, 'ping', '-q', '-c', '1', '-W', '0.5', '10.240.2.1') !== '';
/** What ip says of our device: of what kind it is, and how it is set. */
const device = () => JSON.parse(run(US, 'ip', '-j', '-d', 'link', 'show', 'type', 'vxlan'));
const mtuOfDevice = () => device()[0].mtu;

describeWith(['root', 'vxlan'], 'a VXLAN device beside a peer that was made by hand', () => {
  let node: TestNode;

  beforeAll(async () => {
    makeHosts();
    makeBridges();
    atPeer();
    node = startNode({ type: 'vxlan', peers: PEERS });
    await node.ready;
  });
  afterAll(async () => {
    await node.stop('SIGKILL');
    removeHosts();
  });

  it('is made as flannel makes it, without an IPv6 address', async () => {
    const [made, ...others] = device();
    expect(others).toEqual([]);
    expect(made).toMatchObject({ ifname: 'rudder.1', mtu: 1450, address: OUR_MAC, ifalias: 'rudder overlay' });
    const { id, link, local, port, learning } = made.linkinfo.info_data;
    expect({ id, link, local, port, learning }).toEqual({
      id: 1,
      link: 'eth0',
      local: '10.1.1.1',
      port: 8472,
      learning: false,
    });
    const addresses = ip(US, '-o address show dev rudder.1').trim().split('\n');
    expect(addresses).toHaveLength(1);
    expect(addresses[0]).toContain('inet 10.240.1.0/32 scope global');
    expect(await node.ready).toMatchObject({ mac: OUR_MAC, wanted: 4, present: 4, failed: [] });
    expect((await node.ready).found).toBeUndefined();
  });

  it('carries packets of containers both ways, and of the host, in full size', () => {
    expect(bothWays()).toBe(true);
    expect(fromHost()).toBe(true);
    expect(reaches(US, '10.240.1.1', '10.240.2.1', '-M', 'do', '-s', String(1450 - 28))).toBe(true);
  });

  const peerFollows = (address: string) =>
    run(PEER, 'bridge', 'fdb', 'replace', OUR_MAC, 'dev', 'flannel.1', 'dst', address, 'self', 'permanent');

  // Each row of what may happen to a device and its entries: what is done, and what must be so again beside the traffic.
  const faults: [title: string, fault: () => void, after?: () => boolean][] = [
    ['the device is deleted', () => ip(US, 'link delete rudder.1'), () => device()[0].address === OUR_MAC],
    ['the device is set down', () => ip(US, 'link set rudder.1 down')],
    ['the device is set down and up', () => run(US, 'sh', '-c', 'ip link set rudder.1 down; ip link set rudder.1 up')],
    ['its MAC is set to the same one', () => ip(US, `link set rudder.1 address ${OUR_MAC}`)],
    [
      'its MAC is set to another one',
      () => ip(US, 'link set rudder.1 address 0e:00:00:00:00:99'),
      () => device()[0].address === OUR_MAC,
    ],
    ['its MTU is changed', () => ip(US, 'link set rudder.1 mtu 1000'), () => mtuOfDevice() === 1450],
    ['its address is deleted', () => ip(US, 'address flush dev rudder.1'), fromHost],
    ['its neighbours are deleted', () => ip(US, 'neigh flush dev rudder.1 nud permanent')],
    ['an FDB entry is deleted', () => run(US, 'bridge', 'fdb', 'del', PEER_MAC, 'dev', 'rudder.1', 'dst', '10.1.1.2')],
    ['the route is deleted', () => ip(US, 'route delete 10.240.2.0/24')],
    ['the route leads elsewhere', () => ip(US, 'route replace 10.240.2.0/24 via 10.1.1.77')],
    ['its local address is changed', () => ip(US, 'link set rudder.1 type vxlan id 1 local 10.1.1.66 dev eth0')],
    [
      'a device with other settings is in its place',
      () => {
        ip(US, 'link delete rudder.1');
        ip(US, 'link add rudder.1 type vxlan id 1 dstport 4789');
      },
      () => device()[0].linkinfo.info_data.port === 8472,
    ],
    [
      "the underlay's address is replaced",
      () => {
        ip(US, 'address add 10.1.1.3/24 dev eth0');
        ip(US, 'address delete 10.1.1.1/24 dev eth0');
        ip(US, 'address replace 10.1.1.3/24 dev eth0');
        peerFollows('10.1.1.3');
      },
      () => device()[0].linkinfo.info_data.local === '10.1.1.3',
    ],
    [
      "the underlay's address is replaced again",
      () => {
        ip(US, 'address add 10.1.1.1/24 dev eth0');
        ip(US, 'address delete 10.1.1.3/24 dev eth0');
        ip(US, 'address replace 10.1.1.1/24 dev eth0');
        peerFollows('10.1.1.1');
      },
    ],
    ["the underlay's MTU is lowered", () => ip(US, 'link set eth0 mtu 1400'), () => mtuOfDevice() === 1350],
    ["the underlay's MTU is raised", () => ip(US, 'link set eth0 mtu 1500'), () => mtuOfDevice() === 1450],
    ['the underlay is down and up', () => run(US, 'sh', '-c', 'ip link set eth0 down; ip link set eth0 up')],
    [
      'the underlay is gone and back',
      () => {
        ip(US, 'link delete eth0');
        makeLink();
        atPeer();
      },
      () => device()[0].linkinfo.info_data.link === 'eth0',
    ],
  ];

  it.each(faults)('heals within 5 s when %s', async (_title, fault, after = () => true) => {
    expect(bothWays()).toBe(true);
    fault();
    await within5s('traffic both ways', () => after() && bothWays());
    expect(device()).toHaveLength(1);
  });

  it('is quiet after all that: what it does itself does not wake it again', async () => {
    await within5s('two checks without a look', () => node.lines.slice(-2).every(({ quiet }) => quiet === true));
    const routes = ip(US, 'route show proto 80')
      .split('\n')
      .map((line) => line.trim());
    expect(routes.filter(Boolean).sort()).toEqual([
      '10.240.2.0/24 via 10.240.2.0 dev rudder.1 onlink',
      'blackhole 10.240.1.0/24 metric 4294967295',
    ]);
  });

  it('does not send what its own subnet does not have out by the default route', () => {
    ip(US, 'route add default via 10.1.1.2');
    ip(US, 'link delete br0');
    expect(() => ip(US, 'route get 10.240.1.77')).toThrow(/Invalid argument/);
    ip(US, 'link add br0 type bridge');
    ip(US, 'address add 10.240.1.1/24 dev br0');
    ip(US, 'link set br0 up');
    expect(ip(US, 'route get 10.240.1.77')).toContain('dev br0');
    ip(US, 'route delete default');
  });

  it('goes on carrying packets while its node is killed and starts again', async () => {
    expect(bothWays()).toBe(true);
    const pinging = lossFromHere(async () => {
      await node.stop('SIGKILL');
      node = startNode({ type: 'vxlan', peers: PEERS });
      await node.ready;
    });
    expect(await pinging).toBe(0);
    expect(await node.ready).toMatchObject({ device: 'rudder.1', mac: OUR_MAC, present: 4 });
    expect((await node.ready).found).toBeUndefined();
  });
});
