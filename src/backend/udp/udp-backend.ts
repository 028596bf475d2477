import { Worker } from 'node:worker_threads';
import { messageOf, RudderError } from '../../core/errors.js';
import { type Ipv4, NO_ADDRESS } from '../../core/ipv4.js';
import type { Logger } from '../../core/logger.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { maskOf } from '../../core/subnet.js';
import { native } from '../../system/native.js';
import type { Netlink } from '../../system/netlink.js';
import {
  configureTunDevice,
  DEVICE_NAME,
  openTunDevice,
  removeDevice,
  writeTunMessage,
} from '../../system/tun-device.js';
import { openUdpSocket } from '../../system/udp-socket.js';
import type { Backend } from '../backend.js';
import { readAll } from './counters.js';
import { createMemberSet, createMembers } from './members.js';
import { CONTROL_STOP, createSharedMemory, type SharedMemory, type WorkerData } from './memory.js';
import { enableOffloads, OFFLOADS, type Offload, watchOffloads } from './offloads.js';
import { createPeerCounters, readPeer } from './peer-counters.js';
import { createRouteTable, nextHopOf, setRoute, subnetNumberOf } from './route-table.js';

/** IPv4 header (20) and UDP header (8) around each inner packet. */
export const OVERHEAD_BYTES = 28;

export interface UdpBackendOptions {
  readonly config: NetworkConfig;
  readonly netlink: Netlink;
  /** Address of the underlay interface: where the socket is bound. */
  readonly localAddress: Ipv4;
  readonly mtu: number;
  readonly checkSource: boolean;
  /** Offloads to use where the kernel has them. */
  readonly offloads: ReadonlySet<Offload>;
  readonly log: Logger;
}

/** How long a worker may take to see the stop event before it is ended from outside. */
const STOP_DEADLINE_MS = 500;

/**
 * Opens device and socket, the two things that can fail for reasons of this host, so that nothing else has been
 * touched when they do. Until persist() is called, the end of the process undoes it all.
 * @throws RudderError `device` or `socket`
 */
export function openUdpBackend(options: UdpBackendOptions): Backend {
  const { config } = options;
  const udp = openUdpSocket(options.localAddress, config.port);
  let tun: number;
  try {
    tun = openTunDevice(DEVICE_NAME);
  } catch (error) {
    native.close(udp);
    throw error;
  }
  const handles = { tun, udp, event: native.openEvent() };
  const memory = createSharedMemory();
  const routes = createRouteTable(config);
  const members = createMembers(routes.nextHops.length);
  const memberSet = createMemberSet(members);
  const peers = createPeerCounters(routes);
  let fail: (error: RudderError) => void = () => undefined;
  const failure = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // A process that exits waits for its worker: a second signal, or a bug, must not wait for the poll's timeout.
  process.once('exit', wakeWorker);
  // Nobody may be waiting for it yet, or any more.
  failure.catch(() => undefined);
  let worker: Worker | undefined;
  let offloadWatch: { stop(): void } | undefined;

  function wakeWorker(): void {
    Atomics.store(memory.control, CONTROL_STOP, 1);
    native.signalEvent(handles.event);
  }

  return {
    mtu: options.mtu,
    failure,
    async start(own) {
      const device = { name: DEVICE_NAME, address: own.address, network: config.network, mtu: options.mtu };
      await configureTunDevice(options.netlink, device);
      const system = { native, writeTun: (message: Uint8Array) => writeTunMessage(tun, message) };
      enableOffloads(system, handles, memory.offloads, options.offloads, options.log);
      offloadWatch = watchOffloads(memory.offloads, options.log);
      const settings = {
        routes,
        members,
        peers,
        ownAddress: own.address,
        ownMask: maskOf(own.prefixLength),
        port: config.port,
        checkSource: options.checkSource,
      };
      // Its heart has not stopped before it begins to beat.
      memory.clock[0] = nowMs();
      worker = await startWorker({ handles, memory, settings }, memory, fail);
    },
    apply(changes) {
      for (const { type, lease } of changes) {
        const before = nextHopOf(routes, lease.subnet.address);
        if (type !== 'removed') memberSet.add(lease.publicIp);
        setRoute(routes, lease.subnet, type === 'removed' ? NO_ADDRESS : lease.publicIp);
        if (before !== NO_ADDRESS) memberSet.remove(before);
      }
    },
    counters: () => readAll(memory.counters),
    traffic: (subnet) => readPeer(peers, subnetNumberOf(routes, subnet.address), nowMs()),
    offloads: () => Object.fromEntries(OFFLOADS.map((name, i) => [name, memory.offloads[i] === 1 ? 'on' : 'off'])),
    heartbeatAgeMs: () => (nowMs() - memory.clock[0]) & 0x7fffffff,
    persist: () => native.setTunPersistent(handles.tun, 1),
    async stop(remove) {
      wakeWorker();
      process.off('exit', wakeWorker);
      offloadWatch?.stop();
      if (worker !== undefined) await stopWorker(worker);
      for (const fd of Object.values(handles)) native.close(fd);
      if (remove) await removeDevice(options.netlink, DEVICE_NAME);
    },
  };
}

/** The packet path's clock: milliseconds of CLOCK_MONOTONIC, wrapping at 2^31. */
const nowMs = () => Number((process.hrtime.bigint() / 1_000_000n) & 0x7fffffffn);

async function startWorker(
  workerData: WorkerData,
  memory: SharedMemory,
  failed: (error: RudderError) => void,
): Promise<Worker> {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData, name: 'packet-path' });
  worker.on('error', (error) => {
    failed(new RudderError('data-path', `the packet path died: ${messageOf(error)}; restart rudder`, { cause: error }));
  });
  worker.on('exit', (code) => {
    if (Atomics.load(memory.control, CONTROL_STOP) === 0) {
      failed(new RudderError('data-path', `the packet path ended by itself with code ${code}; restart rudder`));
    }
  });
  // An error before that is told by the listener above; packets that wait in the queues are not lost meanwhile.
  await new Promise((resolve) => worker.once('online', resolve).once('exit', resolve));
  return worker;
}

async function stopWorker(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return;
  const timer = setTimeout(() => void worker.terminate(), STOP_DEADLINE_MS);
  // Not events.once(): it rejects on 'error', and a worker that fails while it stops has stopped too.
  await new Promise((resolve) => worker.once('exit', resolve));
  clearTimeout(timer);
}
