import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { waitFor } from '../../src/lab/wait-for.js';

/** Debian trees, and machines that boot them with a real systemd. */
const ROOT = '/var/tmp/rudder-machines';
const BOOT_DEADLINE_MS = 60_000;
/** Nothing of this host's environment means anything inside. */
const CLEAN_ENVIRONMENT = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'LANG=C.UTF-8'];

/** Where this host gets its own Debian packages from. */
function debianMirror(): { url: string; release: string } {
  const release = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))![1];
  const files = [
    '/etc/apt/sources.list',
    ...readdirSync('/etc/apt/sources.list.d').map((f) => `/etc/apt/sources.list.d/${f}`),
  ];
  const text = files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('\n');
  const url = /^(?:deb (?:\[[^\]]*\] )?|URIs: )(https?:\S+)/m.exec(text)![1];
  return { url, release };
}

/** A fresh minimal Debian with these packages; made once, then copied. */
export async function makeTree(name: string, packages: readonly string[]): Promise<string> {
  const base = `${ROOT}/base-${createHash('sha1').update(packages.join()).digest('hex').slice(0, 8)}`;
  if (!existsSync(`${base}/.complete`)) {
    rmSync(base, { recursive: true, force: true });
    mkdirSync(base, { recursive: true });
    const { url, release } = debianMirror();
    const include = packages.length > 0 ? [`--include=${packages.join(',')}`] : [];
    await execa('debootstrap', ['--variant=minbase', ...include, release, base, url]);
    rmSync(`${base}/var/cache/apt`, { recursive: true, force: true });
    writeFileSync(`${base}/.complete`, '');
  }
  const tree = `${ROOT}/${name}`;
  rmSync(tree, { recursive: true, force: true });
  await execa('cp', ['-a', base, tree]);
  return tree;
}

export interface Machine {
  readonly tree: string;
  /** Runs a command inside. @throws with its output if it fails */
  run(...command: string[]): Promise<string>;
  /** Whether it succeeds. */
  succeeds(...command: string[]): Promise<boolean>;
  stop(): Promise<void>;
}

/**
 * With --keep-unit a machine has the control group that it is started in: machines in one would remove each other's groups
 * while services start in them (status 219/CGROUP).
 */
const IN_ITS_OWN_CGROUP = `
for hierarchy in systemd unified .; do
  [ -e /sys/fs/cgroup/$hierarchy/cgroup.procs ] || continue
  group=/sys/fs/cgroup/$hierarchy/machine-$0
  mkdir -p $group && echo $$ > $group/cgroup.procs
done
exec "$@"`;

/** Boots a tree inside a network namespace and waits until its systemd is ready to start services. */
export async function bootMachine(tree: string, namespace: string): Promise<Machine> {
  const log = openSync(`${tree}.log`, 'w');
  // Of the mode that udev gives it, whatever this host's has.
  const tun = `${tree}.tun`;
  rmSync(tun, { force: true });
  await execa('mknod', ['-m', '666', tun, 'c', '10', '200']);
  const device = `--bind=${tun}:/dev/net/tun`;
  const options = ['--boot', '--quiet', '--keep-unit', '--register=no', '--capability=all', device];
  const more = ['--system-call-filter=@keyring bpf', `--network-namespace-path=/run/netns/${namespace}`];
  // As on a machine of its own, its network's sysctls can be written.
  const env = { ...process.env, SYSTEMD_NSPAWN_API_VFS_WRITABLE: 'network' };
  const boot = ['-c', IN_ITS_OWN_CGROUP, namespace, 'systemd-nspawn', ...options, ...more, '-D', tree];
  const nspawn = spawn('sh', boot, { env, stdio: ['ignore', log, log] });
  const leader = await waitFor('the machine to have a first process', () => systemdOf(nspawn), 10_000);
  const enter = ['-t', leader, '-m', '-u', '-i', '-p', '-n', '-r', '-w', '--', ...CLEAN_ENVIRONMENT];

  async function run(...command: string[]): Promise<string> {
    const result = await execa('nsenter', [...enter, ...command], { all: true, reject: false });
    if (result.exitCode === 0) return result.stdout;
    throw new Error(`"${command.join(' ')}" failed in the machine: ${result.all}`);
  }
  const succeeds = (...command: string[]) =>
    run(...command).then(
      () => true,
      () => false,
    );

  async function stop(): Promise<void> {
    if (nspawn.exitCode !== null) return;
    nspawn.kill('SIGTERM'); // asks the machine's systemd to power off
    const timer = setTimeout(() => nspawn.kill('SIGKILL'), 20_000);
    await once(nspawn, 'exit');
    clearTimeout(timer);
  }

  try {
    // Not all of it: a service may wait for another machine.
    await waitFor('the machine to be up', () => succeeds('systemctl', 'is-active', 'basic.target'), BOOT_DEADLINE_MS);
    // nspawn mounts version 1 of the control groups read-only, and Docker makes one for each container.
    await run('sh', '-c', 'for d in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $d; done');
  } catch (error) {
    await stop();
    throw error;
  }
  return { tree, run, succeeds, stop };
}

/** The machine's first process. Until it is there, nspawn has another child, which makes it and ends. */
function systemdOf(nspawn: ChildProcess): string | undefined {
  const children = readFileSync(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`, 'utf8').trim().split(' ');
  return children.find((pid) => pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8') === 'systemd\n');
}

export function removeTree(tree: string): void {
  rmSync(tree, { recursive: true, force: true });
  for (const beside of ['log', 'tun']) rmSync(`${tree}.${beside}`, { force: true });
}

export function install(tree: string, file: string, to: string): void {
  cpSync(file, `${tree}${to}`);
}
