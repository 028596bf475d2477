import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, type SuiteFactory } from 'vitest';

/** What some tests need of the machine, and what to do where it is missing. */
const REQUIREMENTS = {
  root: { present: () => process.getuid?.() === 0, remedy: 'run as root' },
  tun: { present: () => existsSync('/dev/net/tun'), remedy: 'load the kernel module tun' },
  'io-uring': { present: hasRing, remedy: 'Linux 6.4 or later, and sysctl -w kernel.io_uring_disabled=0' },
  etcd: { present: () => onPath('etcd') && onPath('etcdctl'), remedy: 'apt-get install etcd-server etcd-client' },
  tcpdump: { present: () => onPath('tcpdump') && onPath('ethtool'), remedy: 'apt-get install tcpdump ethtool' },
  python3: { present: () => onPath('python3'), remedy: 'apt-get install python3' },
  nft: { present: () => onPath('nft'), remedy: 'apt-get install nftables' },
  conntrack: { present: () => onPath('conntrack'), remedy: 'apt-get install conntrack' },
  iptables: { present: () => onPath('iptables'), remedy: 'apt-get install iptables' },
  docker: {
    present: () => onPath('dockerd') && onPath('docker') && onPath('busybox'),
    remedy: 'apt-get install docker.io busybox-static',
  },
  cni: { present: () => existsSync('/usr/lib/cni/bridge'), remedy: 'apt-get install containernetworking-plugins' },
  machines: {
    present: () => onPath('systemd-nspawn') && existsSync('/usr/sbin/debootstrap'),
    remedy: 'apt-get install systemd-container debootstrap',
  },
  go: {
    present: () => onPath('go'),
    remedy:
      'apt-get install --no-install-recommends golang-go golang-github-modern-go-reflect2-dev golang-github-json-iterator-go-dev',
  },
  chromium: { present: () => onPath('chromium'), remedy: 'apt-get install chromium' },
  fuzzer: { present: hasFuzzer, remedy: 'apt-get install clang libclang-rt-dev' },
  promtool: { present: () => onPath('promtool'), remedy: 'apt-get install prometheus' },
  shells: { present: () => onPath('zsh') && onPath('fish'), remedy: 'apt-get install zsh fish' },
  flanneld: { present: () => onPath('flanneld'), remedy: 'put a flanneld (0.18 or later) on the PATH' },
  vxlan: { present: hasVxlan, remedy: 'load the kernel module vxlan' },
  arm64: {
    present: () => onPath('aarch64-linux-gnu-gcc') && onPath('qemu-aarch64'),
    remedy: 'apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user',
  },
  'wireguard-go': {
    present: () => onPath('wireguard-go') && onPath('wg'),
    remedy: 'apt-get install --no-install-recommends wireguard-go wireguard-tools',
  },
  qemu: {
    present: () => onPath('qemu-system-x86_64') && onPath('busybox'),
    remedy: 'apt-get install --no-install-recommends qemu-system-x86 busybox-static',
  },
  iperf3: { present: () => onPath('iperf3'), remedy: 'apt-get install iperf3' },
} as const;

export type Requirement = keyof typeof REQUIREMENTS;

/**
 * A suite that needs something of the machine. Where it is missing the suite is skipped with the remedy in its title;
 * under CI=true it runs and fails instead, so that a skip cannot hide.
 */
export function describeWith(needs: readonly Requirement[], title: string, suite: SuiteFactory): void {
  const missing = needs.filter((need) => !REQUIREMENTS[need].present());
  if (missing.length === 0 || process.env.CI === 'true') {
    describe(title, suite);
    return;
  }
  const remedies = missing.map((need) => REQUIREMENTS[need].remedy).join(', ');
  describe.skip(`${title} (skipped: ${remedies})`, suite);
}

/** clang alone is not enough: libFuzzer is in its runtime, a package of its own. */
function hasFuzzer(): boolean {
  if (!onPath('clang')) return false;
  const runtime = execFileSync('clang', ['-print-runtime-dir'], { encoding: 'utf8' }).trim();
  return existsSync(runtime) && readdirSync(runtime).some((name) => name.startsWith('libclang_rt.fuzzer-'));
}

/** TUN has it since Linux 6.4. The switch of later kernels: 2 is off for all, 1 for all but root, who runs these tests. */
function hasRing(): boolean {
  const [major, minor] = release().split('.').map(Number);
  const setting = '/proc/sys/kernel/io_uring_disabled';
  const isOff = existsSync(setting) && readFileSync(setting, 'utf8').trim() === '2';
  return (major > 6 || (major === 6 && minor >= 4)) && !isOff;
}

/** In a namespace that is gone with the question: the kernel loads its module by itself where it has it as one. */
function hasVxlan(): boolean {
  const question = 'ip link add v type vxlan id 1 dstport 8472';
  return spawnSync('unshare', ['--net', 'sh', '-c', question], { stdio: 'ignore' }).status === 0;
}

/** As an implementation of WireGuard that nodes would choose; asked in a namespace that is gone with the question. */
export const kernelHasWireguard = () =>
  spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'w', 'type', 'wireguard'], { stdio: 'ignore' }).status === 0;

function onPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)));
}
