import { basename, dirname } from 'node:path';
import { examine } from '../../../src/cli/doctor/doctor.js';
import type { EtcdFound, Host, Link } from '../../../src/cli/doctor/host.js';
import type { Checkup } from '../../../src/control/etcd/checkup.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { contains } from '../../../src/core/subnet.js';
import type { Status } from '../../../src/ops/status.js';
import { ownChains } from '../../../src/system/firewall-rules.js';
import { ip } from '../../helpers/path.js';
import { createStatus } from '../../helpers/status.js';

/** A host for the doctor to look at, on which nothing is but what a test says. */

export const NOW = Date.parse('2026-01-01T00:00:00Z');
interface Route {
  readonly dst: string;
  readonly type?: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly protocol?: string;
  readonly table?: string;
}

export const ROUTES: readonly Route[] = [
  { dst: 'default', dev: 'eth0' },
  { dst: '10.1.1.0/24', dev: 'eth0' },
  { dst: '10.240.0.0/16', dev: 'rudder0' },
  { dst: '10.240.26.0/24', dev: 'docker0' },
];

const BRIDGE = [
  { ifname: 'rudder0', addr_info: [{ local: '10.240.26.0', prefixlen: 16 }] },
  { ifname: 'docker0', addr_info: [{ local: '10.240.26.1', prefixlen: 24 }] },
];
const TO_PEER = { dev: 'rudder0' };

const FILES: Record<string, string> = {
  '/run/rudder/subnet.env': 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1472\n',
  '/proc/sys/kernel/osrelease': '6.1.0-28-amd64\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/sys/net/ipv4/conf/rudder0/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/docker0/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/eth0/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
  '/proc/sys/net/ipv4/conf/rudder0/rp_filter': '2\n',
};

export interface Differences extends Partial<Host> {
  readonly files?: Record<string, string | undefined>;
  readonly routes?: readonly Route[];
  /** Beside those that the kernel makes. */
  readonly rules?: readonly { priority: number; dst?: string; dstlen?: number; table: string }[];
  /** Where the kernel leads an address, if not where `routes` say. */
  readonly ways?: Record<string, Route | undefined>;
  /** What holds our subnet. */
  readonly bridge?: Link[];
  /** Where a container's packet to a peer would go. */
  readonly containerRoute?: Partial<Route> | 'as the host' | undefined;
  /** Commands that fail, pings too: by a text in their arguments. */
  readonly failing?: string[];
  /** Pings of which one is lost, in the same way. */
  readonly lossy?: string[];
  /** Somebody has the last address of our subnet. */
  readonly taken?: boolean;
  /** What a command prints, by its name and first arguments. */
  readonly printed?: Record<string, string | undefined>;
  /** What an endpoint answers. */
  readonly probes?: Record<string, Partial<Checkup>>;
}

export const ENDPOINT = 'http://10.1.1.1:2379';
export const ETCD: Exclude<EtcdFound, { problem: string }> = {
  endpoints: [ENDPOINT],
  saidBy: undefined,
  prefix: '/coreos.com/network',
  flags: [],
};
const GOOD_PROBE: Checkup = {
  failure: undefined,
  config: { json: '{"Network":"10.240.0.0/16"}' },
  readMs: 1,
  writeMs: 2,
  alarms: [],
  version: '3.4.23',
  isLeader: true,
};

const KERNEL_RULES = [
  { priority: 0, table: 'local' },
  { priority: 32_766, table: 'main' },
  { priority: 32_767, table: 'default' },
];

/** What `iptables-save` prints where our rules are as they should be. @param changes before they are printed */
export const savedRules = (changes?: (lines: string[]) => string[]) => savedRulesOf(createStatus(), changes);

export function savedRulesOf({ node, firewall }: Status, changes = (lines: string[]) => lines): string {
  const chains = ownChains({
    ...firewall.settings!,
    bareWay: firewall.settings!.bareWay ?? undefined,
    tunnel: firewall.settings!.tunnel ?? undefined,
    network: parseSubnet(node.network)!,
    subnet: parseSubnet(node.subnet)!,
    localAddress: parseIpv4(node.publicIp)!,
  }).filter(({ onlyBesideOthers }) => !onlyBesideOthers);
  const lines = chains.flatMap(({ table, parent, name, asks = [], rules }) => [
    `*${table}`,
    `:${parent} ACCEPT [0:0]`,
    `:${name} - [0:0]`,
    ...asks.map((other) => `:${other} - [0:0]`),
    `-A ${parent} -j ${name}`,
    ...[...asks.map((other) => `-j ${other}`), ...rules].map((rule) => `-A ${name} ${rule}`),
    'COMMIT',
  ]);
  return `${changes(lines).join('\n')}\n`;
}

export const docker = (mtu: string, pool: object | undefined = { Subnet: '10.240.26.0/24', Gateway: '10.240.26.1' }) =>
  JSON.stringify({
    Options: { 'com.docker.network.bridge.name': 'docker0', 'com.docker.network.driver.mtu': mtu },
    IPAM: { Config: [pool, { Subnet: 'fd00::/64' }] },
  });
