import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf, nodeName } from '../../src/lab/names.js';
import { createContainer, execIn } from '../../src/lab/network.js';
import { addContainer, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { endProcess, type LabProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { reaches, transfer } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-flannel';
const CONFIG = '{"Network":"10.240.0.0/16","Backend":{"Type":"udp","Port":8285}}';
const DEADLINE_MS = 15_000;
const MEGABYTE = 2 ** 20;

/** One node runs Rudder, the other a real flanneld, then Rudder, then flanneld again. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'flanneld'], 'a cluster with flannel', () => {
  let lab: LabState;
  let ours: LabNode;
  let other: LabNode;
  let flanneld: LabProcess | undefined;
  /** What the other node's subnet file says of its subnet: its gateway with the length. */
  let bip: string;

  const envFile = () => `${labDirectory(NAME)}/flannel.env`;
  const flannelSubnet = () => /^FLANNEL_SUBNET=(\S+)$/m.exec(readFileSync(envFile(), 'utf8'))![1];
  const containerOf = (gateway: string) => gateway.replace(/\.1\/24$/, '.2');

  async function startFlannel(): Promise<void> {
    const command = ['flanneld', `-etcd-endpoints=${etcdUrl(lab)}`, '-iface=eth0', `-subnet-file=${envFile()}`];
    flanneld = await spawnInNamespace(namespaceOf(lab, nodeName(other)), command, `${labDirectory(NAME)}/flanneld.log`);
    await waitFor('flanneld to lease a subnet', () => existsSync(envFile()) && flannelSubnet(), DEADLINE_MS);
  }

  /** As docs/migrating-from-flannel.md says. */
  async function removeFlannel(): Promise<void> {
    await endProcess(flanneld!, DEADLINE_MS);
    flanneld = undefined;
    await execIn(lab, nodeName(other), ['sh', '-c', 'ip link delete flannel0 2> /dev/null || true']);
  }

  /** Both ways, all bytes intact, and from the containers' own addresses. */
  async function carry(): Promise<void> {
    const mine = containerOf(readSubnetEnv(lab, ours).RUDDER_SUBNET);
    const theirs = containerOf(bip);
    await waitFor('the containers to reach each other', () => reaches(lab, 'c1', theirs), DEADLINE_MS);
    for (const [from, to, source, target] of [
      ['c1', 'c2', mine, theirs],
      ['c2', 'c1', theirs, mine],
    ]) {
      const tcp = await transfer(lab, 'tcp', from, to, target, 8 * MEGABYTE);
      expect(tcp.received, `TCP from ${from}`).toMatchObject({ bytes: 8 * MEGABYTE, sha256: tcp.sent.sha256 });
      expect(tcp.received.from).toBe(source);
      const udp = await transfer(lab, 'udp', from, to, target, 1400);
      expect(udp.sent.echoed, `UDP from ${from}`).toBe(udp.sent.sha256);
      // The largest packet of the tunnel's MTU, 1472: 28 bytes of it are headers.
      await execIn(lab, from, ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', String(1472 - 28), target]);
    }
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: CONFIG });
    [ours, other] = lab.nodes;
    await startFlannel();
    bip = flannelSubnet();
    await createContainer(lab, other, bip, 1472);
    await startNode(lab, ours);
    await addContainer(lab, ours);
  });
  afterAll(async () => {
    if (flanneld !== undefined) await endProcess(flanneld, DEADLINE_MS);
    await labDown(NAME);
  });

  it('carries TCP, UDP and full-size packets both ways', carry);

  it('carries them when flannel comes back', async () => {
    await removeFlannel();
    await startFlannel();
    expect(flannelSubnet()).toBe(bip);
    await carry();
  });

  it('keeps the subnet when Rudder replaces flannel under a running container', async () => {
    await removeFlannel();
    await startNode(lab, other);
    expect(readSubnetEnv(lab, other).RUDDER_SUBNET).toBe(bip);
    await carry();
  });

  it('keeps it when flannel replaces Rudder again', async () => {
    await stopNode(lab, other);
    await execIn(lab, nodeName(other), ['ip', 'link', 'delete', 'rudder0']);
    await startFlannel();
    expect(flannelSubnet()).toBe(bip);
    await carry();
  });
});
