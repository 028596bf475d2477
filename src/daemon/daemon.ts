import type { Backend } from '../backend/backend.js';
import { OVERHEAD_BYTES, openUdpBackend } from '../backend/udp/udp-backend.js';
import { createEtcdRegistry } from '../control/etcd-registry.js';
import { acquireLease } from '../control/lease-acquisition.js';
import type { Registry } from '../control/registry.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { isLeasable, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import { controlSocketOf, serveHttp } from '../ops/http.js';
import { type Firewall, keepFirewall, removeFirewall } from '../system/firewall.js';
import { loadLastKnown } from '../system/last-known.js';
import { type Netlink, openNetlink } from '../system/netlink.js';
import type { SdNotify } from '../system/sd-notify.js';
import { loadState, saveState } from '../system/state-dir.js';
import { prepareSubnetDirectory, removeSubnetEnv, writeSubnetEnv } from '../system/subnet-env.js';
import { DEVICE_NAME } from '../system/tun-device.js';
import { selectUnderlay, type Underlay } from '../system/underlay.js';
import { createAnnouncer } from './announcer.js';
import { reportDrops } from './drop-report.js';
import { findFooting } from './footing.js';
import { type HostKeeper, keepHost } from './host-keeper.js';
import { keepLastKnown, type LastKnownKeeper } from './last-known-keeper.js';
import { type LeaseControl, startLeaseControl } from './lease-control.js';
import type { DaemonOptions } from './options.js';
import { readStatus, type StatusSources } from './status.js';
import { createUndo } from './undo.js';
import { keepWatchdogFed } from './watchdog.js';

export interface DaemonContext {
  readonly log: Logger;
  readonly notify: SdNotify;
  readonly version: string;
  readonly setLogLevel: (level: string) => void;
}

/**
 * Runs a node until the signal is aborted. The composition root: it alone knows control and backend.
 *
 * Whatever can fail for reasons of this host comes first; until READY every step can be undone, and is undone when a
 * later one fails or the signal comes.
 * @throws RudderError when the start fails, the subnet goes to another node, or forwarding ends by itself
 */
export async function runDaemon(options: DaemonOptions, context: DaemonContext, signal: AbortSignal): Promise<void> {
  const netlink = openNetlink();
  const registry = createEtcdRegistry(options.etcd);
  let phase = "reading the host's interfaces";
  let node: Node | undefined;
  const { log, setLogLevel } = context;
  const status = async () => (node === undefined ? phase : readStatus(node.sources));
  const socketPath = controlSocketOf(options.subnetFile);
  try {
    await prepareSubnetDirectory(options.subnetFile);
    const http = await serveHttp({ socketPath, tcp: options.healthz, status, setLogLevel, log });
    try {
      const enter = (text: string) => {
        phase = text;
        context.notify(`STATUS=Starting: ${text}`);
      };
      node = await startNode(options, { ...context, netlink, registry, enter }, signal);
      if (node !== undefined) await serve(node, options, context, signal);
    } finally {
      http.close();
    }
  } finally {
    registry.close();
    netlink.close();
  }
}

interface Resources extends DaemonContext {
  readonly netlink: Netlink;
  readonly registry: Registry;
  /** Says what the start is waiting for. */
  readonly enter: (phase: string) => void;
}

interface Node {
  readonly backend: Backend;
  readonly control: LeaseControl;
  readonly firewall: Firewall | undefined;
  readonly host: HostKeeper;
  readonly memory: LastKnownKeeper;
  readonly sources: StatusSources;
}

