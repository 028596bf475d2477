import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { bootMachine, install, type Machine, makeTree, removeTree } from './machine.js';

const NAME = 'test-docker-packages';
const CONFIG = '{"Network":"10.240.0.0/16"}';
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'dbus', 'iproute2', 'iptables', 'nftables', 'libstdc++6', 'procps'],
  ...['docker.io', 'busybox-static'],
];
const DOCKER_DEADLINE_MS = 60_000;
const DROP_IN = '/etc/systemd/system/docker.service.d/rudder.conf';
/** An address of the overlay, and one that Docker takes by itself. */
const ON_RUDDER = /inet 10\.240\.\d+\.1\/24 /;
const ON_ITS_OWN = /inet 172\.\d+\.0\.1\/16 /;

/** The .deb beside a real Docker, on a machine that boots. One story, told in order. */
describeWith(['root', 'tun', 'etcd', 'docker', 'machines'], 'the .deb on a host with Docker', () => {
  let lab: LabState;
  let tree: string;
  let deb: string;
  let machine: Machine;
  const run = (...command: string[]) => machine.run(...command);
  const shell = (command: string) => run('sh', '-c', command);
  const state = async (unit: string) => (await shell(`systemctl is-active ${unit}; true`)).trim();
  const bridge = () => shell('ip -4 -o address show docker0 2>&1; true');
  const until = (what: string, is: () => Promise<boolean>) => waitFor(what, is, DOCKER_DEADLINE_MS);
  const dockerOn = (address: RegExp) =>
    until(
      `docker to be on ${address}`,
      async () => (await state('docker')) === 'active' && address.test(await bridge()),
    );
  const installDeb = () => run('dpkg', '--force-confold', '-i', `/root/${basename(deb)}`);
  const settings = (more = '') =>
    writeFileSync(`${tree}/etc/default/rudder`, `RUDDERD_ETCD_ENDPOINTS=${etcdUrl(lab)}\n${more}`);
  /** As an operator does, who does not wait for ever. */
  const restartDocker = () => run('timeout', '30', 'systemctl', 'restart', 'docker');
  const statusOf = (unit: string) => shell(`systemctl status --no-pager --full ${unit}; true`);

  async function boot(): Promise<void> {
    // What a machine's end would take with it, and the namespace, which outlives it, keeps.
    await execIn(lab, 'n1', ['sh', '-c', 'for d in rudder0 docker0; do ip link del $d; done; true']);
    machine = await bootMachine(tree, namespaceOf(lab, 'n1'));
  }

  beforeAll(async () => {
    const { stdout } = await execa('scripts/package');
    deb = stdout.trim().split('\n').at(-1)!;
    tree = await makeTree('docker-packages', PACKAGES);
    lab = await createLab({ name: NAME, nodes: 1 });
    install(tree, deb, `/root/${basename(deb)}`);
    settings();
    await boot();
    await dockerOn(ON_ITS_OWN);
  }, 600_000);
  afterAll(async () => {
    await machine?.stop();
    await labDown(NAME);
    if (tree !== undefined) removeTree(tree);
  }, 60_000);

  it('leaves Docker alone: it restarts while Rudder waits for etcd', { timeout: 120_000 }, async () => {
    await installDeb();
    expect(await state('rudder')).toBe('activating');
    await restartDocker();
    await dockerOn(ON_ITS_OWN);
    expect(await machine.succeeds('test', '-e', DROP_IN)).toBe(false);
    expect(await run('rudder', 'docker', 'disable')).toBe('Docker takes no subnet from Rudder: nothing to remove');
  });

  it('refuses what cannot work, in one line', { timeout: 120_000 }, async () => {
    const daemonJson = `${tree}/etc/docker/daemon.json`;
    mkdirSync(`${tree}/etc/docker`, { recursive: true });
    writeFileSync(daemonJson, '{"bip":"10.9.0.1/24"}');
    await expect(run('rudder', 'docker', 'enable')).rejects.toThrow(
      /: rudder: Docker has settings of its own: \/etc\/docker\/daemon\.json has "bip": "10\.9\.0\.1\/24"; expected .*$/,
    );
    rmSync(daemonJson);
    await expect(run('setpriv', '--reuid=rudder', '--clear-groups', 'rudder', 'docker', 'enable')).rejects.toThrow(
      /rudder docker is run as user \d+: expected root/,
    );
    expect(await machine.succeeds('test', '-e', DROP_IN)).toBe(false);
  });

  it('enabled, Docker waits visibly and is no failure, and nobody hangs', { timeout: 120_000 }, async () => {
    expect(await run('rudder', 'docker', 'enable')).toMatch(
      /^Docker takes its subnet from Rudder now: made \S+docker\.service\.d\/rudder\.conf and \S+docker\.socket\.d\/rudder\.conf\nRudder has no subnet yet: Docker runs on as it was started/,
    );
    expect(await run('rudder', 'docker', 'enable')).toMatch(/^Docker takes its subnet from Rudder already/);
    expect(await state('docker')).toBe('active');
    await restartDocker();
    expect(await state('docker')).toBe('inactive');
    expect(await statusOf('docker')).toContain('Docker waits for Rudder, which has no subnet yet');
  });

  it('and comes by itself as soon as there is a subnet', { timeout: 120_000 }, async () => {
    // Who asks meanwhile, and an operator who tries again, make it no worse: systemd allows Docker three starts a minute.
    await shell('for i in 1 2 3 4 5; do timeout 10 docker ps; timeout 10 systemctl restart docker; done 2>&1; true');
    await etcdctl(lab, 'put', '/coreos.com/network/config', CONFIG);
    await dockerOn(ON_RUDDER);
    expect(await run('rudder', 'docker', 'enable')).toMatch(/\nDocker runs on 10\.240\.\d+\.1\/24$/);
    await run('docker', 'ps');
  });

  it('after a boot where Rudder fails it waits, and comes once Rudder is mended', { timeout: 240_000 }, async () => {
    settings('RUDDERD_IFACE=nope0\n');
    await machine.stop();
    await boot();
    await until('rudder to fail', async () => Number(await shell('systemctl show -P NRestarts rudder')) >= 2);
    await until('docker to be skipped', async () => (await statusOf('docker')).includes('Docker waits for Rudder'));
    expect(await machine.succeeds('timeout', '10', 'docker', 'ps')).toBe(false);
    expect(await state('docker')).toBe('inactive');
    settings();
    await dockerOn(ON_RUDDER);
  });

  it('is left as it is when an operator has stopped it', { timeout: 120_000 }, async () => {
    await run('systemctl', 'stop', 'docker.socket', 'docker.service');
    await run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
    const looked = () => shell('journalctl -q -u rudder-docker -o cat | grep -c Finished');
    const before = await looked();
    await until('the change to be looked at', async () => (await looked()) !== before);
    expect(await state('docker')).toBe('inactive');
    await run('systemctl', 'start', 'docker');
    expect(await shell('ps -o args= -C dockerd')).toMatch(/--bip=10\.240\.\d+\.1\/24 --mtu=1372$/);
    await run('ip', 'link', 'set', 'eth0', 'mtu', '1500');
    await until('docker to follow', async () => /--mtu=1472$/.test(await shell('ps -o args= -C dockerd; true')));
    await dockerOn(ON_RUDDER);
  });

  it('goes its own way again, on an address of its own', { timeout: 240_000 }, async () => {
    expect(await run('rudder', 'docker', 'disable')).toMatch(
      /: removed \S+ and \S+\nDocker keeps 10\.240\.\d+\.1\/24 until it is restarted: "rudder docker disable --now" does so$/,
    );
    expect(await bridge()).toMatch(ON_RUDDER);
    expect(await run('rudder', 'docker', 'disable', '--now')).toMatch(/\nDocker is restarted on 172\.\d+\.0\.1\/16$/);
    await dockerOn(ON_ITS_OWN);
    await restartDocker();
    await dockerOn(ON_ITS_OWN);
    expect(await run('rudder', 'docker', 'enable')).toMatch(/\nDocker runs on as it was started and takes 10\.240\./);
    expect(await bridge()).toMatch(ON_ITS_OWN);
    expect(await run('rudder', 'docker', 'enable', '--now')).toMatch(/\nDocker is restarted on 10\.240\.\d+\.1\/24$/);
    await dockerOn(ON_RUDDER);
  });

  it('removed, it gives Docker its own address back; installed again, it runs', { timeout: 240_000 }, async () => {
    await run('dpkg', '--remove', 'rudder');
    expect(await state('rudder')).toBe('inactive');
    await dockerOn(ON_ITS_OWN);
    expect(await machine.succeeds('test', '-e', DROP_IN)).toBe(false);
    await installDeb();
    await until('rudder to run', async () => (await state('rudder')) === 'active');
    expect(await run('systemctl', 'is-enabled', 'rudder')).toBe('enabled');
    expect(await bridge()).toMatch(ON_ITS_OWN);
  });

  it('what the operator has disabled or stopped stays so', { timeout: 240_000 }, async () => {
    const enabled = async () => (await shell('systemctl is-enabled rudder; true')).trim();
    await run('systemctl', 'stop', 'rudder');
    await installDeb();
    expect([await state('rudder'), await enabled()]).toEqual(['inactive', 'enabled']);
    await run('systemctl', 'disable', 'rudder');
    await installDeb();
    expect([await state('rudder'), await enabled()]).toEqual(['inactive', 'disabled']);
    await run('dpkg', '--remove', 'rudder');
    await installDeb();
    expect([await state('rudder'), await enabled()]).toEqual(['inactive', 'disabled']);
    // A purge forgets it.
    await run('dpkg', '--purge', 'rudder');
    settings();
    await installDeb();
    expect(await enabled()).toBe('enabled');
    await until('rudder to run', async () => (await state('rudder')) === 'active');
  });

  it('who had Docker on Rudder by an earlier package keeps it', { timeout: 240_000 }, async () => {
    await shell(
      `mkdir -p /lib/systemd/system/docker.service.d; touch /lib/systemd/system/docker.service.d/rudder.conf`,
    );
    await installDeb();
    expect(await machine.succeeds('test', '-e', DROP_IN)).toBe(true);
  });
});
