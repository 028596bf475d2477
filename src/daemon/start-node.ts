import type { Backend } from '../backend/backend.js';
import { OVERHEAD_BYTES, openUdpBackend } from '../backend/udp/udp-backend.js';
import { acquireLease, type OwnLease } from '../control/lease-acquisition.js';
import type { Registry } from '../control/registry.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { isLeasable, MAX_MTU, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { type Firewall, keepFirewall, removeFirewall } from '../system/firewall.js';
import { loadLastKnown } from '../system/last-known.js';
import type { Netlink } from '../system/netlink.js';
import type { SdNotify } from '../system/sd-notify.js';
import { loadState, type NodeState, saveState } from '../system/state-dir.js';
import { writeSubnetEnv } from '../system/subnet-env.js';
import { proposalOf } from '../system/subnet-publish.js';
import { DEVICE_NAME } from '../system/tun-device.js';
import { selectUnderlay, type Underlay } from '../system/underlay.js';
import { type Announcer, createAnnouncer } from './announcer.js';
import { type Footing, findFooting } from './footing.js';
import { type HostKeeper, keepHost } from './host-keeper.js';
import { keepLastKnown, type LastKnownKeeper } from './last-known-keeper.js';
import { type LeaseControl, startLeaseControl } from './lease-control.js';
import type { DaemonOptions } from './options.js';
import type { StatusSources } from './status.js';
import { createUndo, type Undo } from './undo.js';

/** What a start works with. */
export interface StartContext {
  readonly options: DaemonOptions;
  readonly log: Logger;
  readonly version: string;
  readonly notify: SdNotify;
  readonly netlink: Netlink;
  readonly registry: Registry;
  /** Says what the start is waiting for. */
  readonly enter: (phase: string) => void;
  readonly signal: AbortSignal;
}

/** A node that is ready. */
export interface Node {
  readonly backend: Backend;
  readonly control: LeaseControl;
  readonly firewall: Firewall | undefined;
  readonly host: HostKeeper;
  readonly memory: LastKnownKeeper;
  readonly sources: StatusSources;
}

/**
 * Makes a node ready, step by step. Whatever can fail for reasons of this host comes first; until READY every step can
 * be undone, and is undone when a later one fails or the signal comes.
 * @returns undefined if the signal came before READY; then nothing is left behind
 */
export async function startNode(context: StartContext): Promise<Node | undefined> {
  const undo = createUndo(context.log);
  try {
    const ground = await surveyGround(context);
    const backend = openBackend(context, ground, undo);
    const { own, control, announcer } = await takeSubnet(context, ground, backend, undo);
    const firewall = await openTheWay(context, ground, own.subnet, backend, undo);
    const writeEnv = () => writeEnvOf(context.options, ground, own.subnet, backend);
    await saveState(context.options.stateDir, { ...ground.state, subnet: own.subnet });
    await writeEnv();
    backend.persist();
    announcer.ready();
    return keepGoing(context, ground, { subnet: own.subnet, backend, control, announcer, firewall, writeEnv });
  } catch (error) {
    await undo.all();
    if (context.signal.aborted) return undefined;
    throw error;
  }
}

/** This host, and the cluster as far as it is known. */
interface Ground extends Footing {
  readonly underlay: Underlay;
  readonly state: NodeState;
  readonly publicIp: Ipv4;
}

async function surveyGround({ options, netlink, registry, log, enter, signal }: StartContext): Promise<Ground> {
  const underlay = await selectUnderlay(netlink, options.underlay);
  const state = await loadState(options.stateDir, log);
  enter('waiting for etcd and the network config');
  const publicIp = options.publicIp ?? underlay.address;
  const configKey = `${options.etcd.prefix}/config`;
  const lastKnown = await loadLastKnown(options.stateDir, log);
  const source = sourceOf(options);
  const { nodeId } = state;
  const footing = await findFooting({ registry, configKey, source, lastKnown, publicIp, nodeId, log }, signal);
  checkPublicIp(publicIp, footing.config);
  return { ...footing, underlay, state, publicIp };
}

/** Which etcd, and what of it: the name of the cluster, as far as this node can tell without asking. */
function sourceOf({ etcd: { endpoints, prefix } }: DaemonOptions): string {
  return `${endpoints.join(',')}${prefix}`;
}

function checkPublicIp(publicIp: Ipv4, config: NetworkConfig): void {
  if (!isLeasable(config, publicIp)) return;
  throw new RudderError(
    'network-config',
    `public address ${formatIpv4(publicIp)} lies inside the overlay ${formatSubnet(config.network)}: expected one outside; choose another Network, or SubnetMin and SubnetMax that leave it out`,
  );
}

function openBackend({ options, netlink, log }: StartContext, { config, underlay }: Ground, undo: Undo): Backend {
  const { checkSource, offloads } = options;
  const mtu = tunnelMtu(options, config, underlay, log);
  const backend = openUdpBackend({
    config,
    netlink,
    localAddress: underlay.address,
    mtu,
    checkSource,
    offloads,
    log,
  });
  undo.add('device', () => backend.stop(false));
  return backend;
}

