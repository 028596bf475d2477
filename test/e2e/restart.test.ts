import { existsSync, readFileSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdctl, startEtcd, stopEtcd } from '../../src/lab/etcd.js';
import { addNode, createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, nodeAddress, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import {
  launchNode,
  logLines,
  nodePaths,
  readSubnetEnv,
  startNode,
  stopNode,
  waitUntilReady,
} from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-restart';
const CONFIG = '{"Network":"10.240.0.0/16"}';

const subnetOf = (lab: LabState, node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET;
const leases = (lab: LabState) =>
  etcdctl(lab, 'get', '--prefix', '--keys-only', '/coreos.com/network/subnets/').then((text) =>
    text.split('\n').filter(Boolean),
  );
const hasDevice = (lab: LabState, node: LabNode) =>
  execIn(lab, nodeName(node), ['ip', 'link', 'show', 'rudder0']).then(
    () => true,
    () => false,
  );
const deviceIndex = async (lab: LabState, node: LabNode) =>
  JSON.parse(await execIn(lab, nodeName(node), ['ip', '-j', 'link', 'show', 'rudder0']))[0].ifindex;
const ended = (node: LabNode, deadline: number) =>
  waitFor('the daemon to end', () => !isRunning(node.process!), deadline);

describeWith(['root', 'tun', 'etcd'], 'a restart', () => {
  let lab: LabState;
  let node: LabNode;

  beforeEach(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: CONFIG });
    node = lab.nodes[0];
  });
  afterEach(() => labDown(NAME));

  it('after kill -9 gets the same subnet, and the device was there all along', async () => {
    await startNode(lab, node);
    const before = subnetOf(lab, node);
    const index = await deviceIndex(lab, node);
    signalProcess(node.process!, 'SIGKILL');
    await ended(node, 5000);
    expect(await hasDevice(lab, node)).toBe(true);
    await startNode(lab, node);
    expect(subnetOf(lab, node)).toBe(before);
    expect(await leases(lab)).toHaveLength(1);
    expect(await deviceIndex(lab, node)).toBe(index);
  });

  it('after a clean stop gets the same subnet; device, route, subnet.env and lease stay meanwhile', async () => {
    await startNode(lab, node);
    const before = subnetOf(lab, node);
    signalProcess(node.process!, 'SIGTERM');
    await ended(node, 1000); // the promise: a clean stop within a second
    expect(await hasDevice(lab, node)).toBe(true);
    expect(await execIn(lab, 'n1', ['ip', 'route'])).toContain('10.240.0.0/16 dev rudder0');
    expect(subnetOf(lab, node)).toBe(before);
    expect(await leases(lab)).toHaveLength(1);
    await startNode(lab, node);
    expect(subnetOf(lab, node)).toBe(before);
  });

  it('without the state directory gets the same subnet, once the lease has shown that nobody refreshes it', async () => {
    await startNode(lab, node);
    const before = subnetOf(lab, node);
    await stopNode(lab, node);
    rmSync(nodePaths(lab, node).stateDir, { recursive: true });
    await startNode(lab, node);
    expect(subnetOf(lab, node)).toBe(before);
    expect(logLines(lab, node).some((line) => /unknown node id, waiting/.test(String(line.msg)))).toBe(true);
    expect(await leases(lab)).toHaveLength(1);
  });

  it('gets the saved subnet when the lease has gone meanwhile', async () => {
    await startNode(lab, node);
    const before = subnetOf(lab, node);
    await stopNode(lab, node);
    await etcdctl(lab, 'del', '--prefix', '/coreos.com/network/subnets/');
    await startNode(lab, node);
    expect(subnetOf(lab, node)).toBe(before);
  });

  it('under a changed config that the lease no longer fits gets another subnet, and one lease', async () => {
    await startNode(lab, node);
    await etcdctl(lab, 'put', '/coreos.com/network/config', '{"Network":"10.99.0.0/16"}');
    await waitFor(
      'the change to be reported',
      () => logLines(lab, node).some((line) => String(line.msg).startsWith('the stored network config is another')),
      5000,
    );
    await stopNode(lab, node);
    await startNode(lab, node);
    expect(subnetOf(lab, node)).toMatch(/^10\.99\.\d+\.1\/24$/);
    expect(await leases(lab)).toHaveLength(1);
    const addresses = await execIn(lab, 'n1', ['ip', '-br', '-4', 'address', 'show', 'rudder0']);
    expect(addresses).toMatch(/10\.99\.\d+\.0\/16\s*$/);
    expect(addresses).not.toContain('10.240');
  });

  it('restores its own lease when it is revoked or deleted', async () => {
    await startNode(lab, node);
    const [key] = await leases(lab);
    await etcdctl(lab, 'del', key);
    await waitFor('the same key to return', async () => (await leases(lab)).includes(key), 5000);
    const id = /"lease":(\d+)/.exec(await etcdctl(lab, 'get', key, '-w', 'json'))![1]; // beyond a JSON number's precision
    await etcdctl(lab, 'lease', 'revoke', BigInt(id).toString(16));
    await waitFor('the same key to return', async () => (await leases(lab)).includes(key), 5000);
    expect(isRunning(node.process!)).toBe(true);
  });

  it('refuses a second living node with the same PublicIP, which takes nothing', { timeout: 90_000 }, async () => {
    await startNode(lab, node);
    const twin = await addNode(lab);
    await launchNode(lab, twin, [`--public-ip=${nodeAddress(lab, node)}`]);
    await ended(twin, 30_000);
    const text = readFileSync(nodePaths(lab, twin).log, 'utf8');
    expect(text).toMatch(
      /^rudder: PublicIP 172\.30\.\d+\.11 is in use: a living node with another node id keeps lease/m,
    );
    expect(await leases(lab)).toHaveLength(1);
    expect(await hasDevice(lab, twin)).toBe(false);
  });

  it('with --cleanup-on-exit leaves nothing behind', async () => {
    await startNode(lab, node, ['--cleanup-on-exit']);
    signalProcess(node.process!, 'SIGTERM');
    await ended(node, 1000);
    expect(await hasDevice(lab, node)).toBe(false);
    expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(false);
    expect(await leases(lab)).toEqual([]);
    expect(await execIn(lab, 'n1', ['ip', 'route'])).not.toContain('10.240');
  });

  it('stopped before it was ready, leaves nothing behind', async () => {
    await etcdctl(lab, 'del', '/coreos.com/network/config');
    await launchNode(lab, node);
    await waitFor(
      'the daemon to wait for the config',
      () => logLines(lab, node).some((line) => String(line.msg).startsWith('waiting for the network config')),
      10_000,
    );
    signalProcess(node.process!, 'SIGINT');
    await ended(node, 1000);
    expect(await hasDevice(lab, node)).toBe(false);
    expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(false);
    expect(await leases(lab)).toEqual([]);
  });

  it('waits for etcd and for the config with one message, and goes on when they come', {
    timeout: 90_000,
  }, async () => {
    await etcdctl(lab, 'del', '/coreos.com/network/config');
    await stopEtcd(lab);
    await launchNode(lab, node);
    const count = (text: string) => logLines(lab, node).filter((line) => String(line.msg).startsWith(text)).length;
    await waitFor('the message', () => count('waiting for etcd') > 0, 10_000);
    await startEtcd(lab);
    await waitFor('the other message', () => count('waiting for the network config') > 0, 10_000);
    expect(
      await execIn(lab, 'n1', [process.execPath, 'dist/cli/main.js', 'init', CONFIG, '--etcd-endpoints', etcdUrl(lab)]),
    ).toContain('created');
    await waitUntilReady(lab, node);
    expect([count('waiting for etcd'), count('waiting for the network config')]).toEqual([1, 1]);
  });
});
