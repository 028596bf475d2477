import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { createLab, labDown } from '../../../src/lab/lab.js';
import { etcdAddress, etcdUrl, namespaceOf, nodeAddress } from '../../../src/lab/names.js';
import { type LabProcess, spawnInNamespace } from '../../../src/lab/process.js';
import { type LabState, labDirectory } from '../../../src/lab/state.js';
import { waitFor } from '../../../src/lab/wait-for.js';
import { imageFile } from '../../e2e/docker.js';
import { type Machine, startMachine } from './node.js';
import { kubernetesPrograms } from './programs.js';

/**
 * A whole real Kubernetes 1.20 in a lab: etcd, API server, controller manager and scheduler in the namespace "etcd", and for
 * each node a machine with Docker, kubelet and kube-proxy. Its pod network is what a test is about.
 */
export interface Cluster {
  readonly lab: LabState;
  readonly nodes: readonly KubeNode[];
  readonly apiUrl: string;
  /** @throws with what it printed if it fails */
  kubectl(...args: string[]): Promise<string>;
  /** `kubectl apply` of a text. */
  apply(text: string, ...args: string[]): Promise<string>;
  down(): Promise<void>;
}

export interface KubeNode extends Machine {
  readonly address: string;
  docker(...args: string[]): Promise<string>;
  /** Gives the node's engine an image. @param more of `docker import` */
  importImage(file: string, name: string, ...more: string[]): Promise<void>;
}

export const POD_NETWORK = '10.244.0.0/16';
const SERVICES = '10.101.0.0/16';
const API_PORT = 6443;
const START_DEADLINE_MS = 90_000;

/** The part without nodes, which is all that a membership needs. */
export async function startControlPlane(name: string, nodes: number): Promise<Cluster> {
  const programs = await kubernetesPrograms();
  const lab = await createLab({ name, nodes });
  const directory = `${labDirectory(name)}/kubernetes`;
  mkdirSync(directory, { recursive: true });
  const apiUrl = `https://${etcdAddress(lab)}:${API_PORT}`;
  await makeKeys(directory);
  await startApiServer(lab, programs, directory);

  async function kubectlWith(input: string, args: string[]): Promise<string> {
    const enter = [`--net=/run/netns/${namespaceOf(lab, 'etcd')}`, '--', `${programs}/kubectl`];
    const options = { all: true, reject: false, input, env: { KUBECONFIG: `${directory}/admin.kubeconfig` } } as const;
    const result = await execa('nsenter', [...enter, ...args], options);
    if (result.exitCode === 0) return result.stdout;
    throw new Error(`"kubectl ${args.join(' ')}" failed: ${result.all}`);
  }

  const kubectl = (...args: string[]) => kubectlWith('', args);
  writeKubeconfig(directory, apiUrl, 'admin');
  await waitFor('the API server to answer', () => kubectl('get', '--raw', '/readyz'), START_DEADLINE_MS);
  return {
    lab,
    nodes: [],
    apiUrl,
    kubectl,
    apply: (text, ...args) => kubectlWith(text, ['apply', '-f', '-', ...args]),
    down: () => labDown(name),
  };
}

/** All of it, with nodes that wait for a pod network. */
export async function startCluster(name: string, count: number): Promise<Cluster> {
  const plane = await startControlPlane(name, count);
  try {
    const { lab } = plane;
    const programs = await kubernetesPrograms();
    const directory = `${labDirectory(name)}/kubernetes`;
    await startControllers(lab, programs, directory);
    const image = await imageFile(directory);
    await execa('tar', ['-C', programs, '-cf', `${directory}/pause.tar`, 'pause']);
    const nodes: KubeNode[] = [];
    for (const node of lab.nodes) {
      const machine = await startMachine(lab, node);
      const started = await startKubeNode(plane, machine, nodeAddress(lab, node), programs, directory);
      await started.importImage(`${directory}/pause.tar`, 'pause:lab', '--change', 'ENTRYPOINT ["/pause"]');
      await started.importImage(image, 'busybox:lab');
      nodes.push(started);
    }
    const registered = async () => (await plane.kubectl('get', 'nodes', '-o', 'name')).split('\n').length === count;
    await waitFor('all nodes to be registered', registered, START_DEADLINE_MS);
    const down = async () => {
      await Promise.all(nodes.map((node) => node.stop()));
      await plane.down();
    };
    return { ...plane, nodes, down };
  } catch (error) {
    await plane.down();
    throw error;
  }
}

/** Who may do what: a static token each, in the groups that RBAC knows. */
const USERS: Record<string, { user: string; group: string }> = {
  admin: { user: 'admin', group: 'system:masters' },
  'kube-proxy': { user: 'system:kube-proxy', group: 'system:authenticated' },
};
const userOf = (name: string) => USERS[name] ?? { user: `system:node:${name}`, group: 'system:nodes' };
const tokenOf = (name: string) => `token-of-${name}`;

async function makeKeys(directory: string): Promise<void> {
  await execa('openssl', ['genrsa', '-out', `${directory}/sa.key`, '2048']);
  await execa('openssl', ['rsa', '-in', `${directory}/sa.key`, '-pubout', '-out', `${directory}/sa.pub`]);
}

