import type { Backend } from '../backend/backend.js';
import { RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { Subnet } from '../core/subnet.js';
import type { Netlink, RouteInfo } from '../system/netlink.js';
import { DEVICE_NAME, isThroughRoute, withdrawRoutes } from '../system/tun-device.js';
import { type Carriers, describeCutOff } from './carriers.js';
import type { DeviceRoutes, PeerAdmission } from './peer-admission.js';

/** This host's routing, as far as it concerns the overlay: one look. */
export interface OverlayRoutes extends DeviceRoutes {
  /** The default routes, and all that leads through our device. */
  readonly all: readonly RouteInfo[];
}

export async function readOverlayRoutes(netlink: Netlink, network: Subnet | undefined): Promise<OverlayRoutes> {
  const device = (await netlink.link(DEVICE_NAME))?.index;
  const all = await netlink.routes(device);
  const isOurs = ({ destination }: RouteInfo) =>
    destination.address === network?.address && destination.prefixLength === network.prefixLength;
  const foreign = device === undefined ? [] : all.filter((route) => isThroughRoute(route, device) && !isOurs(route));
  return { device, all, foreign: foreign.map(({ destination }) => destination) };
}

/**
 * Before anything is asked of etcd: the device of an earlier run may have taken away the way to it, and then a start
 * would wait for ever.
 */
export async function takeBackRoutes(netlink: Netlink, carriers: Carriers, log: Logger): Promise<void> {
  const { device, all } = await readOverlayRoutes(netlink, undefined);
  if (device === undefined) return;
  const [covered] = await carriers.covered({ network: undefined, device }, all);
  if (covered === undefined) return;
  await withdrawRoutes(netlink, device);
  log.warn({}, describeCutOff(covered, DEVICE_NAME));
}

export interface RouteCheck {
  readonly netlink: Netlink;
  readonly network: Subnet;
  readonly carriers: Carriers;
  readonly backend: Pick<Backend, 'setRouted'>;
  readonly admission: Pick<PeerAdmission, 'recheck'>;
}

/**
 * Withdraws the overlay's routes while they cut this host off, and puts them back when they would not any more; then
 * looks at every next hop again.
 * @throws RudderError `network-config` saying what is cut off
 */
export async function checkOverlayRoutes({
  netlink,
  network,
  carriers,
  backend,
  admission,
}: RouteCheck): Promise<OverlayRoutes> {
  const routes = await readOverlayRoutes(netlink, network);
  const [covered] = await carriers.covered({ network, device: routes.device }, routes.all);
  await backend.setRouted(covered === undefined);
  await admission.recheck(routes);
  if (covered !== undefined) throw new RudderError('network-config', describeCutOff(covered, DEVICE_NAME));
  return routes;
}