function tunnelMtu(options: DaemonOptions, config: NetworkConfig, underlay: Underlay, log: Logger): number {
  const natural = Math.min(MAX_MTU, underlay.mtu - OVERHEAD_BYTES);
  const given = options.mtu ?? config.mtu;
  const mtu = given ?? natural;
  if (mtu > natural) {
    log.warn(
      { mtu, underlay: underlay.name, most: natural },
      'the MTU is too large for the underlay: full packets will be fragmented',
    );
  }
  if (given === undefined && natural === MAX_MTU) {
    log.warn(
      { mtu, underlay: underlay.name },
      'the MTU of loopback says nothing about the way to peers: full packets will be fragmented; set --mtu',
    );
  }
  return mtu;
}

interface Taken {
  readonly own: OwnLease;
  readonly control: LeaseControl;
  readonly announcer: Announcer;
}

/** Takes our subnet, or goes on with the last known one, and learns who the peers are. */
async function takeSubnet(context: StartContext, ground: Ground, backend: Backend, undo: Undo): Promise<Taken> {
  const { options, registry, log, enter, notify, signal } = context;
  const { config, json, known, state, publicIp } = ground;
  enter('leasing a subnet');
  // Before the lease: a node that cannot remember its id could not claim its own lease after a restart.
  await saveState(options.stateDir, state);
  const identity = { publicIp, nodeId: state.nodeId };
  const ttlSeconds = options.leaseTtlSeconds;
  const own =
    known === undefined
      ? await acquireLease({ registry, config, identity, savedSubnet: state.subnet, ttlSeconds, log }, signal)
      : { subnet: known.subnet, holding: known, created: false };
  const announcer = createAnnouncer(notify, () => {
    const { publicIp, isCurrent } = control.state();
    return { subnet: own.subnet, publicIp, mtu: backend.mtu(), isCurrent };
  });
  const leasing = { registry, config, configJson: json, identity, own, known, ttlSeconds, backend, log };
  const control = startLeaseControl({ ...leasing, onCurrent: announcer.changed });
  undo.add('lease', () => (own.created ? control.release() : control.stop()));
  if (known === undefined) await control.listed(signal);
  return { own, control, announcer };
}

/** Packets flow from here on. */
async function openTheWay(
  { options, netlink, log, signal }: StartContext,
  { config }: Ground,
  subnet: Subnet,
  backend: Backend,
  undo: Undo,
): Promise<Firewall | undefined> {
  await backend.start(subnet);
  signal.throwIfAborted();
  if (!options.firewall) return undefined;
  const rules = { device: DEVICE_NAME, network: config.network, subnet, ipMasq: options.ipMasq };
  const firewall = await keepFirewall(rules, netlink, log, signal);
  undo.add('firewall', async () => {
    await firewall.stop();
    // Those of an earlier run serve containers that run still.
    if (firewall.isNew) await removeFirewall();
  });
  signal.throwIfAborted();
  return firewall;
}

/** The subnet file, or what root shall make it of. */
export function writtenFileOf({ subnetFile, subnetProposal }: DaemonOptions): string {
  return subnetProposal ? proposalOf(subnetFile) : subnetFile;
}

function writeEnvOf(options: DaemonOptions, { config }: Ground, subnet: Subnet, backend: Backend): Promise<void> {
  const env = { subnet, mtu: backend.mtu(), network: config.network, ipMasq: options.ipMasq };
  return writeSubnetEnv(writtenFileOf(options), env, options.subnetEnvPrefix);
}

interface Ready {
  readonly subnet: Subnet;
  readonly backend: Backend;
  readonly control: LeaseControl;
  readonly announcer: Announcer;
  readonly firewall: Firewall | undefined;
  readonly writeEnv: () => Promise<void>;
}

/** After READY: remembers what is known, and follows what changes on this host. */
function keepGoing(context: StartContext, ground: Ground, ready: Ready): Node {
  const { options, netlink, registry, log, version } = context;
  const { config, json, underlay, state, publicIp } = ground;
  const { subnet, backend, control, announcer, firewall } = ready;
  log.info(
    { subnet: formatSubnet(subnet), publicIp: formatIpv4(publicIp), interface: underlay.name, mtu: backend.mtu() },
    'ready',
  );
  const { nodeId } = state;
  const remembered = { source: sourceOf(options), nodeId, subnet, configJson: json };
  const memory = keepLastKnown(options.stateDir, remembered, control, log);
  const mtuOver = (carrier: Underlay) => tunnelMtu(options, config, carrier, log);
  // An address that was given is not this host's to follow.
  const isFollowed = options.publicIp === undefined;
  const check = ({ address }: Underlay) => {
    if (isFollowed) checkPublicIp(address, config);
  };
  const publish = (address: Ipv4) => {
    registry.reconnect();
    if (isFollowed) control.moveTo(address);
    announcer.changed();
  };
  const writeEnv = async () => {
    await ready.writeEnv();
    announcer.changed();
  };
  const keeping = { netlink, choice: options.underlay, underlay, backend, check, mtuOver, publish, writeEnv, log };
  const host = keepHost(keeping);
  const sources = { version, options, nodeId, config, subnet, host, netlink, backend, control, firewall };
  return { backend, control, firewall, host, memory, sources };
}
