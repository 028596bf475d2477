import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress, nodeName } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { imageFile } from '../e2e/docker.js';
import { describeWith } from '../helpers/requires.js';
import { bootMachine, install, type Machine, makeTree, removeTree } from './machine.js';

const NAME = 'test-cluster';
const PACKAGES = [
  ...[
    'systemd',
    'systemd-sysv',
    'dbus',
    'iproute2',
    'iptables',
    'nftables',
    'libstdc++6',
    'procps',
    'net-tools',
    'iputils-ping',
  ],
  ...['python3-cffi-backend', 'cloud-init', 'etcd-server', 'etcd-client', 'docker.io', 'busybox-static'],
];
/** Three etcd members, three engines and cloud-init's Python share two cores. */
const START_DEADLINE_MS = 180_000;

/** The cluster of 2014, set up by nothing but docs/cloud-config.yaml. */
describeWith(['root', 'tun', 'etcd', 'docker', 'machines'], 'three machines by cloud-config', () => {
  let lab: LabState;
  const trees: string[] = [];
  const machines: Machine[] = [];
  const run = (i: number, command: string) => machines[i].run('sh', '-c', command);
  const env = (i: number) => run(i, 'cat /run/rudder/subnet.env');
  /** `10.240.26`: what a node's addresses begin with. */
  const prefix = async (i: number) => /RUDDER_SUBNET=(\d+\.\d+\.\d+)\.1\/24/.exec(await env(i))![1];
  const containerOf = async (i: number) =>
    (await run(i, "docker inspect -f '{{.NetworkSettings.IPAddress}}' web")).trim();
  const whoFromContainer = (i: number, target: string) =>
    run(i, `docker exec web timeout 5 wget -qO- http://${target}/cgi-bin/who`);
  const who = (i: number, target: string) => run(i, `timeout 5 busybox wget -qO- http://${target}/cgi-bin/who`);
  const dockerUp = (i: number) =>
    waitFor(
      `docker of node${i + 1} to be up`,
      () => machines[i].succeeds('systemctl', 'is-active', 'docker'),
      START_DEADLINE_MS,
    );

  async function boot(i: number): Promise<Machine> {
    const member = nodeName(lab.nodes[i]);
    // What a machine's end would take with it, and the namespace, which outlives it, keeps.
    const clean =
      'for d in rudder0 docker0; do ip link del $d; done; iptables -F; iptables -t nat -F; iptables -P FORWARD ACCEPT';
    await execIn(lab, member, ['sh', '-c', `${clean}; sysctl -qw net.ipv4.ip_forward=0`]);
    return bootMachine(trees[i], namespaceOf(lab, member));
  }

  /** The image: packages, none of them started by itself. Then what a cloud hands to a machine. */
  async function makeMachine(i: number, deb: string, userData: string, image: string): Promise<string> {
    const tree = await makeTree(`node${i + 1}`, PACKAGES);
    install(tree, deb, `/root/${basename(deb)}`);
    await execa('chroot', [tree, 'dpkg', '-i', `/root/${basename(deb)}`]);
    await execa('systemctl', [`--root=${tree}`, 'disable', 'etcd', 'rudder', 'docker']);
    install(tree, image, '/root/image.tar');
    mkdirSync(`${tree}/www`);
    cpSync(`${labDirectory(NAME)}/rootfs/www`, `${tree}/www`, { recursive: true });

    const seed = `${tree}/var/lib/cloud/seed/nocloud`;
    mkdirSync(seed, { recursive: true });
    writeFileSync(`${seed}/user-data`, userData);
    writeFileSync(`${seed}/meta-data`, `instance-id: node${i + 1}\nlocal-hostname: node${i + 1}\n`);
    // The underlay's address is there already: the namespace came with it.
    writeFileSync(
      `${tree}/etc/cloud/cloud.cfg.d/99-lab.cfg`,
      'network: {config: disabled}\ndatasource_list: [NoCloud]\nlocale: C.UTF-8\n',
    );
    return tree;
  }

  beforeAll(async () => {
    const { stdout } = await execa('scripts/package');
    const deb = stdout.trim().split('\n').at(-1)!;
    lab = await createLab({ name: NAME, nodes: 3 });
    const image = await imageFile(labDirectory(NAME));
    let userData = readFileSync('docs/cloud-config.yaml', 'utf8');
    for (const node of lab.nodes) {
      userData = userData.replace(`10.1.1.1${node.number} `, `${nodeAddress(lab, node)} `);
    }
    for (const i of [0, 1, 2]) trees.push(await makeMachine(i, deb, userData, image));
  }, 600_000);
  afterAll(async () => {
    await Promise.all(machines.map((machine) => machine.stop()));
    await labDown(NAME);
    for (const tree of trees) removeTree(tree);
  }, 60_000);

  it('the example is valid', async () => {
    const { all } = await execa(
      'chroot',
      [trees[0], 'cloud-init', 'schema', '--config-file', '/var/lib/cloud/seed/nocloud/user-data'],
      { all: true },
    );
    expect(all).toMatch(/Valid cloud-config/);
  });

  it('each starts etcd, makes the config, leases a subnet and starts docker on it', { timeout: 400_000 }, async () => {
    machines.push(...(await Promise.all([boot(0), boot(1), boot(2)])));
    for (const i of [0, 1, 2]) await dockerUp(i);
    for (const i of [0, 1, 2]) {
      const own = await prefix(i);
      expect(await env(i)).toMatch(new RegExp(`^RUDDER_SUBNET=${own}.1/24\nRUDDER_MTU=1472\n`));
      expect(await run(i, 'ip a')).toMatch(
        new RegExp(`rudder0: <POINTOPOINT,[^>]*UP[^>]*> mtu 1472[^]*inet ${own}.0/16 scope global rudder0`),
      );
      expect(await run(i, 'ip a')).toMatch(new RegExp(`docker0: [^]*inet ${own}.1/24 `));
      const routes = await run(i, 'route -n');
      expect(routes).toMatch(/^10\.240\.0\.0 +0\.0\.0\.0 +255\.255\.0\.0 .* rudder0$/m);
      expect(routes).toMatch(new RegExp(`^${own}.0 +0.0.0.0 +255.255.255.0 .* docker0$`, 'm'));
      expect(await run(i, 'ps -o user= -p $(systemctl show -P MainPID rudder)')).toBe('rudder');
    }
  });

  it('containers and machines reach each other at their own addresses', { timeout: 120_000 }, async () => {
    for (const i of [0, 1, 2]) {
      await run(i, 'docker import /root/image.tar busybox');
      await run(i, 'docker run -d --restart=always --name web busybox httpd -f -p 80 -h /www');
      await run(i, 'busybox httpd -p 8080 -h /www');
      // Docker has just put its masquerade rule first; ours are looked at within a second.
      const first = () => run(i, 'iptables -t nat -S POSTROUTING | sed -n 2p');
      await waitFor('our rules to be first', async () => (await first()).includes('RUDDER-POSTROUTING'), 10_000);
    }
    for (const from of [0, 1, 2]) {
      for (const to of [0, 1, 2].filter((i) => i !== from)) {
        expect(await whoFromContainer(from, await containerOf(to))).toBe(await containerOf(from));
        expect(await who(from, await containerOf(to))).toBe(`${await prefix(from)}.0`);
        expect(await whoFromContainer(from, `${await prefix(to)}.0:8080`)).toBe(await containerOf(from));
        await run(from, `docker exec web ping -c 1 -W 5 ${await containerOf(to)}`);
      }
    }
  });

  it('a machine that boots again has its subnet, and its containers are reached', { timeout: 300_000 }, async () => {
    const before = await env(1);
    await machines[1].stop();
    machines[1] = await boot(1);
    await dockerUp(1);
    expect(await env(1)).toBe(before);
    await waitFor(
      'its container to be reached',
      async () => (await whoFromContainer(0, await containerOf(1))) === (await containerOf(0)),
      30_000,
    );
  });

  it('docker is restarted when its subnet has become another one, and only then', { timeout: 300_000 }, async () => {
    const dockerPid = () => run(2, 'systemctl show -P MainPID docker');
    const looks = async () => Number(await run(2, 'journalctl -q -u rudder-docker -o cat | grep -c Finished || true'));
    const pid = await dockerPid();
    const own = await prefix(2);
    const looked = await looks();
    // A restart leaves a file alone that says the same already, so somebody writes it anew.
    await run(
      2,
      'systemctl restart rudder && cd /run/rudder && cp subnet.env /tmp/ && cat /tmp/subnet.env > subnet.env',
    );
    await waitFor('rudder-docker to have looked', async () => (await looks()) > looked, 30_000);
    expect(await dockerPid()).toBe(pid);

    // Somebody takes the subnet: rudder ends, starts again, and leases another one.
    await run(2, `etcdctl put /coreos.com/network/subnets/${own}.0-24 '{"PublicIP":"10.9.9.9"}'`);
    await waitFor('another subnet', async () => (await prefix(2)) !== own, 60_000);
    await waitFor(
      'docker to be on it',
      async () => (await run(2, 'ip a show docker0')).includes(`${await prefix(2)}.1/24`),
      60_000,
    );
    expect(await dockerPid()).not.toBe(pid);
    await waitFor(
      'its container to be reached there',
      async () => (await whoFromContainer(0, await containerOf(2))) === (await containerOf(0)),
      60_000,
    );
  });
});
