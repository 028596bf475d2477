import { existsSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { containerName, namespaceOf, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';
import { exchange, ping } from './traffic.js';

const NAME = 'test-cni';
const PLUGINS = '/usr/lib/cni';

describeWith(['root', 'tun', 'etcd', 'iptables', 'cni'], 'pods by the plugins bridge and host-local', () => {
  let lab: LabState;
  /** Address of each node's pod. */
  const pods: string[] = [];

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
    for (const node of lab.nodes) {
      await startNode(lab, node, [`--cni-conf=${confOf(node)}`]);
      await execIn(lab, nodeName(node), ['iptables', '-P', 'FORWARD', 'DROP']); // as Docker leaves many hosts
      pods.push(await addPod(node));
    }
  });
  afterAll(() => labDown(NAME));

  const confOf = (node: LabNode) => `${nodePaths(lab, node).directory}/net.d/10-rudder.conflist`;
  const readConf = (node: LabNode) => JSON.parse(readFileSync(confOf(node), 'utf8'));

  /** Calls the plugin as a container runtime does: the config on stdin, the rest in the environment. */
  async function addPod(node: LabNode): Promise<string> {
    const pod = namespaceOf(lab, containerName(node));
    await execa('ip', ['netns', 'add', pod]);
    await waitFor('the configuration to be there', () => existsSync(confOf(node)), 10_000);
    const { plugins, comment: _, ...list } = readConf(node);
    const config = {
      ...list,
      ...plugins[0],
      ipMasq: true, // a trap: it would masquerade what goes to other nodes too
      // Both nodes share this host's files, which the addresses given away are kept in.
      ipam: { ...plugins[0].ipam, dataDir: `${nodePaths(lab, node).directory}/cni` },
    };
    const environment = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: pod,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: PLUGINS,
    };
    const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const command = ['env', ...variables, `${PLUGINS}/bridge`];
    const result = JSON.parse(await execIn(lab, nodeName(node), command, JSON.stringify(config)));
    return result.ips[0].address.split('/')[0];
  }

  const enter = (pod: number) => ['nsenter', `--net=/run/netns/${namespaceOf(lab, `c${pod + 1}`)}`, '--'];

  it('get an address of their node, and the MTU of the tunnel', async () => {
    for (const [i, node] of lab.nodes.entries()) {
      const env = readSubnetEnv(lab, node);
      const subnet = env.RUDDER_SUBNET.replace(/\.1\/24$/, '');
      expect(pods[i]).toBe(`${subnet}.2`); // .1 is the bridge
      const [device] = JSON.parse(await execIn(lab, containerName(node), ['ip', '-j', 'link', 'show', 'eth0']));
      expect(device.mtu).toBe(Number(env.RUDDER_MTU));
    }
  });

  it('reach each other without NAT, although the plugin masquerades and FORWARD drops', async () => {
    expect(await execIn(lab, 'n1', ['iptables-save', '-t', 'nat']), 'the trap is set').toMatch(
      /^-A CNI-.* MASQUERADE/m,
    );
    for (const [from, to] of [
      [0, 1],
      [1, 0],
    ]) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const { received } = await exchange(enter(from), enter(to), protocol, pods[to], 1000);
        expect(received.from, protocol).toBe(pods[from]);
      }
      await ping(lab, `c${from + 1}`, pods[to]);
    }
  });

  it('reach themselves through a service, as kube-proxy marks and masquerades it', async () => {
    const [service, mark] = ['10.96.0.10', '0x4000/0x4000'];
    for (const rule of [
      `nat -A PREROUTING -s ${pods[0]} -d ${service} -j MARK --set-xmark ${mark}`,
      `nat -A PREROUTING -d ${service} -p tcp -j DNAT --to-destination ${pods[0]}`,
      `nat -I POSTROUTING 2 -m mark --mark ${mark} -j MASQUERADE`,
      `filter -A FORWARD -m mark --mark ${mark} -j ACCEPT`,
      'filter -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ]) {
      await execIn(lab, 'n1', ['iptables', '-t', ...rule.split(' ')]);
    }
    const { received } = await exchange(enter(0), enter(0), 'tcp', service, 1000);
    expect(received.from).toBe(pods[0].replace(/\.2$/, '.1'));
  });

  it('are reached from the other node, and reach it', async () => {
    await ping(lab, 'n1', pods[1]);
    const overlay = pods[0].replace(/\.2$/, '.0');
    await ping(lab, 'c2', overlay);
  });

  it('follow another MTU of the underlay, and are taken away by "rudder cleanup" alone', async () => {
    const [node] = lab.nodes;
    await execIn(lab, 'n1', ['ip', 'link', 'set', 'eth0', 'mtu', '1400']);
    await waitFor('the MTU to be followed', () => readConf(node).plugins[0].mtu === 1372, 10_000);
    await stopNode(lab, node);
    expect(existsSync(confOf(node))).toBe(true);
    const { stdout } = await cli(lab, node, 'cleanup', `--cni-conf=${confOf(node)}`);
    expect(stdout).toContain(`removed ${confOf(node)}\n`);
    expect(existsSync(confOf(node))).toBe(false);
  });
});
