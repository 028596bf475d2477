import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { namespaceOf, switchAddress } from '../../../src/lab/names.js';
import { execIn } from '../../../src/lab/network.js';
import { type LabState, labDirectory } from '../../../src/lab/state.js';
import { waitFor } from '../../../src/lab/wait-for.js';

/**
 * A machine with Debian's own kernel, emulated, at the switch of a lab. Its files are an initramfs: busybox, node, and this
 * checkout at the path that it has here, so that commands are the same inside.
 */
export interface Guest {
  /** What stands before a command to run it inside. */
  readonly enter: readonly string[];
  /** @throws with its output if it fails */
  run(...command: string[]): Promise<string>;
  stop(): Promise<void>;
}

export interface GuestOptions {
  readonly address: string;
  /** Of the kernel, with those that they need. */
  readonly modules: readonly string[];
  /** Files of this host, programs with their libraries. */
  readonly programs: readonly string[];
}

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const AGENT = fileURLToPath(new URL('./agent.mjs', import.meta.url));
const EXEC = fileURLToPath(new URL('./exec.mjs', import.meta.url));
const CACHE = join(homedir(), '.cache', 'rudder', 'guest');
const PACKAGE = 'linux-image-cloud-amd64';
const TAP = 'port-guest';
const NETWORK_CARD = ['virtio_pci', 'virtio_net'];
/** Everything is emulated. */
const BOOT_DEADLINE_MS = 180_000;

export async function bootGuest(lab: LabState, options: GuestOptions): Promise<Guest> {
  const { address } = options;
  const directory = join(labDirectory(lab.name), 'guest');
  const kernel = await unpackKernel();
  const image = await makeInitramfs(lab, directory, kernel, options);
  await execIn(lab, 'switch', ['ip', 'tuntap', 'add', 'dev', TAP, 'mode', 'tap']);
  await execIn(lab, 'switch', ['ip', 'link', 'set', TAP, 'master', 'br0', 'up']);
  const console = openSync(join(directory, 'console.log'), 'w');
  const qemu = spawn(
    'nsenter',
    [
      ...[`--net=/run/netns/${namespaceOf(lab, 'switch')}`, '--', 'qemu-system-x86_64'],
      // Without RDRAND, of max, no handshake is answered for long. On a busy host the kernel's check of its timer fails.
      ...['-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', '1536', '-nographic', '-no-reboot', '-nodefaults'],
      ...['-serial', 'stdio', '-kernel', kernel.image, '-initrd', image],
      ...['-append', 'console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check'],
      ...['-netdev', `tap,id=net,ifname=${TAP},script=no,downscript=no`, '-device', 'virtio-net-pci,netdev=net'],
    ],
    { stdio: ['ignore', console, console] },
  );
  const enter = ['nsenter', `--net=/run/netns/${namespaceOf(lab, 'switch')}`, '--', process.execPath, EXEC, address];

  async function run(...command: string[]): Promise<string> {
    const [program, ...args] = [...enter, ...command];
    const result = await execa(program, args, { reject: false, all: true });
    if (result.exitCode === 0) return result.stdout;
    throw new Error(`"${command.join(' ')}" failed in the guest: ${result.all}`);
  }

  try {
    const ended = once(qemu, 'exit').then(([code]) => {
      throw new Error(`qemu ended with ${code}: ${readFileSync(join(directory, 'console.log'), 'utf8')}`);
    });
    // Nobody waits for its end any more when it is up.
    ended.catch(() => undefined);
    await Promise.race([ended, waitFor('the guest', () => run('true').then(() => true), BOOT_DEADLINE_MS)]);
  } catch (error) {
    await stop(qemu);
    throw error;
  }
  return { enter, run, stop: () => stop(qemu) };
}

async function stop(qemu: ChildProcess): Promise<void> {
  if (qemu.exitCode !== null || qemu.signalCode !== null) return;
  qemu.kill('SIGKILL');
  await once(qemu, 'exit');
}

interface Kernel {
  readonly image: string;
  /** Where its modules are. */
  readonly modules: string;
}

