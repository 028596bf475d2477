import { setTimeout as delay } from 'node:timers/promises';
import type { Backend } from '../backend/backend.js';
import { answeringAddress, removeOthers, settingsOf } from '../backend/kinds.js';
import { unknownKeys } from '../backend/new-config.js';
import { CLUSTER_PORT } from '../cluster/serve.js';
import type { Membership } from '../control/membership.js';
import { isTransient, retryWhileUnavailable } from '../control/retry.js';
import { shorten } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import type { NetworkConfig } from '../core/network-config.js';
import { loadLastKnown } from '../state/last-known-file.js';
import { loadNodeKey } from '../state/node-key.js';
import { loadState, saveState } from '../state/node-state.js';
import { type Firewall, keepFirewall, removeFirewall } from '../system/firewall.js';
import { selectUnderlay, type Underlay, uplinksOf } from '../system/underlay.js';
import { checkPublicIp, createCarriers, refuseCover, warnOfNameservers } from './carriers.js';
import { createCniFile } from './cni-file.js';
import { findFooting } from './footing.js';
import { keepNode } from './keep-node.js';
import type { Ground, Node, StartContext, Taken } from './node.js';
import { createRouteCheck, findLeftDevice, type OverlayRoutes, takeBackRoutes } from './overlay-routes.js';
import { createSubnetFile } from './subnet-file.js';
import { takeSubnet, waitOrGoOn } from './take-subnet.js';
import { tunnelMtu } from './tunnel-mtu.js';
import { createUndo, type Undo } from './undo.js';

/**
 * Makes a node ready, step by step. Whatever can fail for reasons of this host comes first; until READY every step can
 * be undone, and is undone when a later one fails or the signal comes.
 * @returns undefined if the signal came before READY; then nothing is left behind
 */
export async function startNode(context: StartContext): Promise<Node | undefined> {
  const undo = createUndo(context.log);
  try {
    const ground = await surveyGround(context);
    const backend = await openBackend(context, ground, undo);
    const taken = await takeSubnet(context, ground, backend, undo);
    const { own } = taken;
    const { firewall, checkOverlay } = await openTheWay(context, ground, backend, taken, undo);
    const { options, membership, log } = context;
    const { network } = ground.config;
    const envNow = () => ({ subnet: own.subnet, mtu: backend.mtu(), network, ipMasq: options.ipMasq });
    const subnetFile = createSubnetFile(options, envNow, log);
    const cniFile = createCniFile(options.cniConf, envNow, log);
    const { source } = membership;
    await saveState(options.stateDir, {
      ...ground.state,
      subnet: own.subnet,
      source,
      address: ground.underlay.address,
    });
    await subnetFile.write();
    backend.persist();
    taken.announcer.ready();
    return await keepNode(context, ground, {
      ...taken,
      subnet: own.subnet,
      backend,
      firewall,
      subnetFile,
      cniFile,
      checkOverlay,
    });
  } catch (error) {
    await undo.all();
    if (context.signal.aborted) return undefined;
    throw error;
  }
}

async function surveyGround({ options, netlink, membership, log, enter, signal }: StartContext): Promise<Ground> {
  const state = await loadState(options.stateDir, log);
  const key = options.summary ? await loadNodeKey(options.stateDir, log) : undefined;
  const underlay = await selectUnderlay(netlink, options.underlay, state.address);
  tellOthers(underlay, log);
  const began = performance.now();
  const carriers = createCarriers(netlink, membership.endpoints, membership.kind);
  await takeBackRoutes(netlink, carriers, log);
  enter(`waiting for ${membership.kind} and the network config`);
  const publicIp = options.publicIp ?? underlay.address;
  const lastKnown = await loadLastKnown(options.stateDir, log);
  const { nodeId } = state;
  const overlayOf = async ({ network }: NetworkConfig) => ({
    network,
    device: (await findLeftDevice(netlink))?.index,
  });
  const checkConfig = async (config: NetworkConfig) => {
    checkPublicIp(publicIp, config);
    await refuseCover(netlink, carriers, await overlayOf(config));
  };
  const known = { lastKnown, publicIp, nodeId, ttlSeconds: options.leaseTtlSeconds };
  const waitedMs = performance.now() - began;
  const footing = await findFooting({ membership, ...known, waitedMs, check: checkConfig, enter, log }, signal);
  const unknown = unknownKeys(footing.json);
  if (unknown.length > 0) {
    const problem = shorten(unknown.join('; '), 500);
    log.warn(
      { key: membership.configPlace.key, problem },
      'the network config has keys without a meaning, which are ignored',
    );
  }
  await warnOfNameservers(netlink, await overlayOf(footing.config), log);
  return { ...footing, settings: settingsOf(footing.config), underlay, state, key, publicIp, carriers, checkConfig };
}

