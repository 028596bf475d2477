import { mkdirSync } from 'node:fs';
import { etcdAddress, etcdNamespace, etcdUrl } from './names.js';
import { execIn } from './network.js';
import { endProcess, spawnInNamespace } from './process.js';
import { type LabState, labDirectory, saveLab } from './state.js';
import { waitFor } from './wait-for.js';

const START_DEADLINE_MS = 20_000;
const STOP_GRACE_MS = 5000;

/** The etcd binary's arguments for a single member. */
export function etcdArguments(directory: string, clientUrl: string, peerUrl: string): string[] {
  return [
    '--name=lab',
    `--data-dir=${directory}`,
    `--listen-client-urls=${clientUrl}`,
    `--advertise-client-urls=${clientUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=lab=${peerUrl}`,
    '--log-level=warn',
    '--logger=zap',
  ];
}

/** Starts etcd, or starts it again with the data it has. */
export async function startEtcd(lab: LabState): Promise<void> {
  const directory = `${labDirectory(lab.name)}/etcd`;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const command = ['etcd', ...etcdArguments(directory, etcdUrl(lab), `http://${etcdAddress(lab)}:2380`)];
  lab.etcd = await spawnInNamespace(etcdNamespace(lab), command, `${labDirectory(lab.name)}/etcd.log`);
  saveLab(lab);
  await waitFor('etcd to answer', () => etcdctl(lab, 'endpoint', 'health').then(() => true), START_DEADLINE_MS);
}

export async function stopEtcd(lab: LabState): Promise<void> {
  if (lab.etcd !== undefined) await endProcess(lab.etcd, STOP_GRACE_MS);
  lab.etcd = undefined;
  saveLab(lab);
}

/** Runs etcdctl (v3 API) against the lab's etcd and returns its output. */
export async function etcdctl(lab: LabState, ...args: string[]): Promise<string> {
  const member = lab.underlay === 'veth' ? 'n1' : 'etcd';
  return execIn(lab, member, [
    'env',
    'ETCDCTL_API=3',
    'etcdctl',
    `--endpoints=${etcdUrl(lab)}`,
    '--command-timeout=5s',
    ...args,
  ]);
}