/** Debian's own, of the release of this host; got once. */
async function unpackKernel(): Promise<Kernel> {
  const root = join(CACHE, 'kernel');
  if (!existsSync(join(root, '.complete'))) {
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root, { recursive: true });
    const { stdout } = await execa('apt-cache', ['depends', PACKAGE]);
    const name = /Depends: (linux-image-\S+)/.exec(stdout)![1];
    await execa('apt-get', ['download', name], { cwd: root });
    const [archive] = readdirSync(root).filter((file) => file.endsWith('.deb'));
    await execa('dpkg-deb', ['-x', archive, '.'], { cwd: root });
    rmSync(join(root, archive));
    const [version] = readdirSync(join(root, 'lib/modules'));
    await execa('busybox', ['depmod', '-b', root, version]);
    writeFileSync(join(root, '.complete'), '');
  }
  const [version] = readdirSync(join(root, 'lib/modules'));
  return { image: join(root, 'boot', `vmlinuz-${version}`), modules: join(root, 'lib/modules', version) };
}

async function makeInitramfs(
  lab: LabState,
  directory: string,
  kernel: Kernel,
  { address, modules, programs }: GuestOptions,
): Promise<string> {
  const tree = join(directory, 'tree');
  const put = (file: string, to = file) => cpSync(file, join(tree, to), { recursive: true, dereference: true });
  for (const name of ['proc', 'sys', 'dev', 'run', 'tmp', 'etc', 'bin'])
    mkdirSync(join(tree, name), { recursive: true });
  put((await execa('which', ['busybox'])).stdout, '/bin/busybox');
  for (const program of [process.execPath, ...programs]) await putProgram(program, put);
  for (const path of await rudderFiles()) put(path);
  const loads = modulesOf(kernel, [...NETWORK_CARD, ...modules]);
  for (const file of loads) put(file, `/modules/${file.split('/').at(-1)}`);
  const insmods = loads.map((file) => `insmod /modules/${file.split('/').at(-1)}`);
  writeFileSync(join(tree, 'init'), initScript(insmods, `${address}/24`, switchAddress(lab)), { mode: 0o755 });
  const image = join(directory, 'initramfs');
  const archive = `cd ${tree} && find . | busybox cpio -o -H newc > ${image}`;
  await execa('sh', ['-c', archive]);
  rmSync(tree, { recursive: true });
  return image;
}

const initScript = (insmods: readonly string[], address: string, gateway: string) => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
${insmods.join('\n')}
mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link set lo up
ip address add ${address} dev eth0; ip link set eth0 up; ip route add default via ${gateway}
echo 1 > /proc/sys/net/ipv4/ip_forward
while true; do ${process.execPath} ${AGENT}; done
`;

/** With what it is linked to. */
async function putProgram(program: string, put: (file: string) => void): Promise<void> {
  put(program);
  const { stdout } = await execa('ldd', [program], { reject: false });
  for (const [library] of stdout.matchAll(/\/\S+(?= \(0x)/g)) put(library);
}

/** What it takes to run this checkout: what is built, and the packages that it ships with. */
async function rudderFiles(): Promise<string[]> {
  const { stdout } = await execa('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
    cwd: REPOSITORY,
    reject: false,
  });
  const packages = stdout.split('\n').filter((path) => path.startsWith(`${REPOSITORY}/node_modules/`));
  const ours = ['dist', 'package.json', 'native/build/Release/rudder_native.node', 'test/e2e/peer.mjs'];
  // A package within another one has come with it.
  const outer = packages.filter((path) => !packages.some((other) => path.startsWith(`${other}/`)));
  return [...ours.map((path) => join(REPOSITORY, path)), AGENT, ...outer];
}

/** Files of modules, each behind those that it needs. What is no module is a part of this kernel. */
function modulesOf({ modules }: Kernel, names: readonly string[]): string[] {
  const lines = readFileSync(join(modules, 'modules.dep'), 'utf8').trim().split('\n');
  const needs = new Map(
    lines.map((line) => line.split(':')).map(([file, needed]) => [file, needed.split(' ').filter(Boolean)]),
  );
  const ordered = new Set<string>();
  const add = (file: string) => {
    for (const needed of needs.get(file) ?? []) if (!ordered.has(needed)) add(needed);
    ordered.add(file);
  };
  for (const name of names) [...needs.keys()].filter((file) => file.endsWith(`/${name}.ko`)).forEach(add);
  return [...ordered].map((file) => join(modules, file));
}
