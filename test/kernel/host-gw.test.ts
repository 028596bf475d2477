import { afterEach, beforeEach, expect, it } from 'vitest';
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

const routeToPeer = () => ip(US, 'route show 10.240.2.0/24').trim();

describeWith(['root'], 'host-gw beside a peer that was made by hand', () => {
  let node: TestNode;
  const routeBack = () => ip(PEER, 'route replace 10.240.1.0/24 via 10.1.1.1');

  beforeEach(async () => {
    makeHosts();
    makeBridges();
    routeBack();
    node = startNode({ type: 'host-gw', peers: PEERS });
    await node.ready;
  });
  afterEach(async () => {
    await node.stop('SIGKILL');
    removeHosts();
  });

  it('carries packets both ways, by one route that is marked as ours', () => {
    expect(bothWays()).toBe(true);
    expect(routeToPeer()).toBe('10.240.2.0/24 via 10.1.1.2 dev eth0 proto 80');
  });

  it.each<[string, () => void]>([
    ['the route is deleted', () => ip(US, 'route delete 10.240.2.0/24')],
    ['the route leads elsewhere', () => ip(US, 'route replace 10.240.2.0/24 via 10.1.1.77')],
    ['the underlay is down and up', () => run(US, 'sh', '-c', 'ip link set eth0 down; ip link set eth0 up')],
    [
      "the underlay's address is replaced",
      () => {
        ip(US, 'address add 10.1.1.3/24 dev eth0');
        ip(US, 'address delete 10.1.1.1/24 dev eth0');
        ip(US, 'address replace 10.1.1.3/24 dev eth0');
        ip(PEER, 'route replace 10.240.1.0/24 via 10.1.1.3');
      },
    ],
    [
      'the underlay is gone and back',
      () => {
        ip(US, 'link delete eth0');
        makeLink();
        routeBack();
      },
    ],
  ])('heals within 5 s when %s', async (_title, fault) => {
    fault();
    await within5s('traffic both ways', bothWays);
    expect(routeToPeer()).toBe('10.240.2.0/24 via 10.1.1.2 dev eth0 proto 80');
  });

  it('goes on carrying packets while its node is killed and starts again', async () => {
    const lost = await lossFromHere(async () => {
      await node.stop('SIGKILL');
      node = startNode({ type: 'host-gw', peers: PEERS });
      await node.ready;
    });
    expect(lost).toBe(0);
  });

  it('removes a route of an earlier run to a peer that is gone', async () => {
    await node.stop('SIGKILL');
    node = startNode({ type: 'host-gw', peers: [] });
    await node.ready;
    expect(routeToPeer()).toBe('');
  });
});

describeWith(['root', 'vxlan'], 'vxlan with DirectRouting', () => {
  let node: TestNode;

  beforeEach(() => {
    makeHosts();
    makeBridges();
  });
  afterEach(async () => {
    await node.stop('SIGKILL');
    removeHosts();
  });

  it('routes plainly to a peer on the link, and through the device when a router is between', async () => {
    makeByHand(PEER, PEER_MAC, { number: 1, mac: macOf('node 1'), endpoint: '10.1.1.1' });
    ip(PEER, 'address add 10.1.1.254/24 dev eth0');
    node = startNode({ type: 'vxlan', direct: true, peers: PEERS });
    await node.ready;
    expect(routeToPeer()).toBe('10.240.2.0/24 via 10.1.1.2 dev eth0 proto 80');
    expect(reaches(US, '10.240.1.1', '10.240.2.1')).toBe(true);
    const lost = await lossFromHere(async () => {
      ip(US, 'route replace 10.1.1.2/32 via 10.1.1.254');
      // Of a route to one host nobody tells it; of another default route it is told, and looks at all again.
      ip(US, 'route replace default via 10.1.1.254');
      await within5s('the other route', () => routeToPeer().includes('dev rudder.1'));
    });
    expect(lost).toBe(0);
    expect(reaches(US, '10.240.1.1', '10.240.2.1')).toBe(true);
  });
});