async function startApiServer(lab: LabState, programs: string, directory: string): Promise<LabProcess> {
  const names = [...Object.keys(USERS), ...lab.nodes.map(({ number }) => `n${number}`)];
  const lines = names.map((name) => [tokenOf(name), userOf(name).user, name, `"${userOf(name).group}"`].join(','));
  writeFileSync(`${directory}/tokens.csv`, `${lines.join('\n')}\n`, { mode: 0o600 });
  const started = await spawnInNamespace(
    namespaceOf(lab, 'etcd'),
    [
      `${programs}/kube-apiserver`,
      `--etcd-servers=${etcdUrl(lab)}`,
      `--advertise-address=${etcdAddress(lab)}`,
      `--bind-address=${etcdAddress(lab)}`,
      `--secure-port=${API_PORT}`,
      '--insecure-port=0',
      `--cert-dir=${directory}/pki`,
      `--service-cluster-ip-range=${SERVICES}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${directory}/sa.pub`,
      `--service-account-signing-key-file=${directory}/sa.key`,
      '--authorization-mode=Node,RBAC',
      `--token-auth-file=${directory}/tokens.csv`,
      '--allow-privileged=true',
      '--kubelet-preferred-address-types=InternalIP',
    ],
    `${directory}/apiserver.log`,
  );
  await waitFor('the API server to have a certificate', () => existsSync(caOf(directory)), START_DEADLINE_MS);
  return started;
}

/** It signs its own, and hands the CA out in the same file. */
const caOf = (directory: string) => `${directory}/pki/apiserver.crt`;

/** @returns the file. JSON is YAML. */
function writeKubeconfig(directory: string, apiUrl: string, name: string): string {
  const file = `${directory}/${name}.kubeconfig`;
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server: apiUrl, 'certificate-authority': caOf(directory) } }],
    users: [{ name, user: { token: tokenOf(name) } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: name } }],
    'current-context': 'lab',
  };
  writeFileSync(file, JSON.stringify(config, null, 2), { mode: 0o600 });
  return file;
}

async function startControllers(lab: LabState, programs: string, directory: string): Promise<void> {
  const common = [`--kubeconfig=${directory}/admin.kubeconfig`, '--leader-elect=false', '--bind-address=127.0.0.1'];
  const manager = [
    '--allocate-node-cidrs=true',
    `--cluster-cidr=${POD_NETWORK}`,
    `--service-cluster-ip-range=${SERVICES}`,
    `--service-account-private-key-file=${directory}/sa.key`,
    `--root-ca-file=${caOf(directory)}`,
    `--cert-dir=${directory}/pki-manager`,
    '--use-service-account-credentials=true',
  ];
  const namespace = namespaceOf(lab, 'etcd');
  const start = (name: string, more: string[]) =>
    spawnInNamespace(namespace, [`${programs}/${name}`, ...common, ...more], `${directory}/${name}.log`);
  await start('kube-controller-manager', manager);
  await start('kube-scheduler', []);
}

async function startKubeNode(
  { apiUrl }: Cluster,
  machine: Machine,
  address: string,
  programs: string,
  directory: string,
): Promise<KubeNode> {
  const { name } = machine;
  const socket = `unix://${machine.directory}/docker.sock`;
  machine.start(
    'dockerd',
    'dockerd',
    `--data-root=${machine.directory}/docker`,
    `--exec-root=${machine.directory}/docker-run`,
    `--pidfile=${machine.directory}/docker.pid`,
    `--host=${socket}`,
    '--bridge=none',
    '--iptables=false',
    '--ip-forward=false',
    '--exec-opt=native.cgroupdriver=cgroupfs',
    `--add-runtime=lab=${writeRuntime(machine.directory)}`,
    '--default-runtime=lab',
  );
  const docker = (...args: string[]) => machine.run('docker', '-H', socket, ...args);
  await waitFor(`docker on ${name} to answer`, () => docker('version'), START_DEADLINE_MS);
  const kubelet = [
    `--kubeconfig=${writeKubeconfig(directory, apiUrl, name)}`,
    `--hostname-override=${name}`,
    `--node-ip=${address}`,
    '--network-plugin=cni',
    '--cni-conf-dir=/etc/cni/net.d',
    '--cni-bin-dir=/usr/lib/cni',
    `--docker-endpoint=${socket}`,
    '--pod-infra-container-image=pause:lab',
    '--cgroup-driver=cgroupfs',
    '--cgroups-per-qos=false',
    '--enforce-node-allocatable=',
    '--eviction-hard=',
    '--fail-swap-on=false',
    '--authorization-mode=AlwaysAllow',
    '--anonymous-auth=true',
    '--node-status-update-frequency=2s',
    '--sync-frequency=5s',
    '--oom-score-adj=0',
  ];
  machine.start('kubelet', `${programs}/kubelet`, ...kubelet);
  const proxy = [
    `--kubeconfig=${writeKubeconfig(directory, apiUrl, 'kube-proxy')}`,
    `--hostname-override=${name}`,
    `--cluster-cidr=${POD_NETWORK}`,
    '--proxy-mode=iptables',
    '--oom-score-adj=0',
    // These are the host's, which a namespace may not change.
    '--conntrack-max-per-core=0',
    '--conntrack-tcp-timeout-established=0',
    '--conntrack-tcp-timeout-close-wait=0',
  ];
  machine.start('kube-proxy', `${programs}/kube-proxy`, ...proxy);
  const importImage = async (file: string, image: string, ...more: string[]) =>
    void (await docker('import', ...more, file, image));
  return { ...machine, address, docker, importImage };
}

/**
 * Where root lacks CAP_SYS_RESOURCE, as in many a sandbox, runc can neither set the kubelet's negative oom_score_adj ("can't
 * get final child's PID") nor give a privileged container all capabilities: so it is asked for neither.
 */
function writeRuntime(directory: string): string {
  const script = `#!/bin/sh
for word; do
  [ "$before" != --bundle ] || sed -i -e 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' -e 's/"CAP_SYS_RESOURCE",//g' "$word/config.json"
  before=$word
done
exec runc "$@"
`;
  writeFileSync(`${directory}/runtime`, script, { mode: 0o755 });
  return `${directory}/runtime`;
}
