import { examine } from '../../../src/cli/doctor/doctor.js';
import type { Host, Link } from '../../../src/cli/doctor/host.js';
import type { Checkup } from '../../../src/control/etcd-checkup.js';
import { ip } from '../../helpers/path.js';
import { createStatus } from '../../helpers/status.js';

/** A host for the doctor to look at, on which nothing is but what a test says. */

export const NOW = Date.parse('2026-01-01T00:00:00Z');
export const ROUTES = [
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
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
  '/proc/sys/net/ipv4/conf/rudder0/rp_filter': '2\n',
};

export interface Differences extends Partial<Host> {
  readonly files?: Record<string, string | undefined>;
  readonly routes?: { dst: string; type?: string; dev?: string }[];
  /** What holds our subnet. */
  readonly bridge?: Link[];
  /** Where a container's packet to a peer would go. */
  readonly containerRoute?: { type?: string; dev?: string; table?: string } | undefined;
  /** Pings that fail: by a text in their arguments. */
  readonly failing?: string[];
  /** Somebody has the last address of our subnet. */
  readonly taken?: boolean;
  /** What a command prints, by its name and first arguments. */
  readonly printed?: Record<string, string | undefined>;
  /** What an endpoint answers. */
  readonly probes?: Record<string, Partial<Checkup>>;
}

export const ENDPOINT = 'http://10.1.1.1:2379';
const GOOD_PROBE: Checkup = { failure: undefined, readMs: 1, writeMs: 2, alarms: [], version: '3.4.23' };

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
  'iptables-save': '-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j RUDDER-FORWARD\n-A FORWARD -j ACCEPT\n',
  'systemctl show rudder.service': unit(),
  'systemctl show docker.service': unit(),
  'docker version': '28.2.2\n',
  'docker network': docker('1472'),
};

/** A host on which all is well, but for the differences. */
export function createHost(differences: Differences = {}): Host {
  const {
    files = {},
    routes = ROUTES,
    failing = [],
    bridge = BRIDGE,
    containerRoute = TO_PEER,
    printed = {},
    taken = false,
    probes = {},
    ...changes
  } = differences;
  return {
    isRoot: true,
    status: createStatus(),
    socketPath: '/run/rudder/rudder.sock',
    daemon: { is: 'absent' },
    etcd: { endpoints: [ENDPOINT], saidBy: undefined },
    settings: { unreadable: undefined, refused: [] },
    probe: async (endpoint) => ({ ...GOOD_PROBE, ...probes[endpoint] }),
    now: () => NOW,
    exists: async () => true,
    read: async (path) => ({ ...FILES, ...files })[path],
    async run(command, args) {
      const words = [command, ...args].join(' ');
      const known = { ...PRINTED, ...printed };
      const key = Object.keys(known).find((start) => words.startsWith(start));
      if (key !== undefined) return known[key];
      if (args.includes('address')) return JSON.stringify(bridge);
      return JSON.stringify(args.includes('get') ? [containerRoute] : routes);
    },
    succeeds: async (_, args) =>
      ![...failing, ...(taken ? [] : ['10.240.26.254'])].some((text) => ` ${args.join(' ')} `.includes(` ${text} `)),
    nameservers: async () => [ip('192.0.2.53')],
    suspects: async () => [],
    dateOf: async () => new Date(NOW + 2000),
    ...changes,
  };
}

/** What the doctor says of it, but for what is well. */
export const complaints = async (differences: Differences) =>
  (await examine(createHost(differences)))
    .filter(({ state }) => state !== 'ok')
    .map(({ check, state, detail, remedy }) => ({ check, state, text: `${detail} -> ${remedy}` }));
