import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, DEFAULT_CONFIG, labDown } from '../../src/lab/lab.js';
import { containerName, namespaceOf, nodeName } from '../../src/lab/names.js';
import { nodePaths, readSubnetEnv, startNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { transfer } from './traffic.js';

const NAME = 'test-cni';
const PLUGINS = '/usr/lib/cni';

/** What docs/kubernetes.md says, as it stands there. */
function documentedLines(): string {
  const page = readFileSync(new URL('../../docs/kubernetes.md', import.meta.url), 'utf8');
  return /```sh\n([\s\S]*?)```/.exec(page)![1];
}

describeWith(['root', 'tun', 'etcd', 'cni'], 'pods by the plugins bridge and host-local', () => {
  let lab: LabState;
  const attached: [LabNode, string][] = [];

  /** The plugin, called as a container runtime does. @param input one plugin's part of the list */
  async function plugin(node: LabNode, command: 'ADD' | 'DEL', input: string): Promise<string> {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `${NAME}-${node.number}`,
      CNI_NETNS: `/run/netns/${namespaceOf(lab, containerName(node))}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: PLUGINS,
    };
    const enter = [`--net=/run/netns/${namespaceOf(lab, nodeName(node))}`, '--'];
    const { stdout } = await execa('nsenter', [...enter, `${PLUGINS}/bridge`], { env, input });
    return stdout;
  }

  /** @returns the pod's address */
  async function addPod(node: LabNode): Promise<string> {
    const { directory, subnetFile } = nodePaths(lab, node);
    mkdirSync(`${directory}/net.d`, { recursive: true });
    const lines = documentedLines().replace('/run/rudder/subnet.env', subnetFile).replace('/etc/cni', directory);
    await execa('sh', ['-ec', lines]);
    const list = JSON.parse(readFileSync(`${directory}/net.d/10-rudder.conflist`, 'utf8'));
    const [bridge] = list.plugins;
    // Both nodes share this host's files, which the addresses given away are kept in.
    const ipam = { ...bridge.ipam, dataDir: `${directory}/cni` };
    const input = JSON.stringify({ cniVersion: list.cniVersion, name: list.name, ...bridge, ipam });
    writeFileSync(`${directory}/bridge.json`, input);
    await execa('ip', ['netns', 'add', namespaceOf(lab, containerName(node))]);
    const result = JSON.parse(await plugin(node, 'ADD', input));
    attached.push([node, input]);
    return result.ips[0].address.split('/')[0];
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: DEFAULT_CONFIG });
    for (const node of lab.nodes) await startNode(lab, node);
  });
  afterAll(async () => {
    for (const [node, input] of attached) await plugin(node, 'DEL', input);
    await labDown(NAME);
  });

  it('a pod reaches a pod on another node, which sees its own address', async () => {
    const [first, second] = lab.nodes;
    const from = await addPod(first);
    const to = await addPod(second);
    expect(from.replace(/\.\d+$/, '.1/24')).toBe(readSubnetEnv(lab, first).RUDDER_SUBNET);
    const { sent, received } = await transfer(lab, 'tcp', 'c1', 'c2', to, 1_000_000);
    expect(received).toMatchObject({ bytes: 1_000_000, sha256: sent.sha256, from });
  });
});
