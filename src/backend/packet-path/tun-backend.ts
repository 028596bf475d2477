import type { RudderError } from '../../core/errors.js';
import type { Ipv4 } from '../../core/ipv4.js';
import type { LeaseChange } from '../../core/lease-set.js';
import { isLeasable } from '../../core/network-config.js';
import { createOneAtATime } from '../../core/one-at-a-time.js';
import { maskOf, type Subnet } from '../../core/subnet.js';
import { removeOwnDevices } from '../../system/marked-devices.js';
import { native } from '../../system/native.js';
import {
  configureTunDevice,
  DEVICE_NAME,
  deviceProblem,
  openTunDevice,
  removeDevice,
  writeTunMessage,
} from '../../system/tun-device.js';
import { openUdpSocket } from '../../system/udp-socket.js';
import type { Backend, HostChange } from '../backend.js';
import type { BackendHost } from '../kind.js';
import { openHandles } from './handles.js';
import { enableOffloads, watchOffloads } from './offload-probe.js';
import { type PacketPath, startPacketPath } from './packet-path.js';
import type { PeerTables } from './peer-tables.js';
import { elapsedMs, nowMs } from './tables/clock.js';
import { readAll } from './tables/counters.js';
import { createSharedMemory, type PathSettings } from './tables/memory.js';
import { OFFLOADS } from './tables/offloads.js';

/** Ways to peers beside the tunnel, which knows all peers all the time. */
export interface DirectRouting {
  /** The tunnel must be up: its device has the address that echoes come from. */
  start(own: Subnet): Promise<void>;
  apply(changes: readonly LeaseChange[]): Promise<void>;
  /** @returns what was wrong, in words; undefined: nothing */
  repair(): Promise<string | undefined>;
  adapt(host: HostChange): Promise<void>;
  setRouted(isRouted: boolean): Promise<void>;
  peers(): number;
  ways(): readonly string[];
  persist(): void;
  stop(remove: boolean): Promise<void>;
}

/** What a kind adds to device, socket and packet path. */
export interface Tunnel extends Pick<Backend, 'leaseData' | 'problemOf' | 'sessions' | 'rotateKey'> {
  readonly tables: Omit<PeerTables, 'apply' | 'traffic'> & Pick<PathSettings, 'sealed'>;
  readonly apply: PeerTables['apply'];
  readonly traffic: PeerTables['traffic'];
  /** What it counts beside the packet path. */
  counters(): Record<string, number>;
  /** Peers that are reached without it; undefined: none. */
  readonly direct: DirectRouting | undefined;
  /** The packet path is about to run on a device of that MTU. */
  starting(mtu: number): void;
  /** It runs. */
  started(path: Pick<PacketPath, 'wake'>): void;
  stop(): Promise<void>;
}

export interface TunOptions extends BackendHost {
  readonly port: number;
}

/**
 * Opens device and socket.
 * @param tunnelOn made of the socket, which may be another one later
 * @throws RudderError `device` or `socket`
 */
