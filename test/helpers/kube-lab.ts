import { readFileSync, writeFileSync } from 'node:fs';
import { type FakeKubernetes, startFakeKubernetes } from '../../src/bench/fake-kubernetes.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdAddress, etcdNamespace, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { logLines, readSubnetEnv } from '../../src/lab/nodes.js';
import { endProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { PREFIX } from './kubernetes.js';
import { createPki } from './pki.js';

/** Leads what comes to an address of the lab to the fake, which listens on a socket of the file system. */
const FORWARDER = `require('node:net').createServer((c) => { const u = require('node:net').connect(process.argv[1]);
c.pipe(u).pipe(c); c.on('error', () => u.destroy()); u.on('error', () => c.destroy()); c.on('close', () => u.destroy()); u.on('close', () => c.destroy()); }).listen(6443)`;

export type KubeLab = Awaited<ReturnType<typeof createKubeLab>>;

/** A lab of two nodes with --kube-subnet-mgr, and the fake API server where a lab has its etcd. */
export async function createKubeLab(name: string) {
  const directory = labDirectory(name);
  const netConf = `${directory}/net-conf.json`;
  const settings = [
    '--kube-subnet-mgr=true',
    `--kubeconfig-file=${directory}/kubeconfig`,
    `--net-config-path=${netConf}`,
    '--ip-masq=true',
  ];
  const lab: LabState = await createLab({ name, nodes: 2, daemon: { arguments: settings } });
  const pki = createPki();
  pki.authority('ca');
  pki.certificate('server', 'ca', `IP:${etcdAddress(lab)}`);
  const tls = { key: readFileSync(pki.path('server.key')), cert: readFileSync(pki.path('server.crt')) };
  const fake: FakeKubernetes = await startFakeKubernetes({ tls, at: `${directory}/api.sock` });
  fake.setTokens(['secret']);
  writeFileSync(`${directory}/token`, 'secret');
  writeFileSync(`${directory}/kubeconfig`, kubeconfig(`https://${etcdAddress(lab)}:6443`, pki.path('ca.crt')));
  const command = [process.execPath, '-e', FORWARDER, `${directory}/api.sock`];
  const forwarder = await spawnInNamespace(etcdNamespace(lab), command, `${directory}/forwarder.log`);
  const nodeOf = (node: LabNode) => fake.nodes.get(nodeName(node));
  const kube = {
    lab,
    fake,
    configure: (type: string) =>
      writeFileSync(netConf, JSON.stringify({ Network: '10.244.0.0/16', Backend: { Type: type } })),
    giveSubnet: (node: LabNode, podCIDR?: string) =>
      fake.putNode({
        metadata: { name: nodeName(node) },
        spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
      }),
    conditionOf: (node: LabNode) => nodeOf(node)?.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable'),
    annotation: (node: LabNode, annotation: string) => nodeOf(node)?.metadata.annotations?.[PREFIX + annotation],
    ping: (from: LabNode, to: string) => execIn(lab, `c${from.number}`, ['ping', '-c1', '-W2', to]),
    subnetOf: (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET,
    ready: (node: LabNode) => waitFor('READY', () => logLines(lab, node).some(({ msg }) => msg === 'ready'), 10_000),
    async down(): Promise<void> {
      await endProcess(forwarder, 1000);
      await fake.stop();
      await labDown(name);
      pki.remove();
    },
  };
  kube.configure('vxlan');
  return kube;
}

const kubeconfig = (server: string, ca: string) => `
apiVersion: v1
kind: Config
current-context: lab
clusters: [{ name: lab, cluster: { server: "${server}", certificate-authority: "${ca}" } }]
users: [{ name: node, user: { tokenFile: token } }]
contexts: [{ name: lab, context: { cluster: lab, user: node } }]
`;
