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
import { selectUnderlay, type Underlay, uplinksOf } from '../system/underlay.js';
import { type Announcer, createAnnouncer } from './announcer.js';
import { type Carriers, createCarriers, refuseCover, warnOfNameservers } from './carriers.js';
import { type Footing, findFooting } from './footing.js';
import { type HostKeeper, keepHost } from './host-keeper.js';
import { keepLastKnown, type LastKnownKeeper } from './last-known-keeper.js';
import { type LeaseControl, startLeaseControl } from './lease-control.js';
import type { DaemonOptions } from './options.js';
import { checkOverlayRoutes, readOverlayRoutes, takeBackRoutes } from './overlay-routes.js';
import { createPeerAdmission, type PeerAdmission } from './peer-admission.js';
import type { StatusSources } from './status.js';
import { createUndo, type Undo } from './undo.js';
import { waitForNetworkConfig } from './wait-for-config.js';

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
    const taken = await takeSubnet(context, ground, backend, undo);
    const { own } = taken;
    const firewall = await openTheWay(context, ground, backend, taken, undo);
    const writeEnv = () => writeEnvOf(context.options, ground, own.subnet, backend);
    await saveState(context.options.stateDir, { ...ground.state, subnet: own.subnet });
    await writeEnv();
    backend.persist();
    taken.announcer.ready();
    return keepGoing(context, ground, { ...taken, subnet: own.subnet, backend, firewall, writeEnv });
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
  readonly carriers: Carriers;
}

async function surveyGround({ options, netlink, registry, log, enter, signal }: StartContext): Promise<Ground> {
  const underlay = await selectUnderlay(netlink, options.underlay);
  const state = await loadState(options.stateDir, log);
  const carriers = createCarriers(netlink, options.etcd.endpoints);
  await takeBackRoutes(netlink, carriers, log);
  enter('waiting for etcd and the network config');
  const publicIp = options.publicIp ?? underlay.address;
  const configKey = `${options.etcd.prefix}/config`;
  const lastKnown = await loadLastKnown(options.stateDir, log);
  const source = sourceOf(options);
  const { nodeId } = state;
  const footing = await findFooting({ registry, configKey, source, lastKnown, publicIp, nodeId, log }, signal);
  checkPublicIp(publicIp, footing.config);
  const { network } = footing.config;
  const overlay = { network, device: (await netlink.link(DEVICE_NAME))?.index };
  await refuseCover(netlink, carriers, overlay);
  await warnOfNameservers(netlink, overlay, log);
  return { ...footing, underlay, state, publicIp, carriers };
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
  readonly admission: PeerAdmission;
  /** Address of the tunnel's socket at the moment. */
  readonly carrier: { address: Ipv4 };
}

/** Takes our subnet, or goes on with the last known one, and learns who the peers are. */
async function takeSubnet(context: StartContext, ground: Ground, backend: Backend, undo: Undo): Promise<Taken> {
  const { options, netlink, registry, log, enter, notify, signal } = context;
  const { config, json, known, state, publicIp, underlay } = ground;
  enter('leasing a subnet');
  // Before the lease: a node that cannot remember its id could not claim its own lease after a restart.
  await saveState(options.stateDir, state);
  const identity = { publicIp, nodeId: state.nodeId, portMapped: options.portMapped };
  const ttlSeconds = options.leaseTtlSeconds;
  const own =
    known === undefined
      ? await acquireLease({ registry, config, identity, savedSubnet: state.subnet, ttlSeconds, log }, signal)
      : { subnet: known.subnet, holding: known, created: false };
  const announcer = createAnnouncer(notify, () => {
    const { publicIp, isCurrent } = control.state();
    return { subnet: own.subnet, publicIp, mtu: backend.mtu(), isCurrent };
  });
  const carrier = { address: underlay.address };
  const admitting = { config, own: own.subnet, netlink, backend, source: () => carrier.address, log };
  const admission = createPeerAdmission(admitting);
  await admission.recheck(await readOverlayRoutes(netlink, config.network));
  const leasing = { registry, config, configJson: json, identity, own, known, ttlSeconds, peers: admission, log };
  const control = startLeaseControl({ ...leasing, onCurrent: announcer.changed });
  undo.add('lease', () => (own.created ? control.release() : control.stop()));
  if (known === undefined) await control.listed(signal);
  await admission.settled();
  return { own, control, announcer, admission, carrier };
}

/** Packets flow from here on. */
async function openTheWay(
  { options, netlink, registry, log, enter, signal }: StartContext,
  { config, underlay, known, carriers }: Ground,
  backend: Backend,
  { own: { subnet }, admission }: Taken,
  undo: Undo,
): Promise<Firewall | undefined> {
  const { ipMasq } = options;
  const { network, port } = config;
  let firewall: Firewall | undefined;
  if (options.firewall) {
    const uplinks = await uplinksOf(netlink, await netlink.routes(undefined), underlay);
    const host = { localAddress: underlay.address, uplinks };
    const rules = { device: DEVICE_NAME, network, subnet, ipMasq, port, ...host };
    // Before the first datagram: a container could take its place in connection tracking.
    const kept = await keepFirewall(rules, admission.members(), netlink, log, signal);
    undo.add('firewall', async () => {
      await kept.stop();
      // Those of an earlier run serve containers that run still.
      if (kept.isNew) await removeFirewall();
    });
    signal.throwIfAborted();
    admission.use(kept);
    firewall = kept;
  }
  await backend.start(subnet);
  signal.throwIfAborted();
  // What was looked at before the routes were set is so with them.
  await checkOverlayRoutes({ netlink, network, carriers, backend, admission });
  enter('waiting for etcd to answer with the routes in place');
  if (known === undefined) await waitForNetworkConfig(registry, `${options.etcd.prefix}/config`, log, signal);
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

interface Ready extends Omit<Taken, 'own'> {
  readonly subnet: Subnet;
  readonly backend: Backend;
  readonly firewall: Firewall | undefined;
  readonly writeEnv: () => Promise<void>;
}

/** After READY: remembers what is known, and follows what changes on this host. */
function keepGoing(context: StartContext, ground: Ground, ready: Ready): Node {
  const { options, netlink, registry, log, version } = context;
  const { config, json, underlay, state, publicIp, carriers } = ground;
  const { subnet, backend, control, announcer, admission, carrier, firewall } = ready;
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
  const { network } = config;
  const routeCheck = { netlink, network, carriers, backend, admission };
  const checkRoutes = async (carriedBy: Underlay) => {
    carrier.address = carriedBy.address;
    const { all } = await checkOverlayRoutes(routeCheck);
    await firewall?.adapt({ localAddress: carriedBy.address, uplinks: await uplinksOf(netlink, all, carriedBy) });
  };
  const events = netlink.watch(DEVICE_NAME, network);
  const seen = { netlink, choice: options.underlay, underlay, events };
  const host = keepHost({ ...seen, backend, check, checkRoutes, mtuOver, publish, writeEnv, log });
  const sources = { version, options, nodeId, config, subnet, host, netlink, backend, control, admission, firewall };
  return { backend, control, firewall, host, memory, sources };
}
