import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { labDirectory } from '../../../src/lab/state.js';
import type { Cluster, KubeNode } from './cluster.js';

/**
 * A node as flannel's vxlan leaves it when it ends: device, entries for the other nodes and rules stay, the Node has its
 * annotations, and the list of CNI plugins is flannel's. There is no flannel that could be built here.
 */

const PREFIX = 'flannel.alpha.coreos.com';
const MAC = '0e:11:22:33:44:55';
const CNI_CONF = '/etc/cni/net.d/10-flannel.conflist';
const CONF = {
  name: 'cbr0',
  cniVersion: '0.3.1',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};
const RUDDER = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));

interface NodeObject {
  readonly metadata: { readonly name: string; readonly annotations: Record<string, string> };
  readonly spec: { readonly podCIDR: string };
}

/** @returns the MAC of its device. @param node one that no daemon runs on */
export async function leaveAsFlannel(cluster: Cluster, node: KubeNode): Promise<string> {
  const { items } = JSON.parse(await cluster.kubectl('get', 'nodes', '-o', 'json')) as { items: NodeObject[] };
  const kubeconfig = `${labDirectory(cluster.lab.name)}/kubernetes/admin.kubeconfig`;
  const store = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--node-name=${node.name}`];
  const conf = '--cni-conf=/etc/cni/net.d/10-rudder.conflist';
  await node.run(process.execPath, RUDDER, 'cleanup', ...store, conf);

  const subnetOf = ({ spec }: NodeObject) => spec.podCIDR.split('/')[0];
  const own = items.find(({ metadata }) => metadata.name === node.name)!;
  const lines = [
    `link add flannel.1 address ${MAC} mtu 1450 type vxlan id 1 local ${node.address} dev eth0 dstport 8472 nolearning`,
    `address add ${subnetOf(own)}/32 dev flannel.1`,
    'link set flannel.1 up',
  ];
  const entries: string[] = [];
  for (const peer of items.filter((one) => one !== own)) {
    const { annotations } = peer.metadata;
    const { VtepMAC } = JSON.parse(annotations[`${PREFIX}/backend-data`]) as { VtepMAC: string };
    lines.push(`neigh replace ${subnetOf(peer)} lladdr ${VtepMAC} dev flannel.1 nud permanent`);
    lines.push(`route replace ${peer.spec.podCIDR} via ${subnetOf(peer)} dev flannel.1 onlink`);
    entries.push(
      `bridge fdb replace ${VtepMAC} dev flannel.1 self permanent dst ${annotations[`${PREFIX}/public-ip`]}`,
    );
  }
  for (const line of lines) await node.run('ip', ...line.split(' '));
  for (const entry of entries) await node.run(...entry.split(' '));
  for (const way of ['-s', '-d']) {
    await node.run('iptables', '-A', 'FORWARD', way, '10.244.0.0/16', '-j', 'ACCEPT');
  }
  writeFileSync(`${node.directory}/conf`, JSON.stringify(CONF));
  await node.run('cp', `${node.directory}/conf`, CNI_CONF);
  await cluster.kubectl(
    ...['annotate', '--overwrite', 'node', node.name],
    `${PREFIX}/kube-subnet-manager=true`,
    `${PREFIX}/backend-type=vxlan`,
    `${PREFIX}/backend-data={"VNI":1,"VtepMAC":"${MAC}"}`,
    `${PREFIX}/public-ip=${node.address}`,
  );
  return MAC;
}
