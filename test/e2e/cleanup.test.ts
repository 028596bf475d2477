import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_OK } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';

const NAME = 'test-cleanup';

describeWith(['root', 'tun', 'etcd', 'iptables'], 'rudder cleanup', () => {
  let lab: LabState;
  let node: LabNode;

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: '{"Network":"10.240.0.0/16"}' });
    [node] = lab.nodes;
  });
  afterEach(async () => {
    await stopNode(lab, node);
    await execIn(lab, 'n1', ['sh', '-c', 'ip link delete rudder0 2>/dev/null; true']);
    rmSync(nodePaths(lab, node).subnetFile, { recursive: true, force: true });
    await cli(lab, node, 'cleanup');
  });
  afterAll(() => labDown(NAME));

  const inside = (script: string) => execIn(lab, 'n1', ['sh', '-c', script]);
  const device = () => inside('ip -o link show rudder0 2>&1; true');
  const keys = () => etcdctl(lab, 'get', '--prefix', '--keys-only', '/coreos.com/network/subnets/');

  it('lists what it has removed, one thing a line, and then has nothing to remove', async () => {
    await startNode(lab, node);
    const { subnetFile, stateDir } = nodePaths(lab, node);
    const subnet = readSubnetEnv(lab, node).RUDDER_SUBNET.replace('.1/', '.0/');
    await stopNode(lab, node);
    const { code, stdout, stderr } = await cli(lab, node, 'cleanup');
    expect({ code, stderr }).toEqual({ code: EXIT_OK, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      'removed the firewall rules',
      `removed ${subnetFile}`,
      `removed what ${stateDir} knew of the cluster`,
      `removed lease ${subnet} from etcd`,
      'removed rudder0 with its address and routes',
      '',
    ]);
    expect(await device()).toContain('does not exist');
    expect(await inside('ip route; iptables-save')).not.toMatch(/10\.240|RUDDER/);
    expect(existsSync(subnetFile)).toBe(false);
    expect(await keys()).toBe('');
    expect(await cli(lab, node, 'cleanup')).toEqual({ code: EXIT_OK, stdout: 'nothing to remove\n', stderr: '' });
  });

  it('takes the device away where there is no TUN driver, as in a pod that was of udp and is of vxlan', async () => {
    await startNode(lab, node);
    await stopNode(lab, node);
    const hidden = 'mount -t tmpfs none /dev/net && exec "$0" "$@"';
    const command = [...daemonCommand(lab, node), 'cleanup'];
    const said = await execIn(lab, 'n1', ['unshare', '--mount', 'sh', '-c', hidden, ...command]);
    expect(said).toContain('removed rudder0 with its address and routes');
    expect(await device()).toContain('does not exist');
  });

  it('touches nothing of a running node, whatever --subnet-file it is given', async () => {
    await startNode(lab, node);
    const { directory, subnetFile } = nodePaths(lab, node);
    const state = async () => [
      await device(),
      await inside('ip route; iptables-save -t nat | grep RUDDER'),
      await keys(),
    ];
    const before = await state();
    const elsewhere = [`--subnet-file=${directory}/other/subnet.env`, `--state-dir=${directory}/other`];
    for (const options of [elsewhere, [`--subnet-file=${directory}/other/subnet.env`]]) {
      const { code, stdout, stderr } = await cli(lab, node, 'cleanup', ...options);
      expect({ code, stdout }).toEqual({ code: EXIT_CODES.usage, stdout: '' });
      expect(stderr).toMatch(/^rudder: a process has rudder0 open: expected no running node; stop it with .*\n$/);
    }
    expect(await state()).toEqual(before);
    // That of a node of an earlier version has no mark, and is in use all the same.
    await inside("ip link set rudder0 alias ''");
    expect((await cli(lab, node, 'cleanup', ...elsewhere)).code).toBe(EXIT_CODES.usage);
    expect(await state()).toEqual([expect.not.stringContaining('alias'), ...before.slice(1)]);
    expect(existsSync(subnetFile)).toBe(true);
    expect((await statusOf(lab, node)).problems).toEqual([]);
  });

  it('touches nothing of a node that hangs', async () => {
    await startNode(lab, node);
    process.kill(node.process!.pid, 'SIGSTOP');
    const { code, stdout, stderr } = await cli(lab, node, 'cleanup');
    process.kill(node.process!.pid, 'SIGCONT');
    expect({ code, stdout }).toEqual({ code: EXIT_CODES.usage, stdout: '' });
    expect(stderr).toMatch(/^rudder: somebody listens on .*rudder\.sock: expected none; stop it with/);
  });

  it('does all that needs no etcd when the password cannot be read, and says so', async () => {
    await startNode(lab, node);
    await stopNode(lab, node);
    const secret = ['--etcd-username=u', '--etcd-password-file=/absent'];
    const { code, stdout, stderr } = await cli(lab, node, 'cleanup', ...secret);
    expect(code).toBe(EXIT_CODES.file);
    expect(stderr).toMatch(/^rudder: --etcd-password-file \/absent cannot be read: ENOENT.*\n$/);
    expect(stdout).toMatch(/^removed rudder0 with its address and routes$/m);
    expect(stdout).not.toContain('lease');
    expect(await keys()).not.toBe('');
  });

  it('says what it could not look at on a host without iptables and nft', async () => {
    const network = `--net=/run/netns/${namespaceOf(lab, 'n1')}`;
    const command = ['/usr/bin/env', 'PATH=/absent', ...daemonCommand(lab, node), 'cleanup'];
    const { stdout } = await execa('nsenter', [network, '--', ...command]);
    expect(stdout.split('\n')).toEqual([
      'found nothing to remove',
      ...['iptables', 'nft'].map(
        (name) =>
          `could not look for rules of ${name}, which is not installed: if it was when a node ran, install it and clean up again`,
      ),
    ]);
  });

  it('leaves the lease to its TTL where it is told so, or etcd cannot be asked, and says which', async () => {
    await startNode(lab, node);
    await stopNode(lab, node);
    const STAYS = 'a lease stays in etcd until its TTL ends, a reservation for ever';
    const kept = await cli(lab, node, 'cleanup', '--keep-lease');
    expect(kept).toMatchObject({ code: EXIT_OK, stderr: '' });
    expect(kept.stdout.split('\n').slice(-2)).toEqual([STAYS, '']);
    expect(kept.stdout).toMatch(/^removed rudder0 with its address and routes$/m);
    const { code, stdout } = await cli(lab, node, 'cleanup', '--etcd-endpoints=http://127.0.0.1:9');
    expect(code).toBe(EXIT_OK);
    expect(stdout).toMatch(
      new RegExp(
        `^nothing to remove\n${STAYS}: etcd at http://127\\.0\\.0\\.1:9 .*; this node last ran with http://\\S+: if .*\n$`,
      ),
    );
    expect(await keys()).not.toBe('');
    expect((await cli(lab, node, 'cleanup')).stdout).toMatch(/^removed lease 10\.240\.\d+\.0\/24 from etcd\n$/);
    expect(await keys()).toBe('');
  });

  it('takes the lease from below the prefix that the node has had, whatever the settings say by now', async () => {
    await startNode(lab, node);
    await stopNode(lab, node);
    expect(await keys()).not.toBe('');
    const { code, stdout } = await cli(lab, node, 'cleanup', '--etcd-prefix=/another/network');
    expect(code).toBe(EXIT_OK);
    expect(stdout).toMatch(/^removed lease 10\.240\.\d+\.0\/24 from etcd$/m);
    expect(await keys()).toBe('');
  });

  const add = (what: string) => `ip link add rudder0 type ${what}`;
  it.each([
    ['a bridge', add('bridge'), /of kind bridge/],
    ['a bridge with our mark', `${add('bridge')} && ip link set rudder0 alias 'rudder overlay'`, /of kind bridge/],
    ['one end of a cable', add('veth peer name other0'), /of kind veth/],
    ['a TAP', 'ip tuntap add rudder0 mode tap', /of kind tap/],
    ['a TUN of somebody else', 'ip tuntap add rudder0 mode tun', /without the alias "rudder overlay"/],
    [
      'one of several queues',
      "ip tuntap add rudder0 mode tun multi_queue; ip link set rudder0 alias 'rudder overlay'",
      /one queue/,
    ],
  ])('leaves %s called rudder0 alone, and says so', async (_, make, what) => {
    await inside(make);
    const before = await device();
    const { code, stdout } = await cli(lab, node, 'cleanup');
    expect(code).toBe(EXIT_OK);
    expect(stdout).toMatch(/^nothing to remove\nleft rudder0 alone, which is .*"ip link delete rudder0"\n$/);
    expect(stdout).toMatch(what);
    expect(await device()).toBe(before);
  });

  it('takes what a killed node has left', async () => {
    await startNode(lab, node);
    // It is saved as soon as the node is ready, and not before that.
    const lastKnown = `${nodePaths(lab, node).stateDir}/last-known.json`;
    await waitFor('what it knows to be saved', () => existsSync(lastKnown), 5000);
    process.kill(node.process!.pid, 'SIGKILL');
    await stopNode(lab, node);
    const { code, stdout } = await cli(lab, node, 'cleanup');
    expect({ code, lines: stdout.split('\n').length }).toEqual({ code: EXIT_OK, lines: 6 });
    expect(await device()).toContain('does not exist');
  });

  it('finds a device that was given another name while no node ran, as the next start does', async () => {
    const rename = () => inside('ip link set rudder0 down && ip link set rudder0 name theirs0');
    await startNode(lab, node);
    await stopNode(lab, node);
    await rename();
    await startNode(lab, node);
    expect(await inside('ip -brief link')).not.toContain('theirs0');
    expect((await statusOf(lab, node)).problems).toEqual([]);
    await stopNode(lab, node);
    await rename();
    expect((await cli(lab, node, 'cleanup')).stdout).toContain('removed theirs0\n');
    expect(await inside('ip -brief link')).not.toContain('theirs0');
  });

  describe('with files that the daemon, or who has broken into it, may have made', () => {
    const SECRET = 'root:$6$precious';
    const paths = () => nodePaths(lab, node);
    function secret(): string {
      const file = `${paths().directory}/secret`;
      writeFileSync(file, SECRET, { mode: 0o600 });
      return file;
    }

    it.each<[string, (file: string) => void]>([
      ['of another text', (file) => writeFileSync(file, SECRET)],
      ['that is a link', (file) => symlinkSync(secret(), file)],
      ['that is a directory', (file) => mkdirSync(file)],
    ])('leaves a subnet file alone %s', async (_, make) => {
      make(paths().subnetFile);
      const { code, stdout } = await cli(lab, node, 'cleanup');
      expect(code).toBe(EXIT_OK);
      expect(stdout).toMatch(
        /^nothing to remove\nleft .*subnet\.env alone, which is no file that a node has written: .*\n$/,
      );
      expect(lstatSync(paths().subnetFile)).toBeDefined();
      expect(stdout).not.toContain('precious');
    });

    it('follows no link in the state directory, and tells nothing of what it leads to', async () => {
      const file = secret();
      const { stateDir } = paths();
      mkdirSync(stateDir, { recursive: true });
      for (const name of ['state.json', 'last-known.json']) {
        rmSync(`${stateDir}/${name}`, { force: true });
        symlinkSync(file, `${stateDir}/${name}`);
      }
      const { code, stdout, stderr } = await cli(lab, node, 'cleanup');
      expect(code).toBe(EXIT_CODES.file);
      expect(stderr).toMatch(/^rudder: cannot read the state file .*state\.json: it is a symbolic link; .*\n$/);
      expect(stdout + stderr).not.toContain('precious');
      expect(readFileSync(file, 'utf8')).toBe(SECRET);
      rmSync(`${stateDir}/state.json`);
    });
  });
});
