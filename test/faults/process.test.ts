import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown, labUp } from '../../src/lab/lab.js';
import { nodeName } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import { launchNode, logLines, logText, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli } from '../e2e/cli.js';
import { transfer } from '../e2e/traffic.js';
import { SHARED_CONFIG } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-process';
const KEYS = '/coreos.com/network/subnets/';

/** Holds one thread of a process by ptrace(2), and no other, until stdin ends. */
const HOLD = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
tid = int(sys.argv[1])
if libc.ptrace(16, tid, 0, 0) != 0: sys.exit(os.strerror(ctypes.get_errno())) # PTRACE_ATTACH
os.waitpid(tid, 0x40000000) # __WALL
print("held", flush=True)
sys.stdin.read() # the end of the tracer lets go
`;

/** The packet path is the one thread that sleeps in poll(2) or ppoll(2); the others wait by epoll and futex. */
function workerThread(node: LabNode): string | undefined {
  const tasks = `/proc/${node.process!.pid}/task`;
  return readdirSync(tasks).find((tid) => /^(7|73|271) /.test(readFileSync(`${tasks}/${tid}/syscall`, 'utf8')));
}

describeWith(['root', 'tun', 'etcd', 'python3'], 'the daemon itself', () => {
  let lab: LabState;
  let mounted: string | undefined;
  const said = (node: LabNode, text: RegExp) => logLines(lab, node).some((line) => text.test(String(line.msg)));
  const ended = (node: LabNode, deadlineMs: number) =>
    waitFor('the daemon to end', () => !isRunning(node.process!), deadlineMs);
  const leases = async () => (await etcdctl(lab, 'get', '--prefix', '--keys-only', KEYS)).trim();
  const hasDevice = (node: LabNode) =>
    execIn(lab, nodeName(node), ['ip', 'link', 'show', 'rudder0']).then(
      () => true,
      () => false,
    );

  afterEach(async () => {
    if (mounted !== undefined) await execa('umount', ['--lazy', mounted]);
    mounted = undefined;
    await labDown(NAME);
  });

  it('killed and started again: an established TCP flow survives, and packets flow at once', async () => {
    lab = await labUp({ name: NAME, nodes: 2 });
    const node = lab.nodes[1];
    const address = containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET);
    const stream = await startStream(lab, 'c1', address);
    let isOver = false;
    const flow = transfer(lab, 'tcp', 'c1', 'c2', address, 4e9).finally(() => {
      isOver = true;
    });
    await stream.flows(5000);
    for (let kills = 0; kills < 2; kills++) {
      expect(isOver).toBe(false); // there is a flow to break
      signalProcess(node.process!, 'SIGKILL');
      await ended(node, 5000);
      await startNode(lab, node);
      await stream.flows(1000);
    }
    const { sent, received } = await flow;
    expect(received.sha256).toBe(sent.sha256);
    await stream.stop();
  });

  it('whose device is another one now, and not to be had: ends within a second, not as if all were well', async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: SHARED_CONFIG });
    const [node] = lab.nodes;
    await startNode(lab, node);
    // Not a race for the name.
    signalProcess(node.process!, 'SIGSTOP');
    await execIn(lab, 'n1', ['sh', '-c', 'ip link delete rudder0; ip link add rudder0 type bridge']);
    signalProcess(node.process!, 'SIGCONT');
    await ended(node, 1000);
    expect(logText(lab, node)).toMatch(/the packet path died/);
  });

  it('whose packet path hangs: is not ready and not alive within 15 s, and is both again when it runs', async () => {
    lab = await createLab({
      name: NAME,
      nodes: 1,
      config: SHARED_CONFIG,
      daemon: { arguments: ['--healthz-port=9478'] },
    });
    const [node] = lab.nodes;
    await startNode(lab, node);
    const health = async (path: string) => {
      const ask = `fetch('http://127.0.0.1:9478${path}').then((r) => process.stdout.write(String(r.status)))`;
      return Number(await execIn(lab, 'n1', [process.execPath, '-e', ask]));
    };
    const both = async (code: number) => (await health('/readyz')) === code && (await health('/healthz')) === code;
    await waitFor('it to be well', () => both(200), 15_000);
    const tid = await waitFor('the packet path to sleep', () => workerThread(node), 5000);
    const holder = spawn('python3', ['-c', HOLD, tid], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    await waitFor('the hang to be told', () => both(503), 15_000);
    expect((await cli(lab, node, 'status')).stdout).toMatch(/^ready +no: the packet path has not run for \d+ s/m);
    holder.stdin.end();
    await waitFor('it to be well again', () => both(200), 15_000);
  });

  it('with a full disk runs on and truncates nothing', async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: SHARED_CONFIG });
    const [node] = lab.nodes;
    const { stateDir } = nodePaths(lab, node);
    mkdirSync(stateDir, { recursive: true });
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', stateDir]);
    mounted = stateDir;
    await startNode(lab, node);
    await waitFor('the first save', () => existsSync(`${stateDir}/last-known.json`), 10_000);
    await execa('dd', ['if=/dev/zero', `of=${stateDir}/filler`, 'bs=4k'], { reject: false });
    await etcdctl(lab, 'put', `${KEYS}10.240.255.0-24`, '{"PublicIP":"10.9.9.9"}');
    await waitFor('the failure to be told', () => said(node, /cannot be saved/), 15_000);
    expect(isRunning(node.process!)).toBe(true);
    for (const file of ['state.json', 'last-known.json']) JSON.parse(readFileSync(`${stateDir}/${file}`, 'utf8'));
    // A node that cannot remember its id could not claim its lease after the next start: it says so and does not begin.
    await stopNode(lab, node);
    await launchNode(lab, node);
    await ended(node, 10_000);
    expect(logText(lab, node)).toMatch(/cannot write the state file .*ENOSPC/);
    JSON.parse(readFileSync(`${stateDir}/state.json`, 'utf8'));
  });

  it('stopped at any moment of its start: before READY it leaves nothing behind, after it what a restart needs', async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: SHARED_CONFIG });
    const [node] = lab.nodes;
    const outcomes = new Set<boolean>();
    for (let ms = 0; ms <= 1800; ms += 120) {
      await launchNode(lab, node);
      await delay(ms); // the moment is what is tried here
      signalProcess(node.process!, 'SIGTERM');
      await ended(node, 3000);
      const wasReady = said(node, /^ready/);
      outcomes.add(wasReady);
      expect([ms, wasReady, await hasDevice(node)]).toEqual([ms, wasReady, wasReady]);
      expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(wasReady);
      expect((await leases()) !== '').toBe(wasReady);
      // Nothing of this round is left for the next.
      if (wasReady) await execIn(lab, 'n1', ['ip', 'link', 'delete', 'rudder0']);
      await etcdctl(lab, 'del', '--prefix', KEYS);
      await execa('rm', ['-rf', nodePaths(lab, node).subnetFile, nodePaths(lab, node).stateDir]);
    }
    expect([...outcomes].sort()).toEqual([false, true]);
  });
});