export function openTunBackend(options: TunOptions, tunnelOn: (socket: () => number) => Tunnel): Backend {
  const { port, netlink, log, config } = options;
  let { localAddress, mtu } = options;
  const handles = openHandles(localAddress, port);
  const memory = createSharedMemory();
  const tunnel = tunnelOn(() => handles.udp);
  const { direct } = tunnel;
  let fail: (error: RudderError) => void = () => undefined;
  const failure = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Nobody may be waiting for it yet, or any more.
  failure.catch(() => undefined);
  let own: Subnet | undefined;
  let path: PacketPath | undefined;
  let offloadWatch: { stop(): void } | undefined;
  let stopped = false;
  let isRouted = true;
  /** What has been put right and not been told yet. */
  let repaired: string | undefined;
  /** For all that changes device, socket or worker. */
  const oneAtATime = createOneAtATime();

  const device = (address: Ipv4, wanted = mtu) => ({
    name: DEVICE_NAME,
    address,
    network: config.network,
    prefixLength: isLeasable(config, config.network.address) ? 32 : config.network.prefixLength,
    mtu: wanted,
    isRouted,
  });

  /** Whatever device and socket there are now: brings them up and starts the worker on them. */
  async function startPath(subnet: Subnet): Promise<void> {
    await configureTunDevice(netlink, device(subnet.address));
    const { tun, udp } = handles;
    const system = { native, writeTun: (message: Uint8Array) => writeTunMessage(tun, message) };
    enableOffloads(system, { tun, udp }, memory.offloads, options.offloads, log);
    offloadWatch = watchOffloads(memory.offloads, log);
    const { routes, members, portMapped, peers, counters, sealed } = tunnel.tables;
    tunnel.starting(mtu);
    const settings = {
      routes,
      peers,
      members,
      portMapped,
      traffic: counters,
      sealed,
      ownAddress: subnet.address,
      ownMask: maskOf(subnet.prefixLength),
      port,
      localAddress,
      checkSource: options.checkSource,
    };
    path = await startPacketPath({ tun, udp }, memory, settings, (error) => void pathEnded(error));
    tunnel.started(path);
  }

  async function stopPath(): Promise<void> {
    offloadWatch?.stop();
    await path?.stop();
    path = undefined;
  }

  /** Gives the worker another device or socket. A path that does not start again is the end: nothing would restart it. */
  async function restartPath(subnet: Subnet, change: () => void): Promise<void> {
    await stopPath();
    try {
      change();
      await startPath(subnet);
    } catch (error) {
      fail(error as RudderError);
      throw error;
    }
  }

  /** A device that somebody has deleted is made anew; anything else is the end. */
  async function pathEnded(error: RudderError): Promise<void> {
    const isGone = await netlink.link(DEVICE_NAME).then(
      (link) => link === undefined,
      () => false,
    );
    if (!isGone) return fail(error);
    // If it cannot be made, say because another one has that name by now, that is the end too.
    await oneAtATime(makeDeviceAnew).catch(() => undefined);
  }

  async function makeDeviceAnew(): Promise<void> {
    if (own === undefined || stopped) return;
    await restartPath(own, () => handles.replaceTun(openTunDevice(DEVICE_NAME)));
    repaired = 'gone';
  }

  async function repair(): Promise<string | undefined> {
    if (own === undefined || stopped) return undefined;
    const told = repaired;
    repaired = undefined;
    // Also at a device that was just made anew: what was done to it since is told only once.
    const problem = await deviceProblem(netlink, device(own.address));
    // Under a name that somebody has given it our device is open still, and would stay so without anything that it needs.
    if (problem === 'gone') await removeOwnDevices(netlink, 'tun', DEVICE_NAME);
    // One that is gone ends the worker, and is made anew by that.
    if (problem === undefined || problem === 'gone') return told;
    await configureTunDevice(netlink, device(own.address));
    return told === undefined ? problem : `${told}, ${problem}`;
  }

  async function adapt(host: HostChange): Promise<void> {
    if (own === undefined || stopped) return;
    if (host.mtu !== mtu) {
      await configureTunDevice(netlink, device(own.address, host.mtu));
      mtu = host.mtu;
      tunnel.starting(mtu);
    }
    if (host.localAddress === localAddress) return;
    const next = openUdpSocket(host.localAddress, port);
    localAddress = host.localAddress;
    await restartPath(own, () => handles.replaceUdp(next));
  }

  async function setRouted(wanted: boolean): Promise<void> {
    if (own === undefined || stopped || wanted === isRouted) return;
    isRouted = wanted;
    await configureTunDevice(netlink, device(own.address));
  }

  return {
    device: DEVICE_NAME,
    leaves: direct === undefined ? ['tun device'] : ['tun device', 'routes'],
    ways: () => [DEVICE_NAME, ...(direct?.ways() ?? [])],
    leaseData: tunnel.leaseData,
    mtu: () => mtu,
    failure,
    async start(subnet) {
      own = subnet;
      await startPath(subnet);
      await direct?.start(subnet);
    },
    async apply(changes) {
      tunnel.apply(changes);
      await direct?.apply(changes);
    },
    problemOf: tunnel.problemOf,
    async repair() {
      const found = [await oneAtATime(repair), await direct?.repair()];
      return found.filter((text) => text !== undefined).join(', ') || undefined;
    },
    async adapt(host) {
      await oneAtATime(() => adapt(host));
      await direct?.adapt(host);
    },
    async setRouted(wanted) {
      await oneAtATime(() => setRouted(wanted));
      await direct?.setRouted(wanted);
    },
    packetPath: {
      counters: () => ({ ...readAll(memory.counters), ...handles.queueDrops(), ...tunnel.counters() }),
      traffic: tunnel.traffic,
      offloads: () => Object.fromEntries(OFFLOADS.map((name, i) => [name, memory.offloads[i] === 1 ? 'on' : 'off'])),
      heartbeatAgeMs: () => elapsedMs(memory.clock[0], nowMs()),
    },
    sessions: tunnel.sessions,
    rotateKey: tunnel.rotateKey,
    kernelEntries: () => undefined,
    directPeers: () => direct?.peers(),
    persist() {
      handles.persist();
      direct?.persist();
    },
    async stop(remove) {
      stopped = true;
      try {
        await direct?.stop(remove);
        await tunnel.stop();
      } finally {
        await oneAtATime(stopPath);
        handles.close();
        if (remove) await removeDevice(netlink, DEVICE_NAME);
      }
    },
  };
}