/** As `systemctl show` prints them. */
export const unit = (changes: Record<string, string> = {}) =>
  Object.entries({
    LoadState: 'loaded',
    ActiveState: 'active',
    SubState: 'running',
    Result: 'success',
    ExecMainCode: '0',
    ExecMainStatus: '0',
    NRestarts: '0',
    DropInPaths: '/usr/lib/systemd/system/docker.service.d/rudder.conf',
    ...changes,
  })
    .map(([name, value]) => `${name}=${value}`)
    .join('\n');

const PRINTED: Record<string, string | undefined> = {
  'iptables-save': savedRules(),
  'nft --terse list table ip rudder': 'table ip rudder {}',
  'systemctl show rudder.service': unit(),
  'systemctl show docker.service': unit(),
  'ip -4 -j -d link show type vxlan': '[]',
  'ethtool -i': 'driver: virtio_net\n',
  'ss -H -lunp': '',
  'docker version': '28.2.2\n',
  'docker network': docker('1472'),
};

/** A host on which all is well, but for the differences. */
export function createHost(differences: Differences = {}): Host {
  const {
    files = {},
    routes = ROUTES,
    rules = [],
    ways = {},
    failing = [],
    lossy = [],
    bridge = BRIDGE,
    containerRoute = TO_PEER,
    printed = {},
    taken = false,
    probes = {},
    ...changes
  } = differences;
  const isAmong = (texts: readonly string[], args: readonly string[]) =>
    texts.some((text) => ` ${args.join(' ')} `.includes(` ${text} `));
  const fails = (args: readonly string[]) => isAmong([...failing, ...(taken ? [] : ['10.240.26.254'])], args);

  function ping(args: readonly string[]): string | undefined {
    if (fails(args)) return undefined;
    const sent = Number(args[args.indexOf('-c') + 1]);
    const received = isAmong(lossy, args) ? sent - 1 : sent;
    return `--- ping statistics ---\n${sent} packets transmitted, ${received} received, time 0ms\n`;
  }

  const subnetOf = ({ dst }: Route) =>
    parseSubnet(dst === 'default' ? '0.0.0.0/0' : dst.includes('/') ? dst : `${dst}/32`)!;

  /** The longest prefix wins, as in the kernel's main table. */
  function wayTo(address: string): Route | undefined {
    if (address in ways) return ways[address];
    const length = (route: Route) => subnetOf(route).prefixLength;
    const [best] = routes
      .filter((route) => ['local', undefined].includes(route.table) && contains(subnetOf(route), ip(address)))
      .sort((a, b) => length(b) - length(a));
    return best?.type === 'blackhole' ? undefined : best;
  }

  function ipCommand(args: readonly string[]): string | undefined {
    if (args.includes('address')) return JSON.stringify(bridge);
    if (args.includes('rule')) return JSON.stringify([...rules, ...KERNEL_RULES]);
    if (!args.includes('get')) {
      const root = parseSubnet(args[args.indexOf('root') + 1])!;
      return JSON.stringify(
        routes.filter((route) => {
          const { address, prefixLength } = subnetOf(route);
          return contains(root, address) && prefixLength >= root.prefixLength;
        }),
      );
    }
    const isOwn = !args.includes('iif') || containerRoute === 'as the host';
    const way = isOwn ? wayTo(args[args.indexOf('fibmatch') + 1]) : containerRoute;
    return way === undefined ? undefined : JSON.stringify([way]);
  }

  return {
    version: '1.2.3',
    isRoot: true,
    probeKubernetes: async () => undefined,
    status: createStatus(),
    socketPath: '/run/rudder/rudder.sock',
    daemon: { is: 'absent' },
    etcd: ETCD,
    settings: { unreadable: undefined, refused: [] },
    probe: async (endpoint) => ({ ...GOOD_PROBE, ...probes[endpoint] }),
    now: () => NOW,
    exists: async () => true,
    read: async (path) => ({ ...FILES, ...files })[path],
    list: async (path) =>
      Object.keys({ ...FILES, ...files }).flatMap((file) => (dirname(file) === path ? basename(file) : [])),
    async run(command, args) {
      const words = [command, ...args].join(' ');
      const known = { ...PRINTED, ...printed };
      const key = Object.keys(known).find((start) => words.startsWith(start));
      if (key !== undefined) return known[key];
      return args.includes('-c') ? ping(args) : ipCommand(args);
    },
    succeeds: async (_, args) => !fails(args),
    wireguardDevices: async () => [],
    nameservers: async () => [ip('192.0.2.53')],
    suspects: async () => [],
    clockOf: async () => new Date(NOW + 2000),
    echoes: async () => ({ sent: 5, rttsMs: [0.3, 0.2, 0.4, 0.3, 0.3], refusal: undefined }),
    largestPacket: async (_, __, largest) => largest,
    ...changes,
  };
}

/** What the doctor says of it, but for what is well. */
export const complaints = async (differences: Differences) =>
  (await examine(createHost(differences)))
    .filter(({ state }) => state !== 'ok')
    .map(({ check, state, detail, remedy }) => ({ check, state, text: `${detail} -> ${remedy}` }));
