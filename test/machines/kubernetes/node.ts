import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { namespaceOf, nodeName } from '../../../src/lab/names.js';
import { type LabNode, type LabState, labDirectory } from '../../../src/lab/state.js';
import { waitFor } from '../../../src/lab/wait-for.js';

/**
 * A lab's node as a machine to run containers on: beside its network namespace it has its own processes, which all end with
 * the first of them, and its own /etc, /var and /run on top of this host's, so that what is there by a fixed name, such as
 * /etc/cni/net.d or the kubelet's socket, is the node's.
 */
export interface Machine {
  readonly name: string;
  /** What this host knows as the node's /. */
  readonly directory: string;
  /** Runs a command inside. @throws with its output if it fails */
  run(...command: string[]): Promise<string>;
  /** Starts a command inside that goes on; its output is in `<directory>/<name>.log`. */
  start(name: string, ...command: string[]): ChildProcess;
  read(path: string): Promise<string>;
  /** Ends all of its processes, and removes what they have left in files. */
  stop(): Promise<void>;
}

const OWN_DIRECTORIES = `
set -e
d=$0
for own in etc var; do
  mkdir -p $d/$own $d/work-$own
  mount -t overlay overlay -o lowerdir=/$own,upperdir=$d/$own,workdir=$d/work-$own /$own
done
mkdir -p $d/run/netns $d/run/rudder-lab $d/run/lock
mount --rbind /run/netns $d/run/netns
mount --rbind /run/rudder-lab $d/run/rudder-lab
mount --rbind $d/run /run
exec sleep infinity`;

export async function startMachine(lab: LabState, node: LabNode): Promise<Machine> {
  const name = nodeName(node);
  const directory = `${labDirectory(lab.name)}/${name}`;
  mkdirSync(directory, { recursive: true });
  const log = openSync(`${directory}/machine.log`, 'a');
  const isolated = [
    'unshare',
    '--mount',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    '--propagation',
    'private',
  ];
  const first = ['--', ...isolated, 'sh', '-c', OWN_DIRECTORIES, directory];
  const holder = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, name)}`, ...first], {
    stdio: ['ignore', log, log],
  });
  const leader = await waitFor(`machine ${name} to be up`, () => sleeperOf(holder), 10_000);
  const enter = ['-t', leader, '--mount', '--net', '--pid', '--'];
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

  async function run(...command: string[]): Promise<string> {
    const result = await execa('nsenter', [...enter, ...command], { all: true, reject: false, env });
    if (result.exitCode === 0) return result.stdout;
    throw new Error(`"${command.join(' ')}" failed on ${name}: ${result.all}`);
  }

  function start(what: string, ...command: string[]): ChildProcess {
    const file = openSync(`${directory}/${what}.log`, 'a');
    return spawn('nsenter', [...enter, ...command], { env, stdio: ['ignore', file, file] });
  }

  async function stop(): Promise<void> {
    process.kill(Number(leader), 'SIGKILL');
    if (holder.exitCode === null && holder.signalCode === null) await once(holder, 'exit');
    // Not by Node.js, which would do nothing else for the many files of images.
    await waitFor(`${name} to be gone`, () => execa('rm', ['-rf', directory]).then(() => true), 60_000);
  }

  return { name, directory, run, start, read: (path) => run('cat', path), stop };
}

/** The machine's first process, once it has made all that is its own. */
function sleeperOf({ pid }: ChildProcess): string | undefined {
  const child = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return child !== '' && readFileSync(`/proc/${child}/comm`, 'utf8') === 'sleep\n' ? child : undefined;
}
