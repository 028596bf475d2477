import { spawn } from 'node:child_process';
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
  PEER,
  PEER_MAC,
  PEERS,
  removeHosts,
  run,
  startNode,
  type TestNode,
  US,
  within5s,
} from './namespaces.js';

const FLANNELS_MAC = '0e:00:00:00:00:01';
const OUR_MAC = macOf('node 1');
const devices = () =>
  (JSON.parse(run(US, 'ip', '-j', 'link', 'show', 'type', 'vxlan')) as { ifname?: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => name !== undefined);
const VXLAN = { type: 'vxlan', peers: PEERS };

describeWith(['root', 'vxlan', 'python3'], 'what a VXLAN device finds when it is opened', () => {
  let node: TestNode;

  beforeEach(() => {
    makeHosts();
    makeBridges();
  });
  afterEach(async () => {
    await node.stop('SIGKILL');
    removeHosts();
  });

  const flannelHere = () => makeByHand(US, FLANNELS_MAC, { number: 2, mac: PEER_MAC, endpoint: '10.1.1.2' });
  const peerOf = (mac: string) => makeByHand(PEER, PEER_MAC, { number: 1, mac, endpoint: '10.1.1.1' });

  it('takes over what flannel left without a lost packet, keeps its MAC and removes stale entries', async () => {
    flannelHere();
    peerOf(FLANNELS_MAC);
    ip(US, 'neigh replace 10.240.9.0 lladdr 0e:00:00:00:00:09 dev flannel.1 nud permanent');
    run(US, 'bridge', 'fdb', 'replace', '0e:00:00:00:00:09', 'dev', 'flannel.1', 'dst', '10.1.1.9');
    ip(US, 'route replace 10.240.9.0/24 via 10.240.9.0 dev flannel.1 onlink');
    const lost = await lossFromHere(async () => {
      node = startNode(VXLAN);
      await node.ready;
    });
    expect(lost).toBe(0);
    expect(devices()).toEqual(['flannel.1']);
    expect(await node.ready).toMatchObject({ device: 'flannel.1', mac: FLANNELS_MAC });
    expect((await node.ready).found).toBe('with 3 entries that nobody wants');
    expect(bothWays()).toBe(true);
    expect(ip(US, 'route show 10.240.0.0/16')).not.toContain('10.240.9');
    // A MAC that was published stays, also when the device has to be made anew.
    ip(US, 'link delete flannel.1');
    await within5s('traffic', bothWays);
    expect(ip(US, 'link show flannel.1')).toContain(FLANNELS_MAC);
  });

  it('takes it over with another local address, which is changed in place', async () => {
    flannelHere();
    peerOf(FLANNELS_MAC);
    ip(US, 'link set flannel.1 type vxlan id 1 local 10.1.1.77 dev eth0');
    node = startNode(VXLAN);
    expect(await node.ready).toMatchObject({ device: 'flannel.1', mac: FLANNELS_MAC });
    expect(bothWays()).toBe(true);
  });

  it.each([
    ['another port', 'link add flannel.1 type vxlan id 1 local 10.1.1.1 dev eth0 dstport 4789 nolearning'],
    ['GBP', 'link add flannel.1 type vxlan id 1 local 10.1.1.1 dev eth0 dstport 8472 nolearning gbp'],
    ['a multicast group', 'link add flannel.1 type vxlan id 1 group 239.1.1.1 dev eth0 dstport 8472'],
  ])('replaces one with %s: there is never a second one', async (_what, line) => {
    ip(US, line);
    ip(US, 'link set flannel.1 up');
    peerOf(OUR_MAC);
    node = startNode(VXLAN);
    expect(await node.ready).toMatchObject({ device: 'rudder.1', mac: OUR_MAC });
    expect(devices()).toEqual(['rudder.1']);
    expect(bothWays()).toBe(true);
  });

  it('removes our device of another VNI, and leaves that of somebody else', async () => {
    ip(US, 'link add rudder.7 type vxlan id 7 dstport 8472');
    run(US, 'ip', 'link', 'set', 'rudder.7', 'alias', 'rudder overlay');
    ip(US, 'link add vxlan.calico type vxlan id 4096 dstport 4789');
    node = startNode(VXLAN);
    await node.ready;
    expect(devices().sort()).toEqual(['rudder.1', 'vxlan.calico']);
  });

  it("removes what flannel left of another VNI of this cluster, and leaves another network's", async () => {
    ip(US, 'link add flannel.5 type vxlan id 5 local 10.1.1.1 dev eth0 dstport 8472 nolearning');
    ip(US, 'address add 10.240.1.0/32 dev flannel.5');
    ip(US, 'link set flannel.5 up');
    ip(US, 'route add 10.240.2.0/24 via 10.240.2.0 dev flannel.5 onlink');
    ip(US, 'link add flannel.6 type vxlan id 6 local 10.1.1.1 dev eth0 dstport 8472 nolearning');
    ip(US, 'address add 10.99.1.0/32 dev flannel.6');
    peerOf(OUR_MAC);
    node = startNode(VXLAN);
    expect(await node.ready).toMatchObject({ device: 'rudder.1' });
    expect(devices().sort()).toEqual(['flannel.6', 'rudder.1']);
    expect(bothWays()).toBe(true);
  });

  it('says which device has the VNI and port already', async () => {
    ip(US, 'link add theirs type vxlan id 1 dstport 8472');
    node = startNode(VXLAN);
    await expect(node.ready).rejects.toThrow('VXLAN device theirs has VNI 1 and port 8472 already');
  });

  it('says that a link of another kind has the name', async () => {
    ip(US, 'link add rudder.1 type bridge');
    node = startNode(VXLAN);
    await expect(node.ready).rejects.toThrow('an interface named rudder.1 exists already');
  });

  it('says that a program has the port', async () => {
    const program =
      'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 8472)); print("bound", flush=True); input()';
    const holder = spawn('ip', ['netns', 'exec', US, 'python3', '-c', program]);
    try {
      await new Promise((resolve) => holder.stdout.once('data', resolve));
      node = startNode(VXLAN);
      await expect(node.ready).rejects.toThrow('cannot bring up rudder.1: UDP port 8472 is taken');
      expect(node.lines.at(-1)).toMatchObject({ code: 'socket' });
    } finally {
      holder.kill('SIGKILL');
    }
  });
});
