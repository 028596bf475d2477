import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './etcd.js';

/** Members of one real etcd cluster on loopback. */
export interface TestCluster {
  readonly urls: readonly string[];
  readonly processes: readonly ChildProcess[];
  /** One more, which knows how to join what etcdctl has been told of. @returns its client URL */
  join(name: string, peerUrl: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestCluster(size: number): Promise<TestCluster> {
  const directory = mkdtempSync(join(tmpdir(), 'rudder-cluster-'));
  const peers = await Promise.all(Array.from({ length: size }, loopbackUrl));
  const clusterOf = (urls: readonly string[]) => urls.map((url, i) => `m${i}=${url}`);
  const processes: ChildProcess[] = [];

  async function start(name: string, peerUrl: string, cluster: readonly string[], state: string): Promise<string> {
    const url = await loopbackUrl();
    const args = [
      `--name=${name}`,
      `--data-dir=${join(directory, name)}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=${cluster.join(',')}`,
      `--initial-cluster-state=${state}`,
      '--log-level=error',
      '--logger=zap',
    ];
    processes.push(spawn('etcd', args, { stdio: 'ignore' }));
    return url;
  }

  const urls: string[] = [];
  for (const [i, peer] of peers.entries()) urls.push(await start(`m${i}`, peer, clusterOf(peers), 'new'));
  return {
    urls,
    processes,
    join: (name, peerUrl) => start(name, peerUrl, [...clusterOf(peers), `${name}=${peerUrl}`], 'existing'),
    async stop() {
      for (const child of processes) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const loopbackUrl = async (): Promise<string> => `http://127.0.0.1:${await freePort()}`;