/** @returns undefined if the signal came before READY; then nothing is left behind */
async function startNode(options: DaemonOptions, resources: Resources, signal: AbortSignal): Promise<Node | undefined> {
  const { log, netlink, registry, enter } = resources;
  const undo = createUndo(log);
  try {
    const underlay = await selectUnderlay(netlink, options.underlay);
    const state = await loadState(options.stateDir, log);
    enter('waiting for etcd and the network config');
    const publicIp = options.publicIp ?? underlay.address;
    const configKey = `${options.etcd.prefix}/config`;
    const lastKnown = await loadLastKnown(options.stateDir, log);
    const { config, json, known } = await findFooting({ registry, configKey, lastKnown, publicIp, log }, signal);
    checkPublicIp(publicIp, config);
    const mtuOver = (carrier: Underlay) => tunnelMtu(options, config, carrier, log);
    const { checkSource, offloads } = options;
    const backend = openUdpBackend({
      config,
      netlink,
      localAddress: underlay.address,
      mtu: mtuOver(underlay),
      checkSource,
      offloads,
      log,
    });
    undo.add('device', () => backend.stop(false));

    enter('leasing a subnet');
    const identity = { publicIp, nodeId: state.nodeId };
    // Before the lease: a node that cannot remember its id could not claim its own lease after a restart.
    await saveState(options.stateDir, state);
    const ttlSeconds = options.leaseTtlSeconds;
    const savedSubnet = state.subnet;
    const own =
      known === undefined
        ? await acquireLease({ registry, config, identity, savedSubnet, ttlSeconds, log }, signal)
        : { subnet: known.subnet, holding: known, created: false };
    const leasing = { registry, config, configJson: json, identity, own, known, ttlSeconds, backend, log };
    const announcer = createAnnouncer(resources.notify, () => ({
      subnet: own.subnet,
      publicIp: control.state().publicIp,
      mtu: backend.mtu(),
    }));
    const control = startLeaseControl({ ...leasing, onCurrent: announcer.current });
    undo.add('lease', () => (own.created ? control.release() : control.stop()));

    if (known === undefined) await control.listed(signal);
    await backend.start(own.subnet);
    signal.throwIfAborted();
    const rules = { device: DEVICE_NAME, network: config.network, subnet: own.subnet, ipMasq: options.ipMasq };
    const firewall = options.firewall ? await keepFirewall(rules, log) : undefined;
    if (firewall !== undefined) undo.add('firewall', () => undoFirewall(firewall));
    signal.throwIfAborted();

    const { subnet } = own;
    const { ipMasq } = options;
    const writeEnv = () => {
      const env = { subnet, mtu: backend.mtu(), network: config.network, ipMasq };
      return writeSubnetEnv(options.subnetFile, env, options.subnetEnvPrefix);
    };
    await saveState(options.stateDir, { ...state, subnet });
    await writeEnv();
    backend.persist();
    announcer.ready(known === undefined);
    log.info(
      { subnet: formatSubnet(subnet), publicIp: formatIpv4(publicIp), interface: underlay.name, mtu: backend.mtu() },
      'ready',
    );
    const memory = keepLastKnown(options.stateDir, { subnet, configJson: json }, control, log);

    const isFixed = options.publicIp !== undefined;
    const publish = async (address: Ipv4) => {
      registry.reconnect();
      if (!isFixed) await control.moveTo(address);
    };
    const choice = options.underlay;
    const host = keepHost({ netlink, choice, underlay, backend, mtuOver, publish, writeEnv, log });
    const { version } = resources;
    const { nodeId } = identity;
    const sources = { version, options, nodeId, config, subnet, host, netlink, backend, control, firewall };
    return { backend, control, firewall, host, memory, sources };
  } catch (error) {
    await undo.all();
    if (signal.aborted) return undefined;
    throw error;
  }
}

async function undoFirewall(firewall: Firewall): Promise<void> {
  firewall.stop();
  await removeFirewall();
}

function checkPublicIp(publicIp: Ipv4, config: NetworkConfig): void {
  if (!isLeasable(config, publicIp)) return;
  throw new RudderError(
    'network-config',
    `public address ${formatIpv4(publicIp)} lies inside the overlay ${formatSubnet(config.network)}: expected one outside; choose another Network, or SubnetMin and SubnetMax that leave it out`,
  );
}

function tunnelMtu(options: DaemonOptions, config: NetworkConfig, underlay: Underlay, log: Logger): number {
  const natural = underlay.mtu - OVERHEAD_BYTES;
  const mtu = options.mtu ?? config.mtu ?? natural;
  if (mtu > natural) {
    log.warn(
      { mtu, underlay: underlay.name, most: natural },
      'the MTU is too large for the underlay: full packets will be fragmented',
    );
  }
  return mtu;
}

/** From READY to the end. */
async function serve(
  node: Node,
  options: DaemonOptions,
  { log, notify }: DaemonContext,
  signal: AbortSignal,
): Promise<void> {
  const { backend, control, firewall, host, memory } = node;
  const drops = reportDrops(backend.counters, log);
  const watchdog = keepWatchdogFed(process.env.WATCHDOG_USEC, backend.heartbeatAgeMs, notify);
  const stopRequested = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    await Promise.race([stopRequested, backend.failure, control.lost]);
    log.info({}, 'stopping');
  } finally {
    notify('STOPPING=1');
    drops.stop();
    watchdog.stop();
    firewall?.stop();
    await host.stop();
    const cleanup = options.cleanupOnExit && signal.aborted;
    await memory.stop(!cleanup && !control.isLost());
    if (!cleanup) await control.stop();
    await backend.stop(cleanup);
    if (cleanup) {
      await removeSubnetEnv(options.subnetFile);
      if (options.firewall) await removeFirewall();
      await control.release();
    }
  }
}
