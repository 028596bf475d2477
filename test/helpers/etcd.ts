import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { etcdArguments } from '../../src/lab/etcd.js';
import { waitFor } from '../../src/lab/wait-for.js';

const run = promisify(execFile);

/** A real etcd on loopback, with data of its own. */
export interface TestEtcd {
  readonly url: string;
  readonly process: ChildProcess;
  ctl(...args: string[]): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestEtcd(extraArguments: readonly string[] = [], scheme = 'http'): Promise<TestEtcd> {
  const directory = mkdtempSync(join(tmpdir(), 'rudder-etcd-'));
  const [client, peer] = [await freePort(), await freePort()];
  const url = `${scheme}://127.0.0.1:${client}`;
  const args = [...etcdArguments(directory, url, `http://127.0.0.1:${peer}`), ...extraArguments];
  const child = spawn('etcd', args, { stdio: 'ignore' });
  await once(child, 'spawn');

  async function ctl(...command: string[]): Promise<string> {
    const { stdout } = await run('etcdctl', [`--endpoints=${url}`, ...command], {
      env: { ...process.env, ETCDCTL_API: '3' },
    });
    return stdout;
  }
  const answers = () => fetch(`${url}/health`).then((response) => response.ok);
  if (scheme === 'http') await waitFor('the test etcd to answer', answers, 15_000);
  return {
    url,
    process: child,
    ctl,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * One below those that the kernel gives to connections (ip_local_port_range), at random: nobody takes it between its
 * being found free and its being listened on, as tests beside this one would take the kernel's next free one.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + randomInt(22_000);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** SIGSTOP, and the wait until every thread has really stopped: the signal reaches them one after the other. */
export async function freeze({ process: etcd }: Pick<TestEtcd, 'process'>): Promise<void> {
  etcd.kill('SIGSTOP');
  const isStopped = (task: string) => / T /.test(readFileSync(`/proc/${etcd.pid}/task/${task}/stat`, 'utf8'));
  await waitFor('etcd to stop', () => readdirSync(`/proc/${etcd.pid}/task`).every(isStopped), 5000);
}
