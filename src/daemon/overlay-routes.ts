import type { Backend } from '../backend/backend.js';
import { RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { isWithin, type Subnet } from '../core/subnet.js';
import type { LinkInfo, Netlink, RouteInfo } from '../system/netlink.js';
import { isOverlayDevice, isThroughRoute, withdrawRoutes } from '../system/tun-device.js';
import { type Carriers, describeCutOff, ownNetworkAround } from './carriers.js';
import type { DeviceRoutes, PeerAdmission } from './peer-admission.js';

/** This host's routing, as far as it concerns the overlay: one look. */
export interface OverlayRoutes extends DeviceRoutes {
  /** The default routes, and all that leads through our device. */
  readonly all: readonly RouteInfo[];
}

/** @param name of our device; undefined: there is none */
export async function readOverlayRoutes(
  netlink: Netlink,
  name: string | undefined,
  network: Subnet | undefined,
): Promise<OverlayRoutes> {
  const device = name === undefined ? undefined : (await netlink.link(name))?.index;
  const all = await netlink.routes(device);
  // Those of a kernel's backend, one for each peer, lie within.
  const isOurs = ({ destination }: RouteInfo) => network !== undefined && isWithin(destination, network);
  const foreign = device === undefined ? [] : all.filter((route) => isThroughRoute(route, device) && !isOurs(route));
  return { device, all, foreign: foreign.map(({ destination }) => destination) };
}

/** The device of an earlier run, of whatever backend. */
export async function findLeftDevice(netlink: Pick<Netlink, 'links'>): Promise<LinkInfo | undefined> {
  return (await netlink.links()).find(isOverlayDevice);
}

/**
 * Before anything is asked of etcd: the device of an earlier run may have taken away the way to it, and then a start
 * would wait for ever.
 */
export async function takeBackRoutes(netlink: Netlink, carriers: Carriers, log: Logger): Promise<void> {
  const leftover = await findLeftDevice(netlink);
  if (leftover === undefined) return;
  const { index: device, name } = leftover;
  const all = await netlink.routes(device);
  const [covered] = await carriers.covered({ network: undefined, device }, all);
  if (covered === undefined) return;
  await withdrawRoutes(netlink, device);
  log.warn({}, describeCutOff(covered, name));
}

export interface RouteCheck {
  readonly netlink: Netlink;
  readonly network: Subnet;
  readonly carriers: Carriers;
  readonly backend: Pick<Backend, 'setRouted' | 'device'>;
  readonly admission: Pick<PeerAdmission, 'recheck'>;
}

/** A node that is cut off again so soon after its routes came back waits before the next try, each time twice as long. */
const RELAPSE_MS = 60_000;
const FIRST_REST_MS = 15_000;
const MAX_REST_MS = 600_000;

/**
 * Withdraws the overlay's routes while they cut this host off, and puts them back when they would not any more; then
 * looks at every next hop again.
 * @returns the check, to be made whenever routes may have changed; it throws RudderError `network-config` saying what is
 *   cut off
 */
export function createRouteCheck(options: RouteCheck): () => Promise<OverlayRoutes> {
  const { netlink, network, carriers, backend, admission } = options;
  let reason: string | undefined;
  let backAt = Number.NEGATIVE_INFINITY;
  let restUntil = Number.NEGATIVE_INFINITY;
  let restMs = 0;

  async function whyCutOff(routes: OverlayRoutes): Promise<string | undefined> {
    const overlay = { network, device: routes.device };
    const [covered] = await carriers.covered(overlay, routes.all);
    if (covered !== undefined) return describeCutOff(covered, backend.device ?? 'the overlay');
    const own = await ownNetworkAround(netlink, overlay);
    return own === undefined
      ? undefined
      : `cut off: ${own} is as wide as the overlay, whose routes are withdrawn until it is gone`;
  }

  return async function check() {
    const routes = await readOverlayRoutes(netlink, backend.device, network);
    const found = await whyCutOff(routes);
    const now = performance.now();
    if (found !== undefined && reason === undefined) {
      // Policy rules may say one thing with our routes and another without: nobody shall see them come and go for ever.
      restMs = now - backAt < RELAPSE_MS ? Math.min(MAX_REST_MS, Math.max(FIRST_REST_MS, 2 * restMs)) : 0;
      restUntil = now + restMs;
    }
    if (found === undefined && reason !== undefined && now >= restUntil) {
      reason = undefined;
      backAt = now;
    }
    reason = found ?? reason;
    await backend.setRouted(reason === undefined);
    await admission.recheck(routes);
    if (reason !== undefined) throw new RudderError('network-config', reason);
    return routes;
  };
}