function tellOthers({ name, address, others = [] }: Underlay, log: Logger): void {
  if (others.length === 0) return;
  log.info(
    { interface: name, address: formatIpv4(address), others: others.map(formatIpv4) },
    'the interface has several addresses: --iface takes another one',
  );
}

async function openBackend(
  { options, netlink, log }: StartContext,
  { config, settings, underlay, state, publicIp }: Ground,
  undo: Undo,
): Promise<Backend> {
  const { checkSource, offloads, cipher, wireguardImplementation, portMapped, stateDir } = options;
  const mtu = tunnelMtu(options, settings, underlay, log);
  const host = { nodeId: state.nodeId, publicIp, interface: underlay.name, localAddress: underlay.address, mtu };
  const wanted = { portMapped, checkSource, offloads, cipher, wireguardImplementation };
  const backend = await settings.open({ config, netlink, ...host, stateDir, ...wanted, log });
  undo.add('device', () => backend.stop(false));
  return backend;
}

/** Packets flow from here on. */
async function openTheWay(
  { options, netlink, membership, log, enter, signal }: StartContext,
  { config, settings, underlay, fallback, carriers }: Ground,
  backend: Backend,
  { own: { subnet }, degraded, admission }: Taken,
  undo: Undo,
): Promise<{ firewall: Firewall | undefined; checkOverlay: () => Promise<OverlayRoutes> }> {
  const { ipMasq } = options;
  const { network } = config;
  let firewall: Firewall | undefined;
  if (options.firewall) {
    const uplinks = await uplinksOf(netlink, await netlink.routes(undefined), underlay);
    const host = { localAddress: underlay.address, uplinks };
    const address = options.summary ? answeringAddress(config.backend.type, subnet) : undefined;
    const asked = address === undefined ? undefined : { address, port: CLUSTER_PORT };
    const ways = { devices: backend.ways(), bareWay: backend.bareWay?.() };
    const rules = { ...ways, network, subnet, ipMasq, tunnel: settings.tunnel, asked, ...host };
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
  // Not before: an earlier run's device carries packets until there is another one.
  await removeOthers(netlink, backend);
  signal.throwIfAborted();
  // What was looked at before the routes were set is so with them.
  const checkOverlay = createRouteCheck({ netlink, network, carriers, backend, admission });
  await checkOverlay();
  if (degraded !== undefined) return { firewall, checkOverlay };
  enter(`waiting for ${membership.kind} to answer with the routes in place`);
  const answer = (stop: AbortSignal) =>
    retryWhileUnavailable('any answer', () => anyAnswer(membership), log, stop, membership.kind);
  await waitOrGoOn(membership, (stop) => whileChecking(checkOverlay, answer, stop), fallback, log, signal);
  return { firewall, checkOverlay };
}

/** A refusal is an answer too: the registry is reached. */
async function anyAnswer(membership: Membership): Promise<void> {
  await membership.getConfig().catch((error: unknown) => {
    if (isTransient(error)) throw error;
  });
}

/** How often routes are looked at while the registry is waited for: it may be they that keep its answer away. */
const CHECK_INTERVAL_MS = 2000;

/** Waits, and rejects as soon as the check does. */
async function whileChecking(
  check: () => Promise<unknown>,
  wait: (signal: AbortSignal) => Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const ended = new AbortController();
  const either = AbortSignal.any([signal, ended.signal]);
  const checking = (async () => {
    for (;;) {
      await delay(CHECK_INTERVAL_MS, undefined, { signal: either });
      await check();
    }
  })();
  try {
    await Promise.race([wait(either), checking]);
  } finally {
    ended.abort();
    await checking.catch(() => undefined);
  }
}
