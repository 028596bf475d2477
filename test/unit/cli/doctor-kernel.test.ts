import { describe, expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../src/backend/config.js';
import { KINDS, settingsOf } from '../../../src/backend/kinds.js';
import { examine } from '../../../src/cli/doctor/doctor.js';
import { traitsOf } from '../../../src/cli/doctor/traits.js';
import type { Status } from '../../../src/ops/status.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences, ENDPOINT, savedRulesOf } from './fake-host.js';

/** Hosts whose kernel moves the packets. */

const well = createStatus();
const [known] = well.peers;
const UNKNOWN = { outPackets: null, outBytes: null, inPackets: null, inBytes: null, heardSecondsAgo: null };
const peer = { ...known, ...UNKNOWN };
const far = { ...peer, subnet: '10.240.78.0/24', nextHop: '10.9.9.78' };

function statusOf(type: string, device: Status['device'], port: number | null, changes: Partial<Status>): Status {
  const tunnel = port === null ? null : { port, vni: 1 };
  const bareWay = port === null ? device.name : null;
  return createStatus({
    node: { ...well.node, port },
    device,
    backend: { type, kernel: type === 'alloc' ? null : { wanted: 7, present: 7 }, direct: null },
    packetPath: null,
    offloads: {},
    firewall: { ...well.firewall, settings: { ...well.firewall.settings!, devices: [device.name], bareWay, tunnel } },
    peers: [peer, { ...peer, subnet: '10.240.79.0/24', nextHop: '10.1.1.79' }],
    ...changes,
  });
}

const OUTSIDE = [
  { dst: 'default', dev: 'eth0', gateway: '10.1.1.1' },
  { dst: '10.1.1.0/24', dev: 'eth0' },
  { dst: '10.240.26.0/24', dev: 'docker0' },
  { dst: '10.240.26.0/24', type: 'blackhole', protocol: '80' },
];
const DOCKER = { ifname: 'docker0', addr_info: [{ local: '10.240.26.1', prefixlen: 24 }] };
const ours = (subnet: string, dev: string, gateway: string) => ({ dst: subnet, dev, gateway, protocol: '80' });

const tunnelled = [
  ours('10.240.77.0/24', 'rudder.1', '10.240.77.0'),
  ours('10.240.79.0/24', 'rudder.1', '10.240.79.0'),
];
const direct = [ours('10.240.77.0/24', 'eth0', '10.1.1.77'), ours('10.240.79.0/24', 'eth0', '10.1.1.79')];
const LINKS = 'ip -4 -j -d link show type vxlan';
const DEVICE = JSON.stringify([{ ifname: 'rudder.1', linkinfo: { info_data: { id: 1, port: 8472 } } }]);

function host(status: Status, routes: Differences['routes']): Differences {
  const { name, mtu } = status.device;
  const isTunnel = name !== 'eth0';
  const own = isTunnel ? [{ ifname: name, addr_info: [{ local: '10.240.26.0', prefixlen: 32 }] }] : [];
  return {
    status,
    routes: [...OUTSIDE, ...routes!],
    containerRoute: 'as the host',
    bridge: [...own, DOCKER],
    files: {
      '/run/rudder/subnet.env': `RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=${mtu}\n`,
      [`/proc/sys/net/ipv4/conf/${name}/forwarding`]: '1\n',
      [`/proc/sys/net/ipv4/conf/${name}/rp_filter`]: '1\n',
    },
    printed: {
      'iptables-save': savedRulesOf(status),
      'docker network':
        '{"Options":{"com.docker.network.driver.mtu":"1000"},"IPAM":{"Config":[{"Subnet":"10.240.26.0/24"}]}}',
      ...(isTunnel ? { [LINKS]: DEVICE } : {}),
    },
    // What kernel backends do not need.
    exists: async (path) => path !== '/dev/net/tun',
  };
}

const DEV = { name: 'rudder.1', mtu: 1450, up: true, repairs: 0 };
const ETH = { name: 'eth0', mtu: 1500, up: true, repairs: 0 };
const vxlan = (changes: Partial<Status> = {}, routes = tunnelled) =>
  host(statusOf('vxlan', DEV, 8472, changes), routes);
const hostGw = (changes: Partial<Status> = {}, routes = direct) =>
  host(statusOf('host-gw', ETH, null, changes), routes);
const wireguard = () => {
  const backend = { type: 'wireguard', kernel: { wanted: 3, present: 3 }, direct: null, cipher: 'kernel' };
  const implementation = { runs: 'kernel', why: 'this kernel has WireGuard' } as const;
  const session = { state: 'up', handshakeSeconds: 9, tryingSeconds: null, endpoint: '10.1.1.77:51820' } as const;
  const device = { name: 'rudder-wg', mtu: 1420, up: true, repairs: 0 };
  const changes = { backend: { ...backend, implementation }, peers: [{ ...peer, session }] };
  const route = { dst: '10.240.0.0/16', dev: 'rudder-wg', prefsrc: '10.240.26.0', protocol: '80' };
  return host(statusOf('wireguard', device, 51820, changes), [route]);
};
const alloc = (changes: Partial<Status> = {}) => host(statusOf('alloc', ETH, null, changes), []);

describe('rudder doctor of kernel backends', () => {
  it.each<[string, Differences, string[]]>([
    ['vxlan', vxlan(), ['kernel', 'tunnel port', 'routes', 'container route', 'container way', 'path MTU', 'overlay']],
    ['vxlan with DirectRouting', vxlan({}, direct), ['routes', 'container route']],
    ['host-gw', hostGw(), ['routes', 'container route', 'container way', 'path MTU', 'overlay']],
    ['wireguard by the kernel', wireguard(), ['handshake', 'routes', 'container route', 'path MTU', 'overlay']],
    ['alloc', alloc(), ['routes']],
  ])('finds nothing on a %s host that is well', async (_, differences, checks) => {
    const findings = await examine(createHost(differences));
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([]);
    const told = findings.map(({ check }) => check);
    for (const check of checks) expect(told).toContain(check);
    if (!checks.includes('tunnel port') && checks.length > 2) expect(told).not.toContain('tunnel port');
  });

  describe('where something may spoil the checksums of packets in VXLAN', () => {
    const OLD = { '/proc/sys/kernel/osrelease': '5.4.0-200-generic\n' };
    const feature = (state: string) => ({
      'ethtool -k': `Features for rudder.1:\n\ttx-checksum-ip-generic: ${state}\n`,
    });
    const card = (name: string) => ({ 'ethtool -i': `driver: ${name}\nversion: 1.0\n` });
    const found = async (files: Record<string, string>, printed: Record<string, string | undefined>, on = vxlan()) =>
      (
        await examine(
          createHost({
            ...on,
            files: { ...on.files, ...files },
            printed: { 'ethtool -i': undefined, ...on.printed, ...printed },
          }),
        )
      ).find(({ check }) => check === 'checksums');

    it.each<[string, Record<string, string>, Record<string, string>, RegExp]>([
      ['an old kernel', OLD, {}, /^kernel 5\.4\.0-200-generic may spoil/],
      ["VMware's card", {}, card('vmxnet3'), /^eth0 \(vmxnet3\) may spoil/],
    ])('warns of %s that is left to make them, and of none that is not', async (_, files, driver, detail) => {
      expect(await found(files, { ...driver, ...feature('on') })).toMatchObject({
        state: 'warning',
        detail: expect.stringMatching(detail),
        remedy: 'ethtool -K rudder.1 tx-checksum-ip-generic off',
      });
      expect(await found(files, { ...driver, ...feature('off') })).toMatchObject({
        state: 'ok',
        detail: expect.stringMatching(detail),
      });
      expect(await found(files, { ...driver, 'ethtool -k': undefined })).toMatchObject({
        detail: expect.stringMatching(/^could not look/),
      });
    });

    it('asks no more of a kernel and a card that are not known for it, nor of other backends', async () => {
      expect(await found({}, { ...card('virtio_net'), ...feature('on') })).toMatchObject({
        state: 'ok',
        detail: 'neither kernel 6.1.0-28-amd64 nor eth0 (virtio_net) is known to spoil them',
      });
      expect(await found({ '/proc/sys/kernel/osrelease': '5.7.0\n' }, feature('on'))).toMatchObject({ state: 'ok' });
      expect(await found(OLD, feature('on'), hostGw())).toBe(undefined);
    });

    it.each([
      ['a bond', card('bonding')],
      ['no ethtool', {}],
    ])('says nothing of the card where it cannot be known: %s', async (_, driver) => {
      expect(await found({}, { ...driver, ...feature('on') })).toMatchObject({
        state: 'ok',
        detail: 'kernel 6.1.0-28-amd64 is not known to spoil them; which card eth0 has is not known',
      });
    });
  });

  it('knows what each kind wraps around a packet', () => {
    for (const { type } of KINDS) {
      const config = parseNetworkConfig(JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } }));
      // WireGuard's MTU leaves 20 bytes for an underlay of IPv6, which nothing of ours goes over.
      const spare = type === 'wireguard' ? 20 : 0;
      expect(traitsOf(type).overheadBytes).toBe(settingsOf(config).overheadBytes - spare);
    }
  });

  it('asks for the size of a full tunnel packet', async () => {
    for (const [differences, size] of [
      [vxlan(), '1472'],
      [hostGw(), '1472'],
      [{}, '1472'],
    ] as const) {
      const asked: string[] = [];
      const { run, ...rest } = createHost(differences);
      const spied = (command: string, args: readonly string[]) => {
        asked.push([command, ...args].join(' '));
        return run(command, args);
      };
      await examine({ ...rest, run: spied });
      expect(asked).toContain(`ping -n -q -c 3 -i 0.2 -W 1 -M do -s ${size} 10.1.1.77`);
    }
  });

  const holder = (name: string) => `UNCONN 0 0 0.0.0.0:8472 0.0.0.0:* users:(("${name}",pid=77,fd=3))\n`;
  const stopped = { status: undefined, daemon: { is: 'absent' } as const };
  const config = (backend: string) => ({
    [ENDPOINT]: { config: { json: `{"Network":"10.240.0.0/16","Backend":${backend}}` } },
  });
  const noUnit = { 'systemctl show rudder.service': undefined };

  it.each<[string, Differences, string, 'problem' | 'warning', RegExp]>([
    [
      "a peer's route that is gone (vxlan)",
      vxlan({}, tunnelled.slice(1)),
      'routes',
      'problem',
      /^no route leads to 10\.240\.77\.0\/24 through rudder\.1, .*: packets leave by eth0 -> .*within seconds.*ip monitor route/,
    ],
    [
      "a peer's route that is gone (host-gw), where the default route has the same device",
      hostGw({}, direct.slice(1)),
      'routes',
      'problem',
      /^no route leads to 10\.240\.77\.0\/24 through 10\.1\.1\.77, .*: packets leave by eth0/,
    ],
    [
      "a peer's route by another gateway",
      hostGw({}, [direct[1], { ...ours('10.240.77.0/24', 'eth0', '10.1.1.9'), protocol: 'static' }]),
      'routes',
      'problem',
      /^10\.240\.77\.0\/24 leads to eth0.*packets to 10\.240\.77\.0\/24 do not reach the overlay/,
    ],
    [
      "another route for a part of a peer's subnet",
      vxlan({}, [...tunnelled, { ...ours('10.240.77.128/25', 'tun5', '10.2.2.2'), protocol: 'static' }]),
      'routes',
      'problem',
      /^10\.240\.77\.128\/25 leads to tun5/,
    ],
    [
      'a peer behind a router in host-gw',
      hostGw({
        peers: [
          peer,
          { ...far, problem: 'its address 10.9.9.78 is behind a router, expected on the link of eth0; use vxlan' },
        ],
      }),
      'peers',
      'warning',
      /^10\.240\.78\.0\/24 on beta \(10\.9\.9\.78\) is skipped: its address 10\.9\.9\.78 is behind a router.*use vxlan -> mend/,
    ],
    [
      'entries that are not in the kernel',
      vxlan({ backend: { type: 'vxlan', kernel: { wanted: 7, present: 5 }, direct: null } }),
      'kernel',
      'warning',
      /^5 of 7 entries for the peers are in the kernel/,
    ],
    [
      'a blocked port',
      {
        ...vxlan(),
        failing: ['10.240.77.0', '10.240.79.0'],
        suspects: async () => ['ip filter INPUT (input 0: drop)'],
      },
      'overlay',
      'problem',
      /^10\.240\.77\.0 on beta \(10\.1\.1\.77\) does not answer -> .*UDP port 8472.*ip filter INPUT/,
    ],
    [
      'no bridge at a host-gw peer',
      { ...hostGw(), failing: ['10.240.77.1'] },
      'overlay',
      'warning',
      /^could not look: 10\.240\.77\.1, which the bridge of containers has on beta \(10\.1\.1\.77\), does not answer/,
    ],
    [
      'a smaller MTU on the way (vxlan)',
      { ...vxlan(), failing: ['-M'] },
      'path MTU',
      'problem',
      /1500 bytes are too many -> .*set Backend\.MTU to it, or --mtu to it less 50/,
    ],
    ['a smaller MTU on the way (host-gw)', { ...hostGw(), failing: ['-M'] }, 'path MTU', 'problem', /set --mtu to it/],
    [
      'forwarding off for the VXLAN device',
      { ...vxlan(), files: { ...vxlan().files, '/proc/sys/net/ipv4/conf/rudder.1/forwarding': '0' } },
      'forwarding',
      'problem',
      /off for rudder\.1.*net\/ipv4\/conf\/rudder\.1\/forwarding=1/,
    ],
    [
      "strangers' datagrams",
      vxlan({ firewall: { ...vxlan().status!.firewall, forwarding: { ...well.firewall.forwarding!, strangers: 5 } } }),
      'firewall',
      'warning',
      /^5 datagrams of this VXLAN came from hosts that hold no lease/,
    ],
  ])('finds %s', async (_, differences, check, state, text) => {
    const found = await complaints(differences);
    expect(found.filter((one) => one.check === check)).toHaveLength(found.length);
    expect(found[0]).toMatchObject({ check, state });
    expect(found[0].text).toMatch(text);
  });

  it.each<[string, Differences, RegExp | undefined]>([
    [
      'with another program on 8472',
      { printed: { ...noUnit, 'ss -H -lunp': holder('flowd') } },
      /^UDP port 8472 is taken by flowd \(process 77\)/,
    ],
    ['on a kernel without VXLAN', { printed: noUnit, failing: ['type vxlan'] }, /^it has no VXLAN -> modprobe vxlan/],
    ['with nothing in its way', { printed: noUnit }, undefined],
  ])('looks at a stopped vxlan node %s', async (_, differences, text) => {
    const found = await complaints({ ...stopped, probes: config('{"Type":"vxlan"}'), ...differences });
    const others = found.filter(({ check }) => check !== 'daemon');
    expect(others.map((one) => one.text)).toEqual(text === undefined ? [] : [expect.stringMatching(text)]);
  });

  const ports = async (differences: Differences) =>
    (await complaints({ ...stopped, ...differences }))
      .filter(({ check }) => check === 'tunnel port')
      .map(({ text }) => text);
  const listening = (port: number) => ({
    printed: { ...noUnit, 'ss -H -lunp': `UNCONN 0 0 0.0.0.0:${port} 0.0.0.0:*\n` },
  });
  const devices = (...links: [string, number][]) => ({
    wireguardDevices: async () => links.map(([name, port]) => ({ name, port })),
  });

  it.each<[string, string, number, Differences, RegExp | undefined]>([
    ['its own device of an earlier run', 'wireguard', 51820, devices(['rudder-wg', 51820], ['wg0', 1]), undefined],
    [
      "another's device, while its own has another port",
      'wireguard',
      51820,
      devices(['rudder-wg', 51821], ['wg0', 51820]),
      /^UDP port 51820 is taken by WireGuard device wg0, and .*"ip link delete wg0"/,
    ],
    ['what an earlier run of wireguard left, for udp', 'udp', 8285, devices(['rudder-wg', 8285]), /rudder-wg/],
    ["another's device, for vxlan", 'vxlan', 8472, devices(['wg0', 8472]), /is taken by WireGuard device wg0/],
    [
      'something else of the kernel',
      'wireguard',
      51820,
      devices(['rudder-wg', 51821]),
      /^UDP port 51820 is taken by the kernel, for something else than WireGuard, and/,
    ],
    [
      'a kernel that does not tell',
      'udp',
      8285,
      { wireguardDevices: async () => undefined },
      /by the kernel, which does not tell for what/,
    ],
  ])('finds the port of a stopped node with the kernel: %s', async (_, type, port, differences, text) => {
    const found = await ports({ probes: config(`{"Type":"${type}"}`), ...listening(port), ...differences });
    expect(found).toEqual(text === undefined ? [] : [expect.stringMatching(text)]);
  });

  it('of udp takes a program on loopback for no hindrance, and another one for one', async () => {
    const at = (address: string) => `UNCONN 0 0 ${address}:8285 0.0.0.0:* users:(("x",pid=7,fd=3))\n`;
    const taken = (address: string) => ports({ printed: { ...noUnit, 'ss -H -lunp': at(address) } });
    expect(await taken('127.0.0.1')).toEqual([]);
    expect(await taken('0.0.0.0')).toHaveLength(1);
  });

  it.each<[string, string, Differences, RegExp[]]>([
    ["is the kernel's by auto", '{"Type":"wireguard"}', {}, []],
    ["is the kernel's by the config", '{"Type":"wireguard","Implementation":"kernel"}', {}, []],
    [
      "is the kernel's by the settings",
      '{"Type":"wireguard","Implementation":"user"}',
      { settings: { unreadable: undefined, refused: [], wireguardImplementation: 'kernel' } },
      [],
    ],
    ['is ours by the config', '{"Type":"wireguard","Implementation":"user"}', {}, [/^permissions: .*tun is missing/]],
    [
      'is ours by auto, as the kernel has none',
      '{"Type":"wireguard"}',
      { failing: ['type wireguard'] },
      [/^permissions: .*tun is missing/],
    ],
    [
      'is nobody knows whose',
      '{"Type":"wireguard"}',
      { failing: ['netns add'] },
      [/^permissions: could not look: "ip netns add" fails/],
    ],
    [
      "is to be the kernel's, which has none",
      '{"Type":"wireguard","Implementation":"kernel"}',
      { failing: ['type wireguard'] },
      [/^kernel: it has no WireGuard -> modprobe wireguard, or choose Backend\.Implementation/],
    ],
  ])('of a stopped node whose WireGuard %s, without /dev/net/tun', async (_, backend, differences, texts) => {
    const without = { exists: async () => false, printed: noUnit, ...differences };
    const found = await complaints({ ...stopped, probes: config(backend), ...without });
    const told = found.filter(({ check }) => ['permissions', 'kernel'].includes(check));
    expect(told.map(({ check, text }) => `${check}: ${text}`)).toEqual(texts.map((one) => expect.stringMatching(one)));
  });
});
