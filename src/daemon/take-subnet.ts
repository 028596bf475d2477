import { setImmediate } from 'node:timers/promises';
import type { Backend } from '../backend/backend.js';
import type { Membership, OwnLease, Wanted } from '../control/membership.js';
import { withinPatience } from '../control/patience.js';
import { RudderError } from '../core/errors.js';
import type { LastKnown } from '../core/last-known.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { saveState } from '../state/node-state.js';
import { createAnnouncer } from './announcer.js';
import { nodeKeyOf } from './cluster.js';
import { watchConfig } from './config-watch.js';
import { tellDegraded } from './footing.js';
import type { Ground, StartContext, Taken } from './node.js';
import { readOverlayRoutes } from './overlay-routes.js';
import { createPeerAdmission } from './peer-admission.js';
import { createPeerLog } from './peer-log.js';
import { removeStaleSubnetFile } from './subnet-file.js';
import type { Undo } from './undo.js';

/** Takes our subnet, or goes on with the last known one, and learns who the peers are. */
export async function takeSubnet(context: StartContext, ground: Ground, backend: Backend, undo: Undo): Promise<Taken> {
  const { options, version, netlink, membership, log, enter, notify, signal } = context;
  const { config, settings, fallback, state, key: nodeKey, publicIp, underlay, checkConfig } = ground;
  enter('leasing a subnet');
  // Before the lease: a node that cannot remember its id could not claim its own lease after a restart.
  await saveState(options.stateDir, state);
  const reach = { type: settings.type, data: backend.leaseData() };
  const says = { host: options.nodeName, version, nodeKey: nodeKeyOf(nodeKey), backend: reach };
  const identity = { publicIp, nodeId: state.nodeId, ...says };
  const wanted = { config, identity, savedSubnet: state.subnet };
  const { own, degraded } = await joinOrGoOn(membership, wanted, ground, log, signal);
  await removeStaleSubnetFile(options, own.subnet, log);
  const announcer = createAnnouncer(notify, membership.kind, () => {
    const { publicIp, isCurrent } = joined.state();
    return { subnet: own.subnet, publicIp, mtu: backend.mtu(), isCurrent };
  });
  const carrier = { address: underlay.address };
  const admitting = { config, own: own.subnet, netlink, backend, source: () => carrier.address, log };
  const admission = createPeerAdmission(admitting);
  await admission.recheck(await readOverlayRoutes(netlink, backend.device, config.network));
  const isDegraded = degraded !== undefined;
  const stored = watchConfig({ config, own: own.subnet, place: membership.configPlace, isDegraded, checkConfig, log });
  tellSubnet(own, state.subnet, log);
  const peerLog = createPeerLog(log, fallback?.peers ?? []);
  const joined = membership.keep({
    config,
    identity,
    own,
    fallback,
    degraded,
    problemOf: settings.problemOf,
    onCurrent: announcer.changed,
    onPeers(changes) {
      admission.apply(changes);
      // Told when it is so, and not in the turn that has made thousands so.
      void admission.settled().then(async () => {
        await setImmediate();
        peerLog.changed(changes);
      });
    },
    onConfig: stored.changed,
  });
  undo.add('lease', () => (own.created ? joined.leave() : joined.stop()));
  if (!isDegraded) await waitOrGoOn(membership, joined.listed, fallback, log, signal);
  await admission.settled();
  return { own, degraded, joined, stored, announcer, admission, carrier, peerLog };
}

function tellSubnet({ subnet, created }: OwnLease, before: Subnet | undefined, log: Logger): void {
  const text = formatSubnet(subnet);
  if (before !== undefined && formatSubnet(before) !== text)
    log.warn(
      { subnet: text, before: formatSubnet(before) },
      'the node has another subnet than before',
      'lease.renumbered',
    );
  else if (created) log.info({ subnet: text }, 'a subnet is leased', 'lease.taken');
}

/** The lease from the registry; with one of the last run to go on with, that has one try. */
async function joinOrGoOn(
  membership: Membership,
  wanted: Wanted,
  { fallback, degraded }: Ground,
  log: Logger,
  signal: AbortSignal,
): Promise<{ own: OwnLease; degraded: string | undefined }> {
  if (fallback === undefined) return { own: await membership.join(wanted, signal), degraded: undefined };
  const { subnet, holding } = fallback;
  const known = { subnet, holding, created: false };
  if (degraded !== undefined) return { own: known, degraded };
  try {
    return { own: await membership.join({ ...wanted, isHasty: true }, signal), degraded: undefined };
  } catch (error) {
    if (signal.aborted || !isOfRegistry(error)) throw error;
    return { own: known, degraded: tellDegraded(log, fallback, error) };
  }
}

const isOfRegistry = (error: unknown) =>
  error instanceof RudderError && (error.code === 'registry-unavailable' || error.code === 'registry-refused');

/** Waits for the registry, for as long as there is nothing else to go on with. */
export async function waitOrGoOn(
  { kind }: Membership,
  wait: (signal: AbortSignal) => Promise<unknown>,
  fallback: LastKnown | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  if (fallback === undefined) return void (await wait(signal));
  const ended = new AbortController();
  try {
    await withinPatience(kind, wait(AbortSignal.any([signal, ended.signal])));
  } catch (error) {
    if (signal.aborted || !isOfRegistry(error)) throw error;
    tellDegraded(log, fallback, error);
  } finally {
    ended.abort();
  }
}
