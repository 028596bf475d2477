import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { execa, execaSync } from 'execa';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { deadLinks } from '../helpers/links.js';
import { describeWith } from '../helpers/requires.js';
import { bootMachine, install, type Machine, makeTree, removeTree } from './machine.js';

const NAME = 'test-packages';
const CONFIG = '{"Network":"10.240.0.0/16"}';

const COMPLETIONS = [
  'bash-completion/completions/rudder',
  'zsh/vendor-completions/_rudder',
  'fish/vendor_completions.d/rudder.fish',
];

describeWith(['root', 'tun', 'etcd', 'machines'], 'the packages', () => {
  let tarball: string;
  let deb: string;
  let lab: LabState;
  let tree: string;
  let machine: Machine | undefined;

  beforeAll(async () => {
    const { stdout } = await execa('scripts/package');
    [tarball, deb] = stdout.trim().split('\n').slice(-2);
  }, 300_000);
  afterEach(async () => {
    await machine?.stop();
    machine = undefined;
    await labDown(NAME);
    if (tree !== undefined) removeTree(tree);
  });

  it('both have the completions of three shells at the places where those look', async () => {
    const inTarball = (file: string) => execa('tar', ['-xOf', tarball, `share/${file}`]);
    for (const file of COMPLETIONS) {
      const { stdout } = await inTarball(file);
      expect(stdout).toContain('made by "rudder completion');
      const inDeb = await execa('sh', ['-c', `dpkg-deb --fsys-tarfile ${deb} | tar -xO ./usr/share/${file}`]);
      expect(inDeb.stdout).toBe(stdout);
    }
  });

  it('have the documentation, and each of its links leads to what is there', async () => {
    const { stdout } = await execa('tar', ['-tf', tarball]);
    const files = stdout.split('\n').flatMap((path) => path.split('share/doc/rudder/')[1] || []);
    expect(files).toEqual(expect.arrayContaining(['README.md', 'docs/running.md', 'docs/page.svg', 'copyright']));
    const read = (file: string) => execaSync('tar', ['-xOf', tarball, `share/doc/rudder/${file}`]).stdout;
    expect(deadLinks(files, read)).toEqual([]);
    const inDeb = await execa('sh', ['-c', `dpkg-deb --fsys-tarfile ${deb} | tar -t`]);
    for (const file of files) expect(inDeb.stdout).toContain(`./usr/share/doc/rudder/${file}`);
  });

  it('the tarball runs a node on a Debian without Node.js', { timeout: 300_000 }, async () => {
    tree = await makeTree('tarball', []);
    lab = await createLab({ name: NAME, nodes: 1, config: CONFIG });
    await execa('tar', ['-C', `${tree}/opt`, '-xzf', tarball]);
    const inside = (...command: string[]) => execIn(lab, 'n1', ['chroot', tree, ...command]);
    await expect(inside('node', '--version')).rejects.toThrow('No such file');
    expect(await inside('/opt/bin/rudder', '--version')).toMatch(/^\d+\.\d+\.\d+$/);
    await execIn(lab, 'n1', ['sh', '-c', `mkdir -p ${tree}/dev/net; mknod ${tree}/dev/net/tun c 10 200; true`]);
    await execa('mount', ['-t', 'proc', 'proc', `${tree}/proc`]);
    const script = `/opt/bin/rudder --etcd-endpoints=${etcdUrl(lab)} --cleanup-on-exit > /run/log 2>&1 < /dev/null & echo $! > /run/pid`;
    try {
      await inside('sh', '-c', script);
      await waitFor(
        'the node to be ready',
        () => readFileSync(`${tree}/run/rudder/subnet.env`, 'utf8').startsWith('RUDDER_SUBNET=10.240.'),
        20_000,
      );
      expect(await inside('/opt/bin/rudder', 'status')).toMatch(/^ready +yes/);
    } finally {
      process.kill(Number(readFileSync(`${tree}/run/pid`, 'utf8')), 'SIGTERM');
      await waitFor(
        'the node to end',
        async () => (await inside('sh', '-c', '[ -e /run/rudder/subnet.env ] && echo there || true')) === '',
        10_000,
      );
      await execa('umount', [`${tree}/proc`]);
    }
  });

  describe('the .deb under a real systemd', () => {
    const run = (...command: string[]) => machine!.run(...command);
    const succeeds = (...command: string[]) => machine!.succeeds(...command);
    const state = () => run('sh', '-c', 'systemctl is-active rudder; true');
    const property = async (name: string) => (await run('systemctl', 'show', '-P', name, 'rudder')).trim();
    const active = () => waitFor('rudder to be active', async () => (await state()) === 'active', 30_000);
    const env = () => run('cat', '/run/rudder/subnet.env');

    it('installs, waits, starts, survives a hang, is upgraded, removed and purged', { timeout: 600_000 }, async () => {
      tree = await makeTree('deb', [
        'systemd',
        'systemd-sysv',
        'dbus',
        'iproute2',
        'iptables',
        'nftables',
        'libstdc++6',
        'procps',
      ]);
      lab = await createLab({ name: NAME, nodes: 1 });
      install(tree, deb, `/root/${basename(deb)}`);
      machine = await bootMachine(tree, namespaceOf(lab, 'n1'));
      const dpkg = ['dpkg', '--force-confold', '-i', `/root/${basename(deb)}`];

      // Who is ordered behind it never sees the file missing.
      const probe =
        '[Unit]\nWants=rudder.service\nAfter=rudder.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n';
      writeFileSync(`${tree}/etc/systemd/system/probe.service`, `${probe}ExecStart=/bin/cat /run/rudder/subnet.env\n`);
      writeFileSync(`${tree}/etc/default/rudder`, `RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}\nRUDDERD_LEASE_TTL=1h\n`);
      await run(...dpkg);
      await run('systemctl', 'start', '--no-block', 'probe');
      await waitFor(
        'it to wait for the config',
        async () => /waiting for etcd/.test(await property('StatusText')),
        30_000,
      );
      expect(await state()).toBe('activating');
      expect(await succeeds('systemctl', 'is-active', 'probe')).toBe(false);
      await etcdctl(lab, 'put', '/coreos.com/network/config', CONFIG);
      await active();
      const before = await env();
      expect(before).toMatch(/^RUDDER_SUBNET=10\.240\.\d+\.1\/24\nRUDDER_MTU=1472\n/);
      await waitFor('the probe to have run', () => succeeds('systemctl', 'is-active', 'probe'), 10_000);
      expect(await run('rudder', 'status')).toMatch(/^ready +yes/);
      expect(await run('ip', '-4', '-o', 'address', 'show', 'rudder0')).toMatch(
        /inet 10\.240\.\d+\.0\/16 scope global/,
      );

      // A daemon that hangs is killed by the watchdog and started again, with the same subnet.
      await run('systemctl', 'kill', '--signal=SIGSTOP', 'rudder');
      await waitFor('the watchdog to act', async () => Number(await property('NRestarts')) >= 1, 60_000);
      await active();
      expect(await env()).toBe(before);

      const pid = await property('MainPID');
      await run(...dpkg);
      await waitFor(
        'the new daemon',
        async () => (await property('MainPID')) !== pid && (await state()) === 'active',
        30_000,
      );
      expect(await env()).toBe(before);

      await run('systemctl', 'stop', 'rudder');
      expect(await env()).toBe(before);
      await run('systemctl', 'start', 'rudder');

      await run('systemctl', 'stop', 'rudder');
      const settings = '--property=EnvironmentFile=/etc/default/rudder';
      const cleaned = await run(
        'systemd-run',
        '--pipe',
        '--wait',
        '--collect',
        '--quiet',
        settings,
        'rudder',
        'cleanup',
      );
      expect(cleaned.split('\n')).toEqual([
        'removed the firewall rules',
        'removed /run/rudder/subnet.env',
        'removed /run/rudder/subnet.env.proposal',
        'removed what /var/lib/rudder knew of the cluster',
        expect.stringMatching(/^removed lease 10\.240\.\d+\.0\/24 from etcd$/),
        'removed rudder0 with its address and routes',
      ]);
      await run('systemctl', 'start', 'rudder');
      await run('rm', '/run/dbus/system_bus_socket'); // a minimal Debian has no D-Bus
      await run('env', 'RUDDERD_ETCD_ENDPOINTS=http://127.0.0.1:1', 'dpkg', '--remove', 'rudder');
      expect(await succeeds('systemctl', 'is-active', 'rudder.service')).toBe(false);
      expect(await succeeds('systemctl', 'is-active', 'rudder-publish.path')).toBe(false);
      expect(await succeeds('ip', 'link', 'show', 'rudder0')).toBe(false);
      expect(await run('iptables-save')).not.toContain('RUDDER');
      expect(await etcdctl(lab, 'get', '--prefix', '/coreos.com/network/subnets/')).toBe('');
      expect(await succeeds('test', '-e', '/var/lib/rudder/state.json')).toBe(true);
      await run('dpkg', '--purge', 'rudder');
      for (const path of ['/var/lib/rudder', '/run/rudder']) expect(await succeeds('test', '-e', path)).toBe(false);
      expect(await succeeds('test', '-e', '/etc/default/rudder')).toBe(false);
    });

    /** What Docker's unit comes to with our drop-in, if dockerd is a script that writes down how it was started. */
    function installDocker(): void {
      const unit = '[Service]\nExecStart=/usr/sbin/dockerd -H fd://\nRestart=always\nRestartSec=1\nTimeoutStopSec=1\n';
      writeFileSync(`${tree}/etc/systemd/system/docker.service`, unit);
      const script = '#!/bin/sh\necho "$*" "LD_PRELOAD=$LD_PRELOAD" >> /run/dockerd.started\nexec sleep infinity\n';
      writeFileSync(`${tree}/usr/sbin/dockerd`, script, { mode: 0o755 });
    }

    it('leaves the user rudder no way to what root reads', { timeout: 600_000 }, async () => {
      tree = await makeTree('deb', [
        'systemd',
        'systemd-sysv',
        'dbus',
        'iproute2',
        'iptables',
        'nftables',
        'libstdc++6',
        'procps',
      ]);
      lab = await createLab({ name: NAME, nodes: 1 });
      install(tree, deb, `/root/${basename(deb)}`);
      installDocker();
      writeFileSync(`${tree}/etc/default/rudder`, `RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}\n`);
      machine = await bootMachine(tree, namespaceOf(lab, 'n1'));
      await run('dpkg', '--force-confold', '-i', `/root/${basename(deb)}`);
      await run('rudder', 'docker', 'enable');
      await run('systemctl', 'start', 'docker');
      const owner = (path: string) => run('stat', '-c', '%U:%G %a %F', path);
      const isRoots = async () => expect(await owner('/run/rudder/subnet.env')).toBe('root:root 644 regular file');
      const started = async () => (await run('cat', '/run/dockerd.started')).split('\n');

      // The file is there before the daemon, and nobody starts on an empty one.
      await waitFor('rudder to wait', async () => /waiting for etcd/.test(await property('StatusText')), 30_000);
      expect(await owner('/run/rudder')).toBe('root:rudder 1775 directory');
      expect(await owner('/run/rudder/subnet.env')).toBe('root:root 644 regular empty file');
      expect(await succeeds('test', '-e', '/run/dockerd.started')).toBe(false);
      await etcdctl(lab, 'put', '/coreos.com/network/config', CONFIG);
      await waitFor('Docker to start', () => succeeds('test', '-s', '/run/dockerd.started'), 30_000);
      expect((await started())[0]).toMatch(/^-H fd:\/\/ --bip=10\.240\.\d+\.1\/24 --mtu=1472 LD_PRELOAD=$/);
      await active();
      const before = await env();
      await isRoots();
      expect(await owner('/run/rudder/subnet.env.proposal')).toBe('rudder:rudder 644 regular file');

      const user = ['setpriv', '--reuid=rudder', '--regid=rudder', '--clear-groups', '--'];
      const asUser = (script: string) => run(...user, 'sh', '-c', `cd /run/rudder; ${script}`);
      for (const attempt of [
        'echo LD_PRELOAD=/tmp/evil.so > subnet.env',
        'rm -f subnet.env',
        'mv subnet.env elsewhere',
        'ln -sfn /etc/shadow subnet.env',
        'cp subnet.env.proposal new && mv -fT new subnet.env',
        'chmod 777 subnet.env',
        'mv /run/rudder /run/elsewhere',
        'ln /etc/shadow hard',
      ]) {
        await expect(asUser(attempt), attempt).rejects.toThrow(/permitted|denied|cross-device/i);
        await isRoots();
        expect(await env()).toBe(before);
      }

      // What is proposed is refused by the step that follows changes, within a moment, and by the one that the start ends with.
      const refused = () =>
        waitFor(
          'the proposal to be refused',
          async () => (await run('systemctl', 'show', '-P', 'Result', 'rudder-publish')) === 'exit-code',
          10_000,
        );
      for (const proposal of [
        'echo LD_PRELOAD=/tmp/evil.so >> subnet.env.proposal',
        'ln -sfn /etc/shadow subnet.env.proposal',
        'rm -f subnet.env.proposal; mkfifo subnet.env.proposal',
        'rm -f subnet.env.proposal; head -c 1000000 /dev/zero > subnet.env.proposal',
      ]) {
        await run('systemctl', 'reset-failed', 'rudder-publish');
        await asUser(proposal);
        await refused();
        expect(await succeeds('rudder', 'publish'), proposal).toBe(false);
        await isRoots();
        expect(await env()).toBe(before);
      }
      const journal = await run('journalctl', '-u', 'rudder-publish', '-o', 'cat');
      expect(journal).toContain('subnet.env.proposal is refused: it is a symbolic link; restart rudder');
      expect(journal).not.toMatch(/LD_PRELOAD|root:|\$y\$/);
      await run('systemctl', 'restart', 'rudder');
      await run('rudder', 'publish');
      expect(await env()).toBe(before);

      // Another MTU reaches the file, and Docker by it.
      await run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
      await waitFor(
        'Docker to be told',
        async () => / --mtu=1372 LD_PRELOAD=$/.test((await started()).at(-1)!),
        20_000,
      );
      expect(await env()).toBe(before.replace('1472', '1372'));
      await isRoots();

      // An earlier version's directory and file were the user's. A right file becomes root's, and no other is believed.
      const asBefore = 'chown rudder:rudder /run/rudder /run/rudder/*; chmod 755 /run/rudder';
      await run('systemctl', 'stop', 'rudder');
      await run('sh', '-c', asBefore);
      await run('systemd-tmpfiles', '--create', 'rudder.conf');
      await run('rudder', 'publish', '--before-start');
      expect(await env()).toBe(before.replace('1472', '1372'));
      await isRoots();
      await run('sh', '-c', `${asBefore}; echo LD_PRELOAD=/tmp/evil.so > /run/rudder/subnet.env`);
      await run('systemctl', 'start', 'rudder');
      expect(await env()).toBe(before.replace('1472', '1372'));
      await isRoots();
      expect(await owner('/run/rudder')).toBe('root:rudder 1775 directory');
      for (const line of await started()) expect(line).toMatch(/ LD_PRELOAD=$/);
    });
  });
});
