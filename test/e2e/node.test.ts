import { readFileSync, statSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { logLines, logText, nodePaths, readSubnetEnv, startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-node';
const GOOD_CONFIG = '{"Network":"10.240.0.0/16"}';

/** One node with that network config, ready. */
async function nodeWith(config: string, ...daemonArguments: string[]): Promise<LabState> {
  const lab = await createLab({ name: NAME, nodes: 1, config, daemon: { arguments: daemonArguments } });
  await startNode(lab, lab.nodes[0]);
  return lab;
}

const json = async (lab: LabState, ...command: string[]) =>
  JSON.parse(await execIn(lab, 'n1', ['ip', '-j', ...command]));
const envText = (lab: LabState) => readFileSync(nodePaths(lab, lab.nodes[0]).subnetFile, 'utf8');

describeWith(['root', 'tun', 'etcd'], 'a node', () => {
  afterEach(() => labDown(NAME));

  it('for {"Network":"10.240.0.0/16"} has the device, address, route, MTU and subnet.env of the contract', async () => {
    const lab = await nodeWith(GOOD_CONFIG);
    const env = envText(lab);
    const match =
      /^RUDDER_SUBNET=(10\.240\.(\d+))\.1\/24\nRUDDER_MTU=1472\nRUDDER_NETWORK=10\.240\.0\.0\/16\nRUDDER_IPMASQ=false\n$/.exec(
        env,
      );
    expect(match, env).not.toBeNull();
    // The first subnet is skipped, and the choice is among the first hundred.
    expect(Number(match![2])).toBeGreaterThanOrEqual(1);
    expect(Number(match![2])).toBeLessThanOrEqual(100);
    expect(statSync(nodePaths(lab, lab.nodes[0]).subnetFile).mode & 0o777).toBe(0o644);

    const [device] = await json(lab, '-d', 'address', 'show', 'dev', 'rudder0');
    expect(device).toMatchObject({ ifname: 'rudder0', mtu: 1472, link_type: 'none', linkinfo: { info_kind: 'tun' } });
    expect(device.flags).toEqual(expect.arrayContaining(['POINTOPOINT', 'UP', 'LOWER_UP']));
    expect(device.linkinfo.info_data).toMatchObject({ type: 'tun', persist: true });
    // One address and no more: above all no IPv6 link-local one.
    expect(device.addr_info.filter((entry: { family?: string }) => entry.family !== undefined)).toEqual([
      expect.objectContaining({ family: 'inet', local: `${match![1]}.0`, prefixlen: 16, scope: 'global' }),
    ]);
    const routes = await json(lab, 'route', 'show', 'dev', 'rudder0');
    expect(routes).toEqual([expect.objectContaining({ dst: '10.240.0.0/16' })]);
  });

  it('writes a lease as flannel reads it', async () => {
    const lab = await nodeWith('{"Network":"10.240.0.0/16"}');
    const [key, value] = (await etcdctl(lab, 'get', '--prefix', '/coreos.com/network/subnets/')).split('\n');
    expect(key).toMatch(/^\/coreos\.com\/network\/subnets\/10\.240\.\d+\.0-24$/);
    // Byte for byte up to the fields that flannel's udp backend ignores.
    expect(value).toMatch(
      new RegExp(
        `^{"PublicIP":"${nodeAddress(lab, lab.nodes[0])}","PublicIPv6":null,"BackendType":"udp","BackendData":{"NodeID":"[0-9a-f-]{36}","HostName":"n1","Version":"[0-9.]+","NodeKey":"[\\w-]{43}","Port":8285}}$`,
      ),
    );
  });

  it('honours SubnetLen, SubnetMin, SubnetMax, Port and MTU, keys in any case', async () => {
    const config =
      '{"network":"10.80.0.0/12","SUBNETLEN":20,"subnetMin":"10.88.16.0","SubnetMax":"10.88.16.0","backend":{"TYPE":"udp","port":7890,"mtu":1300}}';
    const lab = await nodeWith(config);
    expect(readSubnetEnv(lab, lab.nodes[0])).toEqual({
      RUDDER_SUBNET: '10.88.16.1/20',
      RUDDER_MTU: '1300',
      RUDDER_NETWORK: '10.80.0.0/12',
      RUDDER_IPMASQ: 'false',
    });
    const [device] = await json(lab, 'address', 'show', 'dev', 'rudder0');
    expect(device.mtu).toBe(1300);
    expect(device.addr_info[0]).toMatchObject({ local: '10.88.16.0', prefixlen: 12 });
    const sockets = await execIn(lab, 'n1', ['ss', '-lun']);
    expect(sockets).toContain(`${nodeAddress(lab, lab.nodes[0])}:7890`);
  });

  it('warns of keys in the config that it ignores', async () => {
    const lab = await nodeWith('{"Network":"10.240.0.0/16","SubnetLenght":26}');
    expect(logLines(lab, lab.nodes[0])).toContainEqual(
      expect.objectContaining({
        level: 40,
        key: '/coreos.com/network/config',
        problem: 'unknown key "SubnetLenght", did you mean SubnetLen?',
      }),
    );
  });

  it('warns once of variables that look like settings and are none', async () => {
    const env = { RUDDERD_LEASE_TLL: '1h' };
    const lab = await createLab({ name: NAME, nodes: 1, config: GOOD_CONFIG, daemon: { env } });
    await startNode(lab, lab.nodes[0]);
    const told = logLines(lab, lab.nodes[0]).filter(({ msg }) => msg === 'a variable of the environment is ignored');
    expect(told.map(({ level, problem }) => [level, problem])).toEqual([
      [40, 'the variable "RUDDERD_LEASE_TLL" is no setting, did you mean RUDDERD_LEASE_TTL?'],
    ]);
  });

  it('lets --mtu beat the config, and --subnet-env-prefix and --public-ip do what they say', async () => {
    const config = '{"Network":"10.240.0.0/16","Backend":{"Type":"udp","MTU":1300}}';
    const lab = await nodeWith(config, '--mtu=1200', '--subnet-env-prefix=FLANNEL', '--public-ip=203.0.113.5');
    expect(envText(lab)).toMatch(/^FLANNEL_SUBNET=10\.240\.\d+\.1\/24\nFLANNEL_MTU=1200\n/);
    expect(await etcdctl(lab, 'get', '--prefix', '/coreos.com/network/subnets/')).toContain('"PublicIP":"203.0.113.5"');
  });

  it('on an address of loopback takes no MTU that a datagram cannot carry, and says what to do', async () => {
    const lab = await createLab({ name: NAME, nodes: 1, config: GOOD_CONFIG, daemon: { arguments: ['--iface=lo'] } });
    await execIn(lab, 'n1', ['ip', 'address', 'add', '192.0.2.1/32', 'dev', 'lo']);
    await startNode(lab, lab.nodes[0]);
    expect(readSubnetEnv(lab, lab.nodes[0]).RUDDER_MTU).toBe('65507');
    expect((await json(lab, 'link', 'show', 'rudder0'))[0].mtu).toBe(65507);
    expect(logText(lab, lab.nodes[0])).toMatch(/the MTU of loopback says nothing .*; set --mtu/);
  });

  it.each([
    ['--iface=eth0'],
    ['--iface-regex=^eth'],
    ['--iface-can-reach=172.30.0.1'],
  ])('finds its interface by %s', async (flag) => {
    const lab = await nodeWith('{"Network":"10.240.0.0/16"}', flag);
    expect(await execIn(lab, 'n1', ['ss', '-lun'])).toContain(`${nodeAddress(lab, lab.nodes[0])}:8285`);
  });
});
